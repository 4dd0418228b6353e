/* SPDX-License-Identifier: Apache-2.0 */
#include "trashed.h"

#include "image/names.h"
#include "rados/op.h"

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

/* What a removal does before it takes the name. */
static void begin_removal(struct cluster *cluster, const char *name, const char *id)
{
    struct rbd_trash_spec spec = {.source = RBD_TRASH_REMOVING, .state = RBD_TRASH_MOVING};

    snprintf(spec.name, sizeof(spec.name), "%s", name);
    clock_gettime(CLOCK_REALTIME, &spec.deleted);
    spec.deferred_until = spec.deleted;
    assert_int_equal(trash_put(cluster, id, &spec, soon()), 0);
}

/* Between the look at an entry and its removal another one may take its place: the removal must see
 * that by itself. */
static void other_bytes_cancel_the_whole_operation(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("late-bytes");
    struct image_header header = make(cluster, name);
    struct encoder bytes = {0};
    struct encoder in = {0};
    char key[sizeof(TRASH_ENTRY) + IMAGE_ID_MAX];

    snprintf(key, sizeof(key), TRASH_ENTRY "%s", header.id);
    assert_int_equal(op_get_omap(cluster_io(cluster), RBD_TRASH, key, &bytes, soon()), -ENOENT);
    begin_removal(cluster, name, header.id);
    assert_int_equal(op_get_omap(cluster_io(cluster), RBD_TRASH, key, &bytes, soon()), 0);
    rbd_encode_string(&in, header.id);
    for (int same = 0; same <= 1; same++) {
        struct op *op = op_write();

        bytes.data[bytes.len - 1] ^= 1; /* other bytes first, and then those that were found */
        op_compare_omap(op, key, bytes.data, bytes.len);
        op_exec(op, "rbd", "trash_remove", &in);
        assert_int_equal(op_run(op, cluster_io(cluster), RBD_TRASH, soon()), same ? 0 : -ECANCELED);
        op_free(op);
        if (same == 0)
            assert_int_equal(entry_of(cluster, header.id).state, RBD_TRASH_MOVING);
    }
    assert_no_entry(cluster, header.id);
    encoder_free(&in);
    encoder_free(&bytes);
    remove_image(cluster, name, header.id);
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
    struct rbd_trash_entry first, second;

    test_image_publish(cluster, name, header.id);
    begin_removal(cluster, name, header.id);
    settle(cluster, &making);
    assert_int_equal(entry_of(cluster, header.id).state, RBD_TRASH_MOVING);

    /* One removal after the other differ by their times only. */
    first = read_entry(cluster, header.id);
    begin_removal(cluster, name, header.id);
    second = read_entry(cluster, header.id);
    settle(cluster, &first);
    assert_int_equal(trash_check_seen(cluster, header.id, &second.spec, soon()), 0);
    assert_int_equal(
        trash_forget_if(cluster, header.id, RBD_TRASH_MOVING, &first.spec.deleted, soon()),
        -ESTALE);
    assert_int_equal(trash_check_seen(cluster, header.id, &second.spec, soon()), 0);

    settle(cluster, &second);
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

    begin_removal(cluster, name, header.id);
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
        cmocka_unit_test(other_bytes_cancel_the_whole_operation),
        cmocka_unit_test(a_late_sweep_deletes_nothing_that_is_kept),
        cmocka_unit_test(a_late_sweep_leaves_the_entry_of_a_removal),
        cmocka_unit_test(a_creator_leaves_the_entry_of_a_removal),
        cmocka_unit_test(a_late_sweep_deletes_nothing_that_was_reprieved),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
