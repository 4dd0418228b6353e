/* SPDX-License-Identifier: Apache-2.0 */
#include "stock.h"
#include "trashed.h"

#include <errno.h>

#include "image/io.h"
#include "image/leftovers.h"
#include "image/names.h"
#include "image/owner_work.h"
#include "image/ownership.h"
#include "image/trash.h"
#include "rados/op.h"
#include "volume/trash.h"
#include "volume/volume.h"

/* Removed images are kept, come back and expire; stock tools and we take each other's for our own;
 * and each state that a crash can leave (the second table in lifecycle.h) is made here by stopping
 * between the steps, and the sweep must finish it. */

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

static const char *spec_of(const char *name, const char *snapshot)
{
    static char texts[4][128];
    static unsigned next;
    char *text = texts[next++ % 4];

    snprintf(text, sizeof(texts[0]), "%s@%s", name, snapshot);
    return text;
}

/* --- Removal, restore, purge ---------------------------------------------------------------- */

static void comes_back(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("back");
    struct image_header header = make(cluster, name);
    struct image_header again = {0};
    struct rbd_trash_spec spec;
    struct error err;

    put(cluster, name, header.id, WEEK);
    assert_kept(cluster, name, header.id);
    assert_false(is_listed(cluster, name));
    spec = entry_of(cluster, header.id);
    assert_string_equal(spec.name, name);
    assert_int_equal(spec.deferred_until.tv_sec - spec.deleted.tv_sec, WEEK);
    assert_ok(image_read_header(cluster, header.id, soon(), &again, &err), err);
    assert_int_equal(again.lock.count, 0); /* stock tools may have it at once */
    image_header_free(&again);

    sweep(cluster);
    assert_kept(cluster, name, header.id);
    assert_int_equal(image_purge(cluster, header.id, PURGE_EXPIRED, soon(), &err), -EBUSY);
    assert_kept(cluster, name, header.id);

    restore(cluster, header.id, name);
    assert_alive(cluster, name, header.id);
    assert_ok(image_read_header(cluster, header.id, soon(), &again, &err), err);
    assert_null(image_header_metadata(&again, TRASH_KEY));
    assert_null(image_header_metadata(&again, RESTORE_KEY));
    image_header_free(&again);
    assert_int_equal(image_restore(cluster, header.id, name, soon(), &err), -ENOENT);
    assert_int_equal(image_purge(cluster, header.id, PURGE_ANY, soon(), &err), -ENOENT);
    assert_alive(cluster, name, header.id);
    remove_image(cluster, name, header.id);
}

static void the_name_is_free_at_once(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("reused");
    const char *other = live_name("other");
    struct image_header first = make(cluster, name);
    struct image_header second;
    struct error err;

    put(cluster, name, first.id, WEEK);
    second = make(cluster, name);
    assert_true(leads_to(cluster, name, second.id));
    assert_int_equal(image_restore(cluster, first.id, name, soon(), &err), -EEXIST);
    assert_non_null(strstr(err.text, name));
    assert_kept(cluster, name, first.id);
    assert_alive(cluster, name, second.id);

    restore(cluster, first.id, other);
    assert_alive(cluster, other, first.id);
    assert_alive(cluster, name, second.id);
    remove_image(cluster, name, second.id);
    remove_image(cluster, other, first.id);
}

static void the_expired_are_swept(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("expired");
    struct image_header header = make(cluster, name);

    put(cluster, name, header.id, 1);
    sleep(2);
    sweep(cluster);
    assert_gone(cluster, header.id);
}

static void what_was_restored_does_not_expire(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("revived");
    struct image_header header = make(cluster, name);
    struct error err;

    put(cluster, name, header.id, 0);
    restore(cluster, header.id, name);
    sweep(cluster);
    assert_alive(cluster, name, header.id);
    /* Removed again, for longer: a sweep that read the first entry must look again. */
    put(cluster, name, header.id, WEEK);
    sweep(cluster);
    assert_int_equal(image_purge(cluster, header.id, PURGE_EXPIRED, soon(), &err), -EBUSY);
    assert_kept(cluster, name, header.id);
    purge(cluster, header.id);
    assert_gone(cluster, header.id);
}

static void snapshots_come_back(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("snaps");
    struct image_header header = make(cluster, name);
    struct snapshots list = {0};
    struct error err;

    stock(STOCK("snap", "create", "--no-progress", spec_of(name, "monday")));
    stock(STOCK("snap", "create", "--no-progress", spec_of(name, "tuesday")));
    assert_int_equal(image_unpublish(cluster, name, header.id, MARK, soon(), &err), -ENOTEMPTY);
    put(cluster, name, header.id, WEEK);
    restore(cluster, header.id, name);
    assert_ok(snapshot_list(cluster, header.id, true, soon(), &list, &err), err);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[1].name, "tuesday");
    snapshots_free(&list);
    stock_same_snapshots(cluster, name, header.id);

    stock(STOCK("snap", "protect", spec_of(name, "monday")));
    assert_int_equal(image_trash(cluster, name, header.id, WEEK, soon(), &err), -EBUSY);
    assert_non_null(strstr(err.text, "'monday' is protected"));
    assert_alive(cluster, name, header.id);
    stock(STOCK("snap", "unprotect", spec_of(name, "monday")));
    remove_image(cluster, name, header.id); /* snapshots and all */
}

static void clones_keep_their_parent(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("parent");
    const char *clone = live_name("clone");
    struct image_header header = make(cluster, name);
    char clone_id[IMAGE_ID_MAX];
    struct error err;

    stock(STOCK("snap", "create", "--no-progress", spec_of(name, "base")));
    stock(STOCK("clone", "--rbd-default-clone-format", "2", "--dest-pool", "docker",
                spec_of(name, "base"), clone));
    assert_int_equal(image_trash(cluster, name, header.id, WEEK, soon(), &err), -EBUSY);
    assert_non_null(strstr(err.text, clone));
    assert_alive(cluster, name, header.id);

    /* A clone that is in the trash does not hinder it, but goes first. */
    assert_ok(image_find(cluster, clone, soon(), clone_id, &err), err);
    stock(STOCK("trash", "mv", clone));
    put(cluster, name, header.id, 0);
    sweep(cluster);
    assert_kept(cluster, name, header.id);
    assert_int_equal(image_purge(cluster, header.id, PURGE_ANY, soon(), &err), -EBUSY);
    assert_non_null(strstr(err.text, "in the trash"));
    assert_kept(cluster, name, header.id);
    stock(STOCK("trash", "rm", "--no-progress", clone_id));
    sweep(cluster);
    assert_gone(cluster, header.id);
}

static void the_used_stay(void **state)
{
    struct cluster *cluster = *state;
    struct cluster *other = live_connect(CLUSTER_DATA);
    const char *name = live_name("used");
    struct image_header header = make(cluster, name);
    struct image_header owned = {0};
    struct ownership *ownership;
    struct error err;

    assert_ok(
        ownership_acquire(other, header.id, "host-b", "", 15, soon(), &owned, &ownership, &err),
        err);
    assert_int_equal(image_trash(cluster, name, header.id, WEEK, soon(), &err), -EBUSY);
    assert_non_null(strstr(err.text, "host-b since"));
    assert_alive(cluster, name, header.id);
    ownership_release(ownership);
    image_header_free(&owned);

    /* One who looked the id up before may get the lock, but learns that the image has gone; and
     * while he holds it, nothing is deleted under him. */
    put(cluster, name, header.id, 0);
    assert_ok(
        ownership_acquire(other, header.id, "host-b", "", 15, soon(), &owned, &ownership, &err),
        err);
    assert_int_equal(image_check_named(other, name, &owned, soon(), &err), -ENOENT);
    sweep(cluster);
    assert_kept(cluster, name, header.id);
    assert_int_equal(image_purge(cluster, header.id, PURGE_ANY, soon(), &err), -EBUSY);
    assert_non_null(strstr(err.text, "host-b since"));
    ownership_release(ownership);
    image_header_free(&owned);
    cluster_close(other);
    sweep(cluster);
    assert_gone(cluster, header.id);
}

/* --- Stock tools ---------------------------------------------------------------------------- */

static void stock_tools_agree(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("ours");
    const char *renamed = live_name("renamed");
    struct image_header header = make(cluster, name);
    struct spawn_result result;
    char expected[256];

    stock(STOCK("snap", "create", "--no-progress", spec_of(name, "monday")));
    put(cluster, name, header.id, WEEK);
    assert_int_equal(stock_try(&result, STOCK("trash", "ls", "--format", "json")), 0);
    snprintf(expected, sizeof(expected), "{\"id\":\"%s\",\"name\":\"%s\"", header.id, name);
    assert_non_null(strstr(result.output, expected));
    assert_int_equal(stock_try(&result, STOCK("trash", "rm", "--no-progress", header.id)), 1);
    assert_non_null(strstr(result.output, "expire"));
    stock(STOCK("trash", "purge", "--no-progress")); /* only what has expired */
    assert_kept(cluster, name, header.id);

    stock(STOCK("trash", "restore", "--image", renamed, header.id));
    assert_alive(cluster, renamed, header.id);
    stock_same_snapshots(cluster, renamed, header.id);
    stock(STOCK("snap", "purge", "--no-progress", renamed));

    /* Removed by hand it is for hands to delete, although it has expired. */
    stock(STOCK("trash", "mv", renamed));
    sweep(cluster);
    assert_kept(cluster, renamed, header.id);
    restore(cluster, header.id, name);
    assert_alive(cluster, name, header.id);

    put(cluster, name, header.id, 0);
    stock(STOCK("trash", "purge", "--no-progress"));
    assert_gone(cluster, header.id);
}

static void stock_tools_and_we_exclude_each_other(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("race");
    struct image_header header = make(cluster, name);
    struct spawn_result result;
    struct error err;

    put(cluster, name, header.id, 0);
    assert_int_equal(
        trash_set_state(cluster, header.id, RBD_TRASH_NORMAL, RBD_TRASH_STATE_REMOVING, soon()), 0);
    assert_int_not_equal(stock_try(&result, STOCK("trash", "restore", header.id)), 0);
    assert_int_equal(image_restore(cluster, header.id, name, soon(), &err), -EBUSY);
    assert_int_equal(
        trash_set_state(cluster, header.id, RBD_TRASH_STATE_REMOVING, RBD_TRASH_RESTORING, soon()),
        0);
    assert_int_equal(image_purge(cluster, header.id, PURGE_ANY, soon(), &err), -EBUSY);
    assert_int_equal(image_purge(cluster, header.id, PURGE_EXPIRED, soon(), &err), -EBUSY);
    sweep(cluster); /* no note of ours: a stock client restores it */
    assert_int_equal(entry_of(cluster, header.id).state, RBD_TRASH_RESTORING);
    stock(STOCK("trash", "restore", header.id));
    assert_alive(cluster, name, header.id);
    remove_image(cluster, name, header.id);
}

/* --- Crashes -------------------------------------------------------------------------------- */

static struct rbd_trash_spec begin(struct cluster *cluster, const char *name, const char *id)
{
    struct rbd_trash_spec spec = {.source = RBD_TRASH_USER, .state = RBD_TRASH_MOVING};
    char stamp[TRASH_STAMP_MAX];
    struct error err;

    snprintf(spec.name, sizeof(spec.name), "%s", name);
    clock_gettime(CLOCK_REALTIME, &spec.deleted);
    spec.deferred_until = spec.deleted;
    spec.deferred_until.tv_sec += WEEK;
    trash_stamp(&spec, stamp);
    assert_ok(image_set_metadata(cluster, id, TRASH_KEY, stamp, soon(), &err), err);
    return spec;
}

static void unlist(struct cluster *cluster, const char *name, const char *id)
{
    struct encoder in = {0};

    rbd_encode_name_id(&in, name, id);
    assert_int_equal(
        op_call_write(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_remove_image", &in, soon()),
        0);
    encoder_free(&in);
}

static void unclaim(struct cluster *cluster, const char *name)
{
    char object[OBJECT_NAME_MAX];

    name_rbd_id(object, name);
    assert_int_equal(rados_remove(cluster_io(cluster), object), 0);
}

static bool is_leftover(struct cluster *cluster, const char *id)
{
    struct rbd_pairs left = {0};
    struct error err;
    bool found = false;

    assert_ok(image_leftovers(cluster, MARK, soon(), &left, &err), err);
    for (size_t i = 0; i < left.count; i++)
        found |= strcmp(left.items[i].key, id) == 0;
    rbd_pairs_free(&left);
    return found;
}

static void crash_in_removal(void **state)
{
    struct cluster *cluster = *state;

    for (int steps = 1; steps <= 3; steps++) {
        const char *name = live_name("half");
        struct image_header header = make(cluster, name);
        struct rbd_trash_spec spec = begin(cluster, name, header.id);

        assert_int_equal(trash_put(cluster, header.id, &spec, soon()), 0);
        if (steps >= 2)
            unlist(cluster, name, header.id);
        if (steps >= 3)
            unclaim(cluster, name);
        assert_true(is_leftover(cluster, header.id));
        sweep(cluster);
        assert_false(is_leftover(cluster, header.id));
        if (steps < 3) {
            assert_alive(cluster, name, header.id);
            put(cluster, name, header.id, WEEK);
        }
        assert_kept(cluster, name, header.id);
        restore(cluster, header.id, name);
        assert_alive(cluster, name, header.id);
        remove_image(cluster, name, header.id);
    }
}

/* The next removal does not wait for the sweep, and its entry is the new one. */
static void a_removal_begins_again(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("again");
    struct image_header header = make(cluster, name);
    struct rbd_trash_spec spec = begin(cluster, name, header.id);

    spec.deferred_until.tv_sec = 1;
    assert_int_equal(trash_put(cluster, header.id, &spec, soon()), 0);
    unlist(cluster, name, header.id);
    put(cluster, name, header.id, WEEK);
    assert_kept(cluster, name, header.id);
    assert_int_not_equal(entry_of(cluster, header.id).deferred_until.tv_sec, 1);
    purge(cluster, header.id);
    assert_gone(cluster, header.id);
}

/* The first STEPS of a restore: the note, the state, the name. */
static void half_restore(struct cluster *cluster, const char *id, const char *as, int steps)
{
    struct rbd_trash_spec spec = entry_of(cluster, id);
    char note[TRASH_STAMP_MAX + 80];
    char stamp[TRASH_STAMP_MAX];
    struct error err;

    trash_stamp(&spec, stamp);
    snprintf(note, sizeof(note), "%s %s", stamp, as);
    assert_ok(image_set_metadata(cluster, id, RESTORE_KEY, note, soon(), &err), err);
    if (steps >= 2)
        assert_int_equal(
            trash_set_state(cluster, id, RBD_TRASH_NORMAL, RBD_TRASH_RESTORING, soon()), 0);
    if (steps >= 3)
        assert_int_equal(trash_claim(cluster, as, id, soon()), 0);
}

static void crash_in_restore(void **state)
{
    struct cluster *cluster = *state;

    for (int steps = 1; steps <= 3; steps++) {
        const char *name = live_name("asleep");
        const char *as = live_name("awake");
        struct image_header header = make(cluster, name);

        put(cluster, name, header.id, WEEK);
        half_restore(cluster, header.id, as, steps);
        sweep(cluster);
        if (steps < 3) {
            assert_kept(cluster, name, header.id);
            assert_false(is_listed(cluster, as));
            restore(cluster, header.id, as);
        }
        assert_alive(cluster, as, header.id);
        assert_false(is_listed(cluster, name));
        remove_image(cluster, as, header.id);
    }
}

/* Who restores what another left half restored does not wait for the sweep. */
static void a_restore_begins_again(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("once");
    const char *as = live_name("twice");
    struct image_header header = make(cluster, name);

    put(cluster, name, header.id, WEEK);
    half_restore(cluster, header.id, name, 2);
    restore(cluster, header.id, as);
    assert_alive(cluster, as, header.id);
    assert_false(leads_to(cluster, name, header.id));
    remove_image(cluster, as, header.id);
}

/* It has its name already: to whoever asks for the same again that is a success, and to whoever
 * asks for another name it is not. */
static void a_restore_that_only_lacked_its_end(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("ended");
    struct image_header header = make(cluster, name);
    struct error err;

    put(cluster, name, header.id, WEEK);
    half_restore(cluster, header.id, name, 3);
    restore(cluster, header.id, name);
    assert_alive(cluster, name, header.id);

    put(cluster, name, header.id, WEEK);
    half_restore(cluster, header.id, name, 3);
    assert_int_equal(image_restore(cluster, header.id, live_name("other"), soon(), &err), -ENOENT);
    assert_alive(cluster, name, header.id);
    remove_image(cluster, name, header.id);
}

static void crash_in_purge(void **state)
{
    struct cluster *cluster = *state;
    struct error err;

    for (int steps = 1; steps <= 3; steps++) {
        const char *name = live_name("doomed");
        struct image_header header = make(cluster, name);
        struct image_header now = {0};

        stock(STOCK("snap", "create", "--no-progress", spec_of(name, "monday")));
        put(cluster, name, header.id, WEEK);
        assert_int_equal(
            trash_set_state(cluster, header.id, RBD_TRASH_NORMAL, RBD_TRASH_STATE_REMOVING, soon()),
            0);
        if (steps >= 2) {
            assert_ok(image_read_header(cluster, header.id, soon(), &now, &err), err);
            assert_int_equal(owned_forget_snapshots(cluster, &now, soon()), 0);
            image_header_free(&now);
        }
        if (steps >= 3) {
            /* As far as the header, which goes before the entry. */
            struct rbd_trash_spec spec = entry_of(cluster, header.id);

            assert_ok(image_delete(cluster, header.id, soon(), &err), err);
            assert_int_equal(trash_put(cluster, header.id, &spec, soon()), 0);
        }
        assert_int_equal(image_restore(cluster, header.id, name, soon(), &err), -EBUSY);
        assert_non_null(strstr(err.text, "being deleted"));
        sweep(cluster);
        assert_gone(cluster, header.id);
    }
}

/* --- Volumes -------------------------------------------------------------------------------- */

/* To whoever asks for the same again that is a success, without words about what is not there. */
static void a_purge_that_only_lacked_its_end(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("ended");
    struct image_header header = make(cluster, name);
    struct rbd_trash_spec spec;
    struct error err = {0};

    put(cluster, name, header.id, WEEK);
    assert_int_equal(
        trash_set_state(cluster, header.id, RBD_TRASH_NORMAL, RBD_TRASH_STATE_REMOVING, soon()), 0);
    spec = entry_of(cluster, header.id);
    assert_ok(image_delete(cluster, header.id, soon(), &err), err);
    assert_int_equal(trash_put(cluster, header.id, &spec, soon()), 0);
    assert_ok(volume_trash_purge(cluster, header.id, false, soon(), &err), err);
    assert_int_equal(err.code, 0);
    assert_gone(cluster, header.id);
}

static void volumes_are_found_by_name_and_id(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("volume");
    struct trashed_volumes list = {0};
    const struct trashed_volume *found;
    struct image_header headers[2];
    struct error err;
    size_t same;
    bool more;

    for (int i = 0; i < 2; i++) {
        headers[i] = make(cluster, name);
        assert_ok(volume_remove(cluster, name, i == 0 ? 1 : WEEK, soon(), &more, &err), err);
        assert_false(more);
    }
    assert_ok(volume_trash_list(cluster, soon(), &list, &err), err);
    found = volume_trash_find(&list, name, &same);
    assert_non_null(found);
    assert_string_equal(found->id, headers[1].id);
    assert_int_equal(same, 2);
    assert_string_equal(found->state, "removed");
    assert_int_equal(found->size, 16 * MIB);
    assert_true(found->swept);
    assert_false(trashed_volume_has_expired(found));
    found = volume_trash_find(&list, headers[0].id, &same);
    assert_non_null(found);
    assert_string_equal(found->name, name);
    assert_int_equal(same, 1);
    assert_null(volume_trash_find(&list, "no-such-volume", &same));
    trashed_volumes_free(&list);

    assert_int_equal(volume_trash_restore(cluster, headers[1].id, "no/name", soon(), &err),
                     -EINVAL);
    assert_ok(volume_trash_restore(cluster, headers[1].id, name, soon(), &err), err);
    assert_int_equal(volume_trash_restore(cluster, headers[0].id, name, soon(), &err), -EEXIST);
    assert_non_null(strstr(err.text, "under another name"));
    assert_ok(volume_trash_purge(cluster, headers[0].id, false, soon(), &err), err);
    remove_image(cluster, name, headers[1].id);
}

static void protected_volumes_stay(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("protected");
    struct image_header header = make(cluster, name);
    struct error err;
    bool more;

    assert_ok(
        image_set_metadata(cluster, header.id, "docker-volume-rados.protect", "true", soon(), &err),
        err);
    assert_int_equal(volume_remove(cluster, name, WEEK, soon(), &more, &err), -EPERM);
    assert_non_null(strstr(err.text, "image-meta remove"));
    assert_alive(cluster, name, header.id);
    remove_image(cluster, name, header.id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back),
        cmocka_unit_test(the_name_is_free_at_once),
        cmocka_unit_test(the_expired_are_swept),
        cmocka_unit_test(what_was_restored_does_not_expire),
        cmocka_unit_test(snapshots_come_back),
        cmocka_unit_test(clones_keep_their_parent),
        cmocka_unit_test(the_used_stay),
        cmocka_unit_test(stock_tools_agree),
        cmocka_unit_test(stock_tools_and_we_exclude_each_other),
        cmocka_unit_test(crash_in_removal),
        cmocka_unit_test(a_removal_begins_again),
        cmocka_unit_test(crash_in_restore),
        cmocka_unit_test(a_restore_begins_again),
        cmocka_unit_test(a_restore_that_only_lacked_its_end),
        cmocka_unit_test(crash_in_purge),
        cmocka_unit_test(a_purge_that_only_lacked_its_end),
        cmocka_unit_test(volumes_are_found_by_name_and_id),
        cmocka_unit_test(protected_volumes_stay),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
