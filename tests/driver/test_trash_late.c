/* SPDX-License-Identifier: Apache-2.0 */
#include "trashed.h"

/* A sweep that comes late: it reads the whole trash first, and what it has read of an entry is not
 * true any more when it comes to it. */

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

static struct rbd_trash_entry read_entry(struct cluster *cluster, const char *id)
{
    struct rbd_trash_entry entry = {.spec = entry_of(cluster, id)};

    snprintf(entry.id, sizeof(entry.id), "%s", id);
    return entry;
}

static void settle(struct cluster *cluster, const struct rbd_trash_entry *entry)
{
    struct error err;
    int r = trash_settle(cluster, entry, MARK, soon(), &err);

    assert_true(r == 0 || r == -EAGAIN || r == -EBUSY);
}

/* The sweep read the trash while the image was being made, and comes to it when it has been removed
 * and is to be kept. */
static void a_late_sweep_deletes_nothing_that_is_kept(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("late-kept");
    struct image_header header = test_image_prepare(cluster, name, 16 * MIB, 22);
    struct rbd_trash_entry making = read_entry(cluster, header.id);
    char data[4096];
    struct image_io *io;
    struct error err;

    memset(data, 'x', sizeof(data));
    assert_ok(image_io_open(cluster, &header, &io, &err), err);
    for (uint64_t at = 0; at <= 8 * MIB; at += 8 * MIB)
        assert_int_equal(image_run(io, IMAGE_WRITE, at, sizeof(data), data), 0);
    image_io_close(io);
    test_image_publish(cluster, name, header.id);
    put(cluster, name, header.id, WEEK);

    settle(cluster, &making);
    assert_kept(cluster, name, header.id);
    restore(cluster, header.id, name);
    assert_alive(cluster, name, header.id);
    remove_image(cluster, name, header.id);
}

/* The name still leads to the image, but a removal has put an entry of its own in place. */
static void a_late_sweep_leaves_the_entry_of_a_removal(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("late-entry");
    struct image_header header = test_image_prepare(cluster, name, 16 * MIB, 22);
    struct rbd_trash_entry making = read_entry(cluster, header.id);
    struct rbd_trash_spec removing = {.source = RBD_TRASH_REMOVING, .state = RBD_TRASH_MOVING};
    struct rbd_trash_entry first;

    test_image_publish(cluster, name, header.id);
    snprintf(removing.name, sizeof(removing.name), "%s", name);
    clock_gettime(CLOCK_REALTIME, &removing.deleted);
    removing.deferred_until = removing.deleted;
    assert_int_equal(trash_put(cluster, header.id, &removing, soon()), 0);
    settle(cluster, &making);
    assert_int_equal(entry_of(cluster, header.id).state, RBD_TRASH_MOVING);

    /* One removal after the other differ by their times only. */
    first = read_entry(cluster, header.id);
    removing.deleted.tv_sec++;
    assert_int_equal(trash_put(cluster, header.id, &removing, soon()), 0);
    settle(cluster, &first);
    assert_int_equal(entry_of(cluster, header.id).deleted.tv_sec, removing.deleted.tv_sec);

    first = read_entry(cluster, header.id);
    settle(cluster, &first);
    assert_no_entry(cluster, header.id);
    assert_true(leads_to(cluster, name, header.id) && is_listed(cluster, name));
    remove_image(cluster, name, header.id);
}

/* The image is removed while its creator has only the bookkeeping left to do. */
static void a_creator_leaves_the_entry_of_a_removal(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("late-creator");
    struct image_header header = test_image_prepare(cluster, name, 16 * MIB, 22);
    struct rbd_trash_spec removing = {.source = RBD_TRASH_REMOVING, .state = RBD_TRASH_MOVING};

    snprintf(removing.name, sizeof(removing.name), "%s", name);
    clock_gettime(CLOCK_REALTIME, &removing.deleted);
    removing.deferred_until = removing.deleted;
    assert_int_equal(trash_put(cluster, header.id, &removing, soon()), 0);
    test_image_publish(cluster, name, header.id);
    assert_int_equal(entry_of(cluster, header.id).state, RBD_TRASH_MOVING);
    sweep(cluster);
    assert_no_entry(cluster, header.id);
    remove_image(cluster, name, header.id);
}

/* A purge of what has expired looks once more after it has condemned an image, and takes that back
 * when it was restored and removed again meanwhile. */
static void a_late_sweep_deletes_nothing_that_was_reprieved(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("late-reprieve");
    struct image_header header = make(cluster, name);
    struct rbd_trash_entry condemned;

    put(cluster, name, header.id, WEEK);
    assert_int_equal(
        trash_set_state(cluster, header.id, RBD_TRASH_NORMAL, RBD_TRASH_STATE_REMOVING, soon()), 0);
    condemned = read_entry(cluster, header.id);
    assert_int_equal(
        trash_set_state(cluster, header.id, RBD_TRASH_STATE_REMOVING, RBD_TRASH_NORMAL, soon()), 0);
    settle(cluster, &condemned);
    assert_kept(cluster, name, header.id);
    purge(cluster, header.id);
    assert_gone(cluster, header.id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_sweep_deletes_nothing_that_is_kept),
        cmocka_unit_test(a_late_sweep_leaves_the_entry_of_a_removal),
        cmocka_unit_test(a_creator_leaves_the_entry_of_a_removal),
        cmocka_unit_test(a_late_sweep_deletes_nothing_that_was_reprieved),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
