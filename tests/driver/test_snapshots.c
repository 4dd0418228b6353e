/* SPDX-License-Identifier: Apache-2.0 */
#include "images.h"
#include "serve.h"
#include "stock.h"

#include <errno.h>

#include "base/cleanup.h"
#include "image/clone.h"
#include "image/io.h"
#include "image/names.h"
#include "image/owner_work.h"
#include "image/ownership.h"
#include "image/resize.h"
#include "image/snapshot.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* Snapshots of an image that nobody has open, and of one whose owner serves others as a blockd
 * does; asked for by us and by the stock rbd command, which must see the same. */

#define SIZE  (32 * MIB)
#define BLOCK 65536

struct fixture {
    struct cluster *control; /* who asks */
    struct cluster *data;    /* the owner */
    const char *name;
    struct image_header header;

    struct server server; /* the owner, while there is one */
    struct image_io *io;
    atomic_uint freezes, thaws;
    int freeze_result, thaw_result;
    _Atomic uint64_t size_told;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->control = live_connect(CLUSTER_CONTROL);
    f->data = live_connect(CLUSTER_DATA);
    f->name = live_name("snapshots");
    f->header = test_image_make(f->control, f->name, SIZE, 22);
    *state = f;
    return 0;
}

static void stop_owner(struct fixture *f)
{
    if (!f->server.ownership)
        return;
    serve_stop(&f->server);
    ownership_release(steal_pointer(&f->server.ownership));
    image_io_close(f->io);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct spawn_result result;

    stop_owner(f);
    stock_try(&result, STOCK("snap", "purge", "--no-progress", f->name));
    test_image_remove(f->control, f->name, f->header.id);
    cluster_close(f->data);
    cluster_close(f->control);
    free(f);
    return 0;
}

static int on_freeze(void *arg, int64_t deadline, struct error *err)
{
    struct fixture *f = arg;

    assert_true(deadline_left_ms(deadline) > 0);
    atomic_fetch_add(&f->freezes, 1);
    return f->freeze_result < 0 ? error_set(err, f->freeze_result, "it does not freeze") : 0;
}

static int on_thaw(void *arg)
{
    struct fixture *f = arg;

    atomic_fetch_add(&f->thaws, 1);
    return f->thaw_result;
}

static void on_resize(void *arg, uint64_t size)
{
    struct fixture *f = arg;

    atomic_store(&f->size_told, size);
}

static void start_owner(struct fixture *f)
{
    const struct ownership_hooks hooks = {.freeze = on_freeze, .thaw = on_thaw, .arg = f};
    struct image_header header = {0};
    struct error err;

    assert_ok(ownership_acquire(f->data, f->header.id, "host-a", "", 15, soon(), &header,
                                &f->server.ownership, &err),
              err);
    assert_ok(image_io_open(f->data, &header, &f->io, &err), err);
    image_header_free(&header);
    ownership_attach_io(f->server.ownership, f->io);
    ownership_set_hooks(f->server.ownership, &hooks);
    ownership_on_resize(f->server.ownership, on_resize, f);
    serve_start(&f->server);
}

static int create(struct fixture *f, const char *name, struct snapshot *ret, struct error *err)
{
    return snapshot_create(f->control, f->header.id, name, "host-b", soon(), ret, err);
}

static int drop(struct fixture *f, const char *name, bool *ret_trashed, struct error *err)
{
    return snapshot_remove(f->control, f->header.id, name, "host-b", soon(), ret_trashed, err);
}

static size_t count(struct fixture *f, bool with_trashed)
{
    struct snapshots list = {0};
    struct error err;
    size_t n;

    assert_ok(snapshot_list(f->control, f->header.id, with_trashed, soon(), &list, &err), err);
    n = list.count;
    snapshots_free(&list);
    return n;
}

static void assert_same(struct fixture *f)
{
    stock_same_snapshots(f->control, f->name, f->header.id);
}

/* Fill the first block of every object with BYTE. */
static void fill(struct fixture *f, int byte)
{
    char data[BLOCK];

    memset(data, byte, sizeof(data));
    for (uint64_t at = 0; at < SIZE; at += 4 * MIB)
        assert_int_equal(image_run(f->io, IMAGE_WRITE, at, sizeof(data), data), 0);
}

static void assert_filled(struct fixture *f, const char *snapshot, int byte)
{
    uint8_t *data;
    char spec[256];

    snprintf(spec, sizeof(spec), "%s%s%s", f->name, snapshot ? "@" : "", snapshot ? snapshot : "");
    data = stock_export(spec, SIZE);
    for (size_t at = 0; at < SIZE; at++) {
        int expected = at % (4 * MIB) < BLOCK ? byte : 0;

        if (data[at] != expected)
            fail_msg("%s: byte %zu is %d, not %d", spec, at, data[at], expected);
    }
    free(data);
}

static void assert_no_notes(struct fixture *f)
{
    struct image_header header = {0};
    struct error err;

    assert_ok(image_read_header(f->control, f->header.id, soon(), &header, &err), err);
    for (size_t i = 0; i < header.metadata.count; i++)
        assert_null(strstr(header.metadata.items[i].key, SNAPSHOT_RELEASE_KEY));
    assert_int_equal(header.lock.count, f->server.ownership ? 1 : 0);
    image_header_free(&header);
}

static void without_an_owner(void **state)
{
    struct fixture *f = *state;
    struct snapshot first = {0};
    struct snapshot second = {0};
    bool trashed = true;
    struct error err;

    assert_ok(create(f, "first", &first, &err), err);
    assert_string_equal(first.name, "first");
    assert_int_equal(first.size, SIZE);
    assert_int_equal(create(f, "first", &second, &err), -EEXIST);
    assert_non_null(strstr(err.text, "'first'"));
    stock(STOCK("snap", "create", "--no-progress", "--snap", "stock", f->name));
    assert_ok(create(f, "second", &second, &err), err);
    assert_true(second.id > first.id);
    assert_same(f);
    assert_int_equal(count(f, false), 3);

    assert_ok(snapshot_protect(f->control, f->header.id, "first", true, soon(), &err), err);
    assert_ok(snapshot_protect(f->control, f->header.id, "first", true, soon(), &err), err);
    assert_same(f);
    assert_int_equal(drop(f, "first", &trashed, &err), -EBUSY);
    assert_non_null(strstr(err.text, "protected"));
    assert_ok(snapshot_protect(f->control, f->header.id, "first", false, soon(), &err), err);
    assert_ok(snapshot_rename(f->control, f->header.id, "first", "renamed", soon(), &err), err);
    assert_int_equal(snapshot_rename(f->control, f->header.id, "renamed", "second", soon(), &err),
                     -EEXIST);
    assert_same(f);

    assert_ok(drop(f, "renamed", &trashed, &err), err);
    assert_false(trashed);
    assert_int_equal(drop(f, "renamed", &trashed, &err), -ENOENT);
    assert_ok(drop(f, "stock", &trashed, &err), err);
    stock(STOCK("snap", "rm", "--no-progress", "--snap", "second", f->name));
    assert_same(f);
    assert_int_equal(count(f, true), 0);
    assert_no_notes(f);
}

/* A remover dies once the snapshot is gone from the header: the next one ends its work. */
static void an_object_map_that_was_left_goes_with_the_next_one(void **state)
{
    struct fixture *f = *state;
    struct snapshot first, second;
    struct image_header header = {0};
    char map[OBJECT_NAME_MAX];
    char object[OBJECT_NAME_MAX + 20];
    struct error err;
    uint64_t size;
    time_t mtime;

    stock(STOCK("feature", "enable", f->name, "object-map"));
    stock(STOCK("snap", "create", "--no-progress", "--snap", "first", f->name));
    assert_ok(snapshot_find(f->control, f->header.id, "first", soon(), &first, &err), err);
    name_object_map(map, f->header.id);
    snprintf(object, sizeof(object), "%s.%016llx", map, (unsigned long long)first.id);
    assert_int_equal(rados_stat(cluster_io(f->control), object, &size, &mtime), 0);

    assert_ok(image_read_header(f->control, f->header.id, soon(), &header, &err), err);
    assert_int_equal(owned_forget_snapshots(f->control, &header, soon()), 0);
    image_header_free(&header);
    assert_ok(create(f, "second", &second, &err), err);
    assert_int_equal(rados_stat(cluster_io(f->control), object, &size, &mtime), -ENOENT);
    assert_no_notes(f);
    assert_same(f);
}

static void bad_names_change_nothing(void **state)
{
    static const char *const names[] = {"", "a b", "a/b", "a@b", ".a", "\n", "\xc3\xa4"};
    struct fixture *f = *state;
    struct snapshot snapshot;
    char name[SNAPSHOT_NAME_MAX + 1];
    struct error err;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(create(f, names[i], &snapshot, &err), -EINVAL);
    memset(name, 'x', sizeof(name));
    name[SNAPSHOT_NAME_MAX] = '\0';
    assert_int_equal(create(f, name, &snapshot, &err), -EINVAL);
    name[SNAPSHOT_NAME_MAX - 1] = '\0';
    assert_ok(create(f, name, &snapshot, &err), err);
    assert_string_equal(snapshot.name, name);
    assert_int_equal(count(f, true), 1);
    assert_int_equal(
        snapshot_create(f->control, "nosuchimage", "x", "host-b", soon(), &snapshot, &err),
        -ENOENT);
}

static void an_owner_keeps_what_was_written_before(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    bool trashed;
    struct error err;

    start_owner(f);
    fill(f, 'a');
    assert_ok(create(f, "ours", &snapshot, &err), err);
    fill(f, 'b');
    stock(STOCK("snap", "create", "--no-progress", "--snap", "stock", f->name));
    fill(f, 'c');
    assert_int_equal(atomic_load(&f->freezes), 2);
    assert_int_equal(atomic_load(&f->thaws), 2);
    assert_same(f);
    assert_filled(f, "ours", 'a');
    assert_filled(f, "stock", 'b');
    assert_filled(f, NULL, 'c');

    assert_int_equal(create(f, "stock", &snapshot, &err), -EEXIST);
    assert_ok(snapshot_protect(f->control, f->header.id, "ours", true, soon(), &err), err);
    assert_int_equal(drop(f, "ours", &trashed, &err), -EBUSY);
    stock(STOCK("snap", "unprotect", "--snap", "ours", f->name));
    assert_ok(drop(f, "ours", &trashed, &err), err);
    assert_same(f);
    stock(STOCK("snap", "rm", "--no-progress", "--snap", "stock", f->name));
    assert_same(f);
    assert_int_equal(count(f, true), 0);
    assert_no_notes(f);
    assert_int_equal(ownership_state(f->server.ownership), OWNERSHIP_OWNED);
    fill(f, 'd');
    assert_filled(f, NULL, 'd');
}

static void a_snapshot_can_be_read(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct children children = {0};
    struct image_io *io;
    char data[BLOCK];
    struct error err;

    start_owner(f);
    fill(f, 'a');
    assert_ok(create(f, "ours", &snapshot, &err), err);
    fill(f, 'b');
    assert_ok(image_resize(f->control, f->header.id, 2 * SIZE, "host-b", soon(), &err), err);
    assert_ok(image_io_open_snapshot(f->control, &f->header, snapshot.id, snapshot.size, &io, &err),
              err);
    assert_int_equal(image_io_size(io), SIZE);
    for (uint64_t at = 0; at < SIZE; at += 4 * MIB) {
        assert_int_equal(image_run(io, IMAGE_READ, at, sizeof(data), data), 0);
        for (size_t i = 0; i < sizeof(data); i++)
            assert_int_equal(data[i], 'a');
    }
    assert_int_equal(image_run(io, IMAGE_READ, SIZE, 512, data), -EINVAL);
    assert_int_equal(image_run(io, IMAGE_WRITE, 0, sizeof(data), data), -EROFS);
    assert_int_equal(image_run(io, IMAGE_DISCARD, 0, sizeof(data), NULL), -EROFS);
    assert_int_equal(image_run(io, IMAGE_WRITE_ZEROES, 0, sizeof(data), NULL), -EROFS);
    assert_int_equal(image_run(io, IMAGE_FLUSH, 0, 0, NULL), 0);
    image_io_close(io);
    assert_filled(f, "ours", 'a');
    assert_ok(clone_children(f->control, f->header.id, snapshot.id, soon(), &children, &err), err);
    assert_int_equal(children.count, 0);
    children_free(&children);
}

static void a_freeze_that_fails_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct spawn_result result;
    struct snapshot snapshot;
    struct error err;

    start_owner(f);
    fill(f, 'a');
    f->freeze_result = -EIO;
    assert_int_equal(create(f, "one", &snapshot, &err), -EIO);
    assert_int_not_equal(
        stock_try(&result, STOCK("snap", "create", "--no-progress", "--snap", "one", f->name)), 0);
    assert_int_equal(atomic_load(&f->thaws), 0);
    assert_int_equal(count(f, true), 0);
    f->freeze_result = 0;
    f->thaw_result = -ETIMEDOUT; /* it ended by itself, nobody knows when */
    assert_int_equal(create(f, "two", &snapshot, &err), -ETIMEDOUT);
    assert_int_equal(count(f, true), 0);
    f->thaw_result = 0;
    assert_ok(create(f, "three", &snapshot, &err), err);
    assert_same(f);
    fill(f, 'b');
    assert_filled(f, "three", 'a');
}

/* A program that writes all the time, and snapshots meanwhile: each holds a number of whole rounds,
 * because each byte was written before the next one began. */
struct writer {
    struct image_io *io;
    atomic_bool stop;
    atomic_uint rounds;
};

static void *write_rounds(void *arg)
{
    struct writer *writer = arg;
    uint32_t block[128];

    for (uint32_t round = 1; !atomic_load(&writer->stop); round++) {
        for (unsigned object = 0; object < SIZE / (4 * MIB); object++) {
            for (size_t i = 0; i < 128; i++)
                block[i] = round;
            if (image_run(writer->io, IMAGE_WRITE, object * 4 * MIB, sizeof(block), block) < 0)
                return writer;
        }
        atomic_store(&writer->rounds, round);
    }
    return NULL;
}

static void snapshots_are_one_point_in_time(void **state)
{
    struct fixture *f = *state;
    struct writer writer;
    pthread_t thread;
    void *failed;

    start_owner(f);
    writer = (struct writer){.io = f->io};
    pthread_create(&thread, NULL, write_rounds, &writer);
    for (int i = 0; i < 6; i++) {
        char name[32];
        struct snapshot snapshot;
        struct error err;

        snprintf(name, sizeof(name), "s%d", i);
        if (i % 2)
            stock(STOCK("snap", "create", "--no-progress", "--snap", name, f->name));
        else
            assert_ok(create(f, name, &snapshot, &err), err);
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_true(atomic_load(&writer.rounds) > 6);
    assert_same(f);
    for (int i = 0; i < 6; i++) {
        char spec[256];
        uint8_t *data;
        uint32_t first, last = 0;

        snprintf(spec, sizeof(spec), "%s@s%d", f->name, i);
        data = stock_export(spec, SIZE);
        memcpy(&first, data, sizeof(first));
        for (unsigned object = 0; object < SIZE / (4 * MIB); object++) {
            uint32_t round;

            memcpy(&round, data + object * 4 * MIB, sizeof(round));
            assert_memory_equal(data + object * 4 * MIB, data + object * 4 * MIB + 256, 256);
            /* the same round, or from some object on the one before */
            assert_true(round == first || round + 1 == first);
            assert_true(object == 0 || round <= last);
            last = round;
        }
        free(data);
    }
}

static void a_snapshot_with_a_clone_goes_to_the_trash(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct snapshots list = {0};
    struct children children = {0};
    char clone[128];
    char spec[256];
    bool trashed;
    struct error err;

    start_owner(f);
    fill(f, 'a');
    assert_ok(create(f, "base", &snapshot, &err), err);
    snprintf(clone, sizeof(clone), "docker/%s-clone", f->name);
    snprintf(spec, sizeof(spec), "docker/%s@base", f->name);
    stock(STOCK("clone", "--rbd-default-clone-format", "2", spec, clone));
    assert_ok(snapshot_find(f->control, f->header.id, "base", soon(), &snapshot, &err), err);
    assert_int_equal(snapshot.child_count, 1);
    assert_ok(clone_children(f->control, f->header.id, snapshot.id, soon(), &children, &err), err);
    assert_int_equal(children.count, 1);
    assert_string_equal(children.items[0].pool, "docker");
    assert_string_equal(children.items[0].name, strchr(clone, '/') + 1);
    children_free(&children);
    assert_ok(drop(f, "base", &trashed, &err), err);
    assert_true(trashed);
    assert_same(f);
    assert_int_equal(count(f, false), 0);
    assert_ok(snapshot_list(f->control, f->header.id, true, soon(), &list, &err), err);
    assert_int_equal(list.count, 1);
    assert_true(list.items[0].trashed);
    assert_string_equal(list.items[0].name, "base");
    snapshots_free(&list);
    fill(f, 'b');
    {
        uint8_t *data = stock_export(clone, SIZE);

        assert_int_equal(data[0], 'a');
        free(data);
    }
    stop_owner(f);
    stock(STOCK("rm", "--no-progress", clone));
}

static void an_owner_grows_on_request(void **state)
{
    struct fixture *f = *state;
    struct spawn_result result;
    struct error err;

    start_owner(f);
    assert_ok(image_resize(f->control, f->header.id, 48 * MIB, "host-b", soon(), &err), err);
    assert_int_equal(image_io_size(f->io), 48 * MIB);
    assert_int_equal(atomic_load(&f->size_told), 48 * MIB);
    stock(STOCK("resize", "--no-progress", "--size", "64M", f->name));
    assert_int_equal(image_io_size(f->io), 64 * MIB);
    assert_int_equal(atomic_load(&f->size_told), 64 * MIB);
    assert_int_equal(image_resize(f->control, f->header.id, 32 * MIB, "host-b", soon(), &err),
                     -EINVAL);
    assert_int_not_equal(stock_try(&result, STOCK("resize", "--no-progress", "--allow-shrink",
                                                  "--size", "32M", f->name)),
                         0);
    assert_int_equal(image_io_size(f->io), 64 * MIB);
    stop_owner(f);
    assert_ok(image_resize(f->control, f->header.id, 80 * MIB, "host-b", soon(), &err), err);
    assert_int_equal(stock_try(&result, STOCK("info", f->name)), 0);
    assert_non_null(strstr(result.output, "size 80 MiB"));
}

static int32_t ask(struct fixture *f, const struct header_notify *request)
{
    struct encoder payload = {0};
    struct encoder bytes = {0};
    struct notify_answer answer = {0};
    char object[OBJECT_NAME_MAX];
    int32_t result;

    notify_encode(&payload, request);
    name_header(object, f->header.id);
    assert_int_equal(op_notify(cluster_io(f->control), object, &payload, 5000, &bytes, soon()), 0);
    assert_int_equal(notify_decode_answer(decoder_of(bytes.data, bytes.len), &answer), 0);
    assert_int_equal(answer.ack_count, 1);
    result = answer.acks[0].result;
    notify_answer_free(&answer);
    encoder_free(&payload);
    encoder_free(&bytes);
    return result;
}

static void quiesce_and_requests_of_older_clients(void **state)
{
    struct fixture *f = *state;
    struct header_notify quiesce = {.op = NOTIFY_QUIESCE, .id = {7, 8, 9}};
    struct header_notify request = {.op = NOTIFY_SNAP_CREATE, .snapshot = "old"};
    int64_t patience = soon();

    start_owner(f);
    assert_int_equal(ask(f, &quiesce), 0);
    assert_int_equal(ask(f, &quiesce), 0); /* asked again */
    assert_int_equal(atomic_load(&f->freezes), 1);
    assert_int_equal(atomic_load(&f->thaws), 0);
    /* without an id the answer comes at the end; the freeze there is serves for it too */
    assert_int_equal(ask(f, &request), 0);
    assert_int_equal(ask(f, &request), -EEXIST);
    assert_int_equal(atomic_load(&f->freezes), 1);
    assert_int_equal(count(f, true), 1);
    quiesce.op = NOTIFY_UNQUIESCE;
    assert_int_equal(ask(f, &quiesce), 0);
    while (atomic_load(&f->thaws) == 0 && deadline_left_ms(patience) > 0)
        usleep(1000);
    assert_int_equal(atomic_load(&f->thaws), 1);
    request.op = NOTIFY_SNAP_REMOVE;
    assert_int_equal(ask(f, &request), 0);
    request.namespace_type = RBD_NAMESPACE_GROUP;
    assert_int_equal(ask(f, &request), -EOPNOTSUPP);
    assert_int_equal(count(f, true), 0);
}

static void a_request_sent_twice_is_done_once(void **state)
{
    struct fixture *f = *state;
    struct header_notify request = {.op = NOTIFY_SNAP_CREATE, .snapshot = "twice", .id = {1, 2, 3}};
    int64_t patience = soon();

    start_owner(f);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(f, &request), 0);
    while (count(f, true) == 0 && deadline_left_ms(patience) > 0)
        usleep(1000);
    assert_int_equal(ask(f, &request), 0);
    assert_int_equal(count(f, true), 1);
    assert_int_equal(atomic_load(&f->freezes), 1);
}

/* An owner that has just begun to end answers what it does not do any more. */
static void an_owner_ends_with_work_to_do(void **state)
{
    struct fixture *f = *state;
    struct header_notify request = {.op = NOTIFY_SNAP_CREATE};

    start_owner(f);
    for (uint64_t i = 1; i <= 8; i++) {
        request.id = (struct notify_id){1, 1, i};
        snprintf(request.snapshot, sizeof(request.snapshot), "s%d", (int)i);
        assert_int_equal(ask(f, &request), 0);
    }
    stop_owner(f);
    assert_int_equal(atomic_load(&f->freezes), atomic_load(&f->thaws));
    assert_same(f);
    assert_true(count(f, true) <= 8);
}

int main(void)
{
#define LIVE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        LIVE_TEST(without_an_owner),
        LIVE_TEST(an_object_map_that_was_left_goes_with_the_next_one),
        LIVE_TEST(bad_names_change_nothing),
        LIVE_TEST(an_owner_keeps_what_was_written_before),
        LIVE_TEST(a_snapshot_can_be_read),
        LIVE_TEST(a_freeze_that_fails_changes_nothing),
        LIVE_TEST(snapshots_are_one_point_in_time),
        LIVE_TEST(a_snapshot_with_a_clone_goes_to_the_trash),
        LIVE_TEST(an_owner_grows_on_request),
        LIVE_TEST(quiesce_and_requests_of_older_clients),
        LIVE_TEST(a_request_sent_twice_is_done_once),
        LIVE_TEST(an_owner_ends_with_work_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
