/* SPDX-License-Identifier: Apache-2.0 */
#include "images.h"
#include "serve.h"
#include "stock.h"

#include <errno.h>

#include "image/io.h"
#include "image/names.h"
#include "image/ownership.h"
#include "image/reader.h"
#include "rados/op.h"

/* Readers of one image beside each other, and beside those who would change it. */

struct fixture {
    struct cluster *control; /* somebody else */
    const char *name;
    struct image_header header;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->control = live_connect(CLUSTER_CONTROL);
    f->name = live_name("read");
    f->header = test_image_make(f->control, f->name, 64 * MIB, 22);
    *state = f;
    return 0;
}

static int remove_image(struct fixture *f, struct error *err)
{
    return image_unpublish(f->control, f->name, f->header.id, MARK, soon(), err);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct error err;

    assert_ok(remove_image(f, &err), err);
    assert_ok(image_delete(f->control, f->header.id, soon(), &err), err);
    cluster_close(f->control);
    free(f);
    return 0;
}

/* In its main loop, as a blockd is one. */
struct watcher {
    struct cluster *cluster;
    struct reader *reader;
    struct image_io *io;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint locks; /* seen */
};

static void on_lock(void *arg, const struct lock_info *lock)
{
    struct watcher *watcher = arg;

    assert_int_equal(lock->count, 1);
    atomic_fetch_add(&watcher->locks, 1);
}

static void *watch(void *arg)
{
    struct watcher *watcher = arg;

    while (!atomic_load(&watcher->stop)) {
        struct pollfd pfd = {.fd = reader_fd(watcher->reader), .events = POLLIN};

        poll(&pfd, 1, 50);
        reader_run(watcher->reader);
    }
    return NULL;
}

static void start(struct fixture *f, const char *host, struct watcher *ret)
{
    struct image_header header = {0};
    struct error err;

    *ret = (struct watcher){.cluster = live_connect(CLUSTER_DATA)};
    assert_ok(reader_open(ret->cluster, f->header.id, host, false, 15, soon(), &header,
                          &ret->reader, &err),
              err);
    assert_ok(image_io_open(ret->cluster, &header, &ret->io, &err), err);
    image_header_free(&header);
    reader_attach_io(ret->reader, ret->io);
    reader_on_lock(ret->reader, on_lock, ret);
    assert_int_equal(pthread_create(&ret->thread, NULL, watch, ret), 0);
}

static void stop(struct watcher *watcher)
{
    atomic_store(&watcher->stop, true);
    pthread_join(watcher->thread, NULL);
    assert_int_equal(reader_state(watcher->reader), READER_WATCHING);
    reader_close(watcher->reader);
    image_io_close(watcher->io);
    cluster_close(watcher->cluster);
}

static void assert_reads(struct watcher *watcher)
{
    uint8_t data[4096];

    memset(data, 'x', sizeof(data));
    assert_int_equal(image_run(watcher->io, IMAGE_READ, 0, sizeof(data), data), 0);
    assert_int_equal(data[0], 0);
}

static const struct image_reader *find(const struct image_readers *readers, const char *host)
{
    for (size_t i = 0; i < readers->count; i++) {
        if (strcmp(readers->items[i].host, host) == 0)
            return &readers->items[i];
    }
    fail_msg("%s is not among the readers", host);
    return NULL;
}

static void readers_are_beside_each_other_and_say_who_they_are(void **state)
{
    struct fixture *f = *state;
    struct watcher one, two;
    struct image_readers readers = {0};
    const struct image_reader *reader;
    struct image_header header = {0};
    struct error err;

    start(f, "host-a", &one);
    start(f, "host-b", &two);
    assert_ok(image_read_header(f->control, f->header.id, soon(), &header, &err), err);
    assert_int_equal(header.lock.count, 0);
    image_header_free(&header);
    assert_ok(image_readers_list(f->control, f->header.id, soon(), &readers, &err), err);
    assert_int_equal(readers.count, 2);
    reader = find(&readers, "host-b");
    assert_true(reader->answers);
    assert_int_equal(reader->client_id, cluster_client_id(two.cluster));
    assert_string_equal(reader->address, cluster_address(two.cluster));
    assert_int_equal(strncmp(reader->since, "20", 2), 0);
    find(&readers, "host-a");
    image_readers_free(&readers);
    assert_reads(&one);
    stop(&one);
    assert_reads(&two);
    assert_ok(image_readers_list(f->control, f->header.id, soon(), &readers, &err), err);
    assert_int_equal(readers.count, 1);
    image_readers_free(&readers);
    stop(&two);
}

static void one_that_is_read_is_not_removed(void **state)
{
    struct fixture *f = *state;
    struct watcher watcher;
    struct error err;

    start(f, "host-a", &watcher);
    assert_int_equal(remove_image(f, &err), -EBUSY);
    assert_non_null(strstr(err.text, "on host-a"));
    assert_reads(&watcher);
    assert_int_equal(atomic_load(&watcher.locks), 0); /* the remover's does not count */
    stop(&watcher);
}

static struct ownership *own(struct fixture *f, struct cluster *cluster)
{
    struct image_header header = {0};
    struct ownership *ownership;
    struct error err;

    assert_ok(ownership_acquire(cluster, f->header.id, "host-w", "", 15, soon(), &header,
                                &ownership, &err),
              err);
    image_header_free(&header);
    return ownership;
}

/* Who comes anew is refused; a predecessor's device is worth more. */
static void one_that_is_written_is_not_read(void **state)
{
    struct fixture *f = *state;
    struct cluster *writer = live_connect(CLUSTER_DATA);
    struct cluster *cluster = live_connect(CLUSTER_DATA);
    struct server owner = {.ownership = own(f, writer)};
    struct image_header header = {0};
    struct reader *reader = NULL;
    struct error err;

    serve_start(&owner);
    assert_int_equal(
        reader_open(cluster, f->header.id, "host-a", false, 15, soon(), &header, &reader, &err),
        -EBUSY);
    assert_non_null(strstr(err.text, "in use by host-w since 20"));
    assert_null(reader);
    assert_ok(
        reader_open(cluster, f->header.id, "host-a", true, 15, soon(), &header, &reader, &err),
        err);
    image_header_free(&header);
    reader_close(reader);
    serve_stop(&owner);
    ownership_release(owner.ownership);
    cluster_close(cluster);
    cluster_close(writer);
}

/* The lock that removal takes is not broken, and what is gone is not read. */
static void one_that_is_removed_is_not_read(void **state)
{
    struct fixture *f = *state;
    struct cluster *cluster = live_connect(CLUSTER_DATA);
    struct encoder lock = {0};
    struct encoder unlock = {0};
    struct image_header header = {0};
    struct reader *reader = NULL;
    char object[OBJECT_NAME_MAX];
    struct error err;

    name_header(object, f->header.id);
    lock_encode_lock(&lock, RBD_LOCK_NAME, LOCK_EXCLUSIVE, "removal", "a tag", "being removed", 60);
    assert_int_equal(op_call_write(cluster_io(f->control), object, "lock", "lock", &lock, soon()),
                     0);
    assert_int_equal(
        reader_open(cluster, f->header.id, "host-a", false, 15, soon(), &header, &reader, &err),
        -EBUSY);
    assert_int_equal(
        reader_open(cluster, f->header.id, "host-a", true, 15, soon(), &header, &reader, &err),
        -EAGAIN);
    lock_encode_unlock(&unlock, RBD_LOCK_NAME, "removal");
    assert_int_equal(
        op_call_write(cluster_io(f->control), object, "lock", "unlock", &unlock, soon()), 0);
    assert_int_equal(
        reader_open(cluster, "0123456789ab", "host-a", false, 15, soon(), &header, &reader, &err),
        -ENOENT);
    assert_null(reader);
    encoder_free(&lock);
    encoder_free(&unlock);
    cluster_close(cluster);
}

/* Stock rbd takes the lock, which nobody gives it, and asks all to be quiet; it is noticed. */
static void stock_tools_work_beside_a_reader(void **state)
{
    struct fixture *f = *state;
    struct watcher watcher;
    char spec[128];

    start(f, "host-a", &watcher);
    snprintf(spec, sizeof(spec), "%s@monday", f->name);
    stock(STOCK("snap", "create", "--no-progress", spec));
    assert_reads(&watcher);
    stock(STOCK("snap", "rm", "--no-progress", spec));
    assert_reads(&watcher);
    assert_true(atomic_load(&watcher.locks) > 0);
    stop(&watcher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(readers_are_beside_each_other_and_say_who_they_are, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_that_is_read_is_not_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_is_written_is_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_is_removed_is_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(stock_tools_work_beside_a_reader, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
