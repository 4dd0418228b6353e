/* SPDX-License-Identifier: Apache-2.0 */
#include "images.h"

#include <errno.h>
#include <pthread.h>

#include "image/io.h"
#include "image/names.h"
#include "image/ownership.h"
#include "image/trash.h"
#include "image/watch.h"
#include "rados/op.h"

/* Images come and go whole: each state that a crash can leave (the table in lifecycle.h) is made
 * here by stopping between the steps, and the sweep must finish it. */

static int setup(void **state)
{
    *state = live_connect(CLUSTER_CONTROL);
    return 0;
}

static int teardown(void **state)
{
    cluster_close(*state);
    return 0;
}

static struct image_header prepare(struct cluster *cluster, const char *name)
{
    return test_image_prepare(cluster, name, 64 * MIB, 22);
}

/* What another client, or this one after a crash, would find: the lock of the dead worker has
 * lapsed. */
static void forget_worker(struct cluster *cluster, const char *id)
{
    trash_work_unlock(cluster, id, WORK_CREATE);
}

static bool exists(struct cluster *cluster, const char *name)
{
    char id[IMAGE_ID_MAX];
    int r = image_find(cluster, name, soon(), id, NULL);

    assert_true(r == 0 || r == -ENOENT);
    return r == 0;
}

static bool listed(struct cluster *cluster, const char *name)
{
    struct rbd_pairs list = {0};
    struct error err;
    bool found = false;

    assert_ok(image_list(cluster, soon(), &list, &err), err);
    for (size_t i = 0; i < list.count; i++)
        found |= strcmp(list.items[i].key, name) == 0;
    rbd_pairs_free(&list);
    return found;
}

static bool header_exists(struct cluster *cluster, const char *id)
{
    struct image_header header = {0};
    int r = image_read_header(cluster, id, soon(), &header, NULL);

    image_header_free(&header);
    assert_true(r == 0 || r == -ENOENT);
    return r == 0;
}

static bool in_trash(struct cluster *cluster, const char *id)
{
    struct encoder in = {0};
    int r;

    rbd_encode_string(&in, id);
    r = op_call(cluster_io(cluster), RBD_TRASH, "rbd", "trash_get", &in, NULL, soon());
    encoder_free(&in);
    assert_true(r == 0 || r == -ENOENT);
    return r == 0;
}

static void write_some(struct cluster *cluster, const struct image_header *header)
{
    char data[4096];
    struct image_io *io;
    struct error err;

    memset(data, 'x', sizeof(data));
    assert_ok(image_io_open(cluster, header, &io, &err), err);
    for (uint64_t at = 0; at < header->size; at += 4 * MIB)
        assert_int_equal(image_run(io, IMAGE_WRITE, at, sizeof(data), data), 0);
    image_io_close(io);
}

static unsigned data_objects(struct cluster *cluster, const struct image_header *header)
{
    unsigned count = 0;

    for (unsigned i = 0; i < 16; i++) {
        char object[128];
        uint64_t size;
        time_t mtime;

        snprintf(object, sizeof(object), "%s.%016x", header->object_prefix, i);
        count += rados_stat(cluster_io(cluster), object, &size, &mtime) == 0;
    }
    return count;
}

static void assert_gone(struct cluster *cluster, const char *name,
                        const struct image_header *header)
{
    assert_false(exists(cluster, name));
    assert_false(listed(cluster, name));
    assert_false(header_exists(cluster, header->id));
    assert_false(in_trash(cluster, header->id));
    assert_int_equal(data_objects(cluster, header), 0);
}

static void remove_image(struct cluster *cluster, const char *name, const char *id)
{
    struct error err;

    assert_ok(image_unpublish(cluster, name, id, MARK, soon(), &err), err);
    assert_ok(image_delete(cluster, id, soon(), &err), err);
}

/* As image_unpublish locks, by a client that stops there. */
static void lock_for_ever(struct cluster *cluster, const char *id, const char *description)
{
    struct encoder in = {0};
    char object[OBJECT_NAME_MAX];

    lock_encode_lock(&in, RBD_LOCK_NAME, LOCK_EXCLUSIVE, "docker-volume-rados remove",
                     "docker-volume-rados", description, 0);
    name_header(object, id);
    assert_int_equal(op_call_write(cluster_io(cluster), object, "lock", "lock", &in, soon()), 0);
    encoder_free(&in);
}

static void sweep(struct cluster *cluster)
{
    struct error err = {0};
    int r = image_sweep(cluster, MARK, soon(), &err);

    assert_true(r == 0 || r == -EAGAIN); /* others' images may be under way */
}

static void comes_and_goes(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("whole");
    struct image_header header = prepare(cluster, name);
    struct image_header again = {0};
    struct error err;

    assert_false(exists(cluster, name));
    assert_false(listed(cluster, name));
    write_some(cluster, &header);
    test_image_publish(cluster, name, header.id);
    assert_true(exists(cluster, name));
    assert_true(listed(cluster, name));
    assert_false(in_trash(cluster, header.id));

    assert_ok(image_read_header(cluster, header.id, soon(), &again, &err), err);
    assert_int_equal(again.size, header.size);
    assert_int_equal(again.order, 22);
    assert_int_equal(again.features, RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK);
    assert_string_equal(again.object_prefix, header.object_prefix);
    assert_string_equal(image_header_metadata(&again, MARK), "1");
    assert_int_equal(again.lock.count, 0);
    assert_ok(image_check_writable(&again, &err), err);
    image_header_free(&again);

    remove_image(cluster, name, header.id);
    assert_gone(cluster, name, &header);
}

static void a_taken_name_is_refused(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("taken");
    struct image_header first = prepare(cluster, name);
    struct image_header second = prepare(cluster, name);
    struct error err;

    test_image_publish(cluster, name, first.id);
    assert_int_equal(image_publish(cluster, name, second.id, soon(), &err), -EEXIST);
    assert_ok(image_abandon(cluster, second.id, -EEXIST, &err), err);
    assert_false(header_exists(cluster, second.id));
    assert_false(in_trash(cluster, second.id));
    assert_true(exists(cluster, name));
    remove_image(cluster, name, first.id);
    assert_gone(cluster, name, &first);
}

static void crash_before_the_name_is_swept_away(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("unnamed");
    struct image_header header = prepare(cluster, name);

    write_some(cluster, &header);
    forget_worker(cluster, header.id);
    sweep(cluster);
    assert_gone(cluster, name, &header);
}

static void a_creation_under_way_is_left_alone(void **state)
{
    struct cluster *cluster = *state;
    struct cluster *other = live_connect(CLUSTER_CONTROL);
    const char *name = live_name("busy");
    struct image_header header = prepare(cluster, name);

    write_some(cluster, &header);
    sweep(cluster);
    sweep(other);
    assert_true(header_exists(cluster, header.id));
    assert_int_equal(data_objects(cluster, &header), 16);
    test_image_publish(cluster, name, header.id);
    remove_image(other, name, header.id);
    assert_gone(cluster, name, &header);
    cluster_close(other);
}

static void crash_after_the_name_is_finished(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("unlisted");
    struct image_header header = prepare(cluster, name);
    struct op *op = op_write();
    struct encoder in = {0};
    char object[OBJECT_NAME_MAX];

    rbd_encode_string(&in, header.id);
    op_create(op, true);
    op_exec(op, "rbd", "set_id", &in);
    name_rbd_id(object, name);
    assert_int_equal(op_run(op, cluster_io(cluster), object, soon()), 0);
    op_free(op);
    encoder_free(&in);
    assert_true(exists(cluster, name));
    assert_false(listed(cluster, name));

    forget_worker(cluster, header.id);
    sweep(cluster);
    assert_true(exists(cluster, name));
    assert_true(listed(cluster, name));
    assert_false(in_trash(cluster, header.id));
    remove_image(cluster, name, header.id);
    assert_gone(cluster, name, &header);
}

/* A stock client that dies while it removes an image can leave its name listed. */
static void a_stale_entry_of_the_name_is_replaced(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("stale");
    struct image_header header;
    struct encoder in = {0};

    rbd_encode_name_id(&in, name, "0123456789ab");
    assert_int_equal(
        op_call_write(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_add_image", &in, soon()), 0);
    encoder_free(&in);
    assert_true(listed(cluster, name));
    assert_false(exists(cluster, name));

    header = prepare(cluster, name);
    test_image_publish(cluster, name, header.id);
    assert_true(listed(cluster, name));
    remove_image(cluster, name, header.id);
    assert_gone(cluster, name, &header);
}

static void crash_in_removal_before_the_name_is_undone(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("half");
    struct image_header header = prepare(cluster, name);
    struct encoder in = {0};

    write_some(cluster, &header);
    test_image_publish(cluster, name, header.id);
    assert_int_equal(trash_add(cluster, header.id, name, RBD_TRASH_MOVING, soon()), 0);
    rbd_encode_name_id(&in, name, header.id);
    assert_int_equal(
        op_call_write(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_remove_image", &in, soon()),
        0);
    encoder_free(&in);
    assert_false(listed(cluster, name));

    sweep(cluster);
    assert_true(exists(cluster, name));
    assert_true(listed(cluster, name));
    assert_false(in_trash(cluster, header.id));
    assert_int_equal(data_objects(cluster, &header), 16);
    remove_image(cluster, name, header.id);
    assert_gone(cluster, name, &header);
}

static void crash_in_removal_after_the_name_is_finished(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("doomed");
    struct image_header header = prepare(cluster, name);
    struct error err;

    write_some(cluster, &header);
    test_image_publish(cluster, name, header.id);
    assert_ok(image_unpublish(cluster, name, header.id, MARK, soon(), &err), err);
    assert_false(exists(cluster, name));
    assert_false(listed(cluster, name));
    assert_true(header_exists(cluster, header.id));

    sweep(cluster);
    assert_gone(cluster, name, &header);
}

static void an_entry_without_an_image_is_dropped(void **state)
{
    struct cluster *cluster = *state;

    assert_int_equal(trash_add(cluster, "deadbeef", "ghost", RBD_TRASH_MOVING, soon()), 0);
    assert_true(in_trash(cluster, "deadbeef"));
    sweep(cluster);
    assert_false(in_trash(cluster, "deadbeef"));
}

static void an_image_in_use_is_not_removed(void **state)
{
    struct cluster *cluster = *state;
    struct cluster *other = live_connect(CLUSTER_DATA);
    const char *name = live_name("used");
    struct image_header header = prepare(cluster, name);
    struct image_header owned = {0};
    struct ownership *ownership;
    struct error err;

    test_image_publish(cluster, name, header.id);
    assert_ok(
        ownership_acquire(other, header.id, "host-b", "", 15, soon(), &owned, &ownership, &err),
        err);
    assert_int_equal(image_unpublish(cluster, name, header.id, MARK, soon(), &err), -EBUSY);
    assert_non_null(strstr(err.text, "host-b since"));
    assert_true(listed(cluster, name));
    ownership_release(ownership);
    image_header_free(&owned);
    cluster_close(other);
    remove_image(cluster, name, header.id);
    assert_gone(cluster, name, &header);
}

static void *close_in_a_while(void *watch)
{
    sleep(5);
    watch_close(watch, soon());
    return NULL;
}

/* A process that died had the image open without its lock: the cluster still counts it as a
 * watcher for a while. The removal waits for that to end, instead of failing. */
static void a_dead_watcher_is_waited_for(void **state)
{
    struct cluster *cluster = *state;
    struct cluster *other = live_connect(CLUSTER_DATA);
    const char *name = live_name("watched");
    struct image_header header = prepare(cluster, name);
    char object[OBJECT_NAME_MAX];
    struct watch *silent;
    pthread_t thread;
    struct error err;

    test_image_publish(cluster, name, header.id);
    name_header(object, header.id);
    assert_ok(watch_open(other, object, 30, soon(), &silent, &err), err);
    assert_int_equal(image_unpublish(cluster, name, header.id, MARK, deadline_in_ms(5000), &err),
                     -EBUSY);
    assert_non_null(strstr(err.text, "which does not answer"));
    assert_true(listed(cluster, name));
    assert_int_equal(pthread_create(&thread, NULL, close_in_a_while, silent), 0);
    assert_ok(image_unpublish(cluster, name, header.id, MARK, deadline_in_ms(20000), &err), err);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ok(image_delete(cluster, header.id, soon(), &err), err);
    assert_gone(cluster, name, &header);
    cluster_close(other);
}

static void a_removed_image_cannot_be_owned(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("late");
    struct image_header header = prepare(cluster, name);
    struct image_header owned = {0};
    struct ownership *ownership;
    struct error err;

    test_image_publish(cluster, name, header.id);
    assert_ok(image_unpublish(cluster, name, header.id, MARK, soon(), &err), err);
    assert_int_equal(
        ownership_acquire(cluster, header.id, "host-b", "", 15, soon(), &owned, &ownership, &err),
        -EBUSY);
    assert_ok(image_delete(cluster, header.id, soon(), &err), err);
    assert_int_equal(
        ownership_acquire(cluster, header.id, "host-b", "", 15, soon(), &owned, &ownership, &err),
        -ENOENT);
    assert_gone(cluster, name, &header); /* above all, no header came back */
}

/* Two clients with one token: the second knows that the first is dead. Here the first is alive, and
 * must find itself fenced. */
struct succession {
    struct cluster *dead;
    struct cluster *heir;
};

static struct succession succession_begin(void)
{
    return (struct succession){.dead = live_connect_as(CLUSTER_CONTROL, "0f"),
                               .heir = live_connect_as(CLUSTER_CONTROL, "0f")};
}

static void succession_end(struct succession *s)
{
    char id[IMAGE_ID_MAX];

    assert_int_equal(image_find(s->dead, "anything", soon(), id, NULL), -ESHUTDOWN);
    cluster_close(s->dead);
    cluster_close(s->heir);
}

static void an_heir_finishes_a_creation(void **state)
{
    struct cluster *cluster = *state;
    struct succession s = succession_begin();
    const char *name = live_name("inherited");
    struct image_header unnamed = prepare(s.dead, name);
    struct image_header named = prepare(s.dead, name);
    struct encoder in = {0};
    struct op *op = op_write();
    char object[OBJECT_NAME_MAX];

    rbd_encode_string(&in, named.id);
    op_create(op, true);
    op_exec(op, "rbd", "set_id", &in);
    name_rbd_id(object, name);
    assert_int_equal(op_run(op, cluster_io(s.dead), object, soon()), 0);
    op_free(op);
    encoder_free(&in);

    sweep(cluster); /* whom it does not concern */
    assert_true(header_exists(cluster, unnamed.id));
    assert_false(listed(cluster, name));
    sweep(s.heir);
    assert_false(header_exists(cluster, unnamed.id));
    assert_true(listed(cluster, name));
    assert_false(in_trash(cluster, named.id));
    remove_image(cluster, name, named.id);
    assert_gone(cluster, name, &named);
    succession_end(&s);
}

static void *sweep_once(void *cluster)
{
    image_sweep(cluster, MARK, soon(), NULL); /* it may leave what is being removed */
    return NULL;
}

/* An heir finishes a creation, which takes the time of a fence, and removes the image meanwhile.
 * Its name once came back to the list, with nothing behind it. */
static void what_an_heir_removes_during_its_sweep_stays_removed(void **state)
{
    struct cluster *cluster = *state;

    for (unsigned i = 0; i < 12; i++) {
        struct succession s = succession_begin();
        const char *name = live_name("swept");
        struct image_header header = prepare(s.dead, name);
        pthread_t sweeper;

        assert_int_equal(trash_claim(s.dead, name, header.id, soon()), 0);
        pthread_create(&sweeper, NULL, sweep_once, s.heir);
        usleep(i * 10000);
        remove_image(s.heir, name, header.id);
        pthread_join(sweeper, NULL);
        sweep(s.heir);
        assert_gone(cluster, name, &header);
        image_header_free(&header);
        succession_end(&s);
    }
}

static void an_heir_removes_again(void **state)
{
    struct cluster *cluster = *state;
    struct succession s = succession_begin();
    const char *name = live_name("again");
    struct image_header header = prepare(cluster, name);
    struct error err;

    test_image_publish(cluster, name, header.id);
    lock_for_ever(s.dead, header.id, "being removed token=0f");
    assert_int_equal(image_unpublish(cluster, name, header.id, MARK, soon(), &err), -EBUSY);
    assert_non_null(strstr(err.text, "being removed"));
    assert_null(strstr(err.text, "token"));
    remove_image(s.heir, name, header.id);
    assert_gone(cluster, name, &header);
    succession_end(&s);
}

static void an_heir_undoes_a_removal(void **state)
{
    struct cluster *cluster = *state;
    struct succession s = succession_begin();
    const char *name = live_name("undone");
    struct image_header header = prepare(cluster, name);

    test_image_publish(cluster, name, header.id);
    lock_for_ever(s.dead, header.id, "being removed token=0f");
    assert_int_equal(trash_add(s.dead, header.id, name, RBD_TRASH_MOVING, soon()), 0);
    sweep(cluster);
    assert_true(in_trash(cluster, header.id));
    sweep(s.heir);
    assert_false(in_trash(cluster, header.id));
    assert_true(listed(cluster, name));
    remove_image(cluster, name, header.id);
    assert_gone(cluster, name, &header);
    succession_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_and_goes),
        cmocka_unit_test(a_taken_name_is_refused),
        cmocka_unit_test(crash_before_the_name_is_swept_away),
        cmocka_unit_test(a_creation_under_way_is_left_alone),
        cmocka_unit_test(crash_after_the_name_is_finished),
        cmocka_unit_test(a_stale_entry_of_the_name_is_replaced),
        cmocka_unit_test(crash_in_removal_before_the_name_is_undone),
        cmocka_unit_test(crash_in_removal_after_the_name_is_finished),
        cmocka_unit_test(an_entry_without_an_image_is_dropped),
        cmocka_unit_test(an_image_in_use_is_not_removed),
        cmocka_unit_test(a_dead_watcher_is_waited_for),
        cmocka_unit_test(a_removed_image_cannot_be_owned),
        cmocka_unit_test(an_heir_finishes_a_creation),
        cmocka_unit_test(what_an_heir_removes_during_its_sweep_stays_removed),
        cmocka_unit_test(an_heir_removes_again),
        cmocka_unit_test(an_heir_undoes_a_removal),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
