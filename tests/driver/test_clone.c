/* SPDX-License-Identifier: Apache-2.0 */
#include "clones.h"

#include <errno.h>
#include <pthread.h>

#include "image/owner_work.h"
#include "image/ownership.h"
#include "image/rollback.h"

/* Clones: what they show, what their parents and snapshots keep showing, and that the stock rbd
 * command sees, reads and flattens ours as we do its. test_flatten.c has the parting. */

static void a_clone_shows_its_parents_snapshot(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    struct spawn_result result;
    char spec[256];
    char id[IMAGE_ID_MAX];
    struct image_header header;

    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    assert_holds(f, name, f->base, SIZE);
    snprintf(spec, sizeof(spec), "%s@base", f->name);
    assert_int_equal(stock_try(&result, STOCK("children", spec)), 0);
    assert_non_null(strstr(result.output, name));
    assert_int_equal(stock_try(&result, STOCK("info", name)), 0);
    assert_non_null(strstr(result.output, spec));
    assert_non_null(strstr(result.output, "clone-child"));
    assert_int_equal(stock_try(&result, STOCK("info", f->name)), 0);
    assert_non_null(strstr(result.output, "clone-parent"));
    header = header_of(f, id);
    assert_true(header.shows_parent);
    assert_int_equal(header.parent_overlap, SIZE);
    assert_true(header.features & RBD_FEATURE_DEEP_FLATTEN);
    image_header_free(&header);
    remove_image(f, name);
    assert_int_equal(count_children(f), 0);
}

static void changes_copy_up(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    uint8_t *expected = malloc(SIZE);
    char id[IMAGE_ID_MAX];

    assert_non_null(expected);
    memcpy(expected, f->base, SIZE);
    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    write_some(f, id, 5000, 100, 'w'); /* inside an object */
    memset(expected + 5000, 'w', 100);
    write_some(f, id, OBJECT, OBJECT, 'f'); /* a whole one */
    memset(expected + OBJECT, 'f', OBJECT);
    write_some(f, id, 2 * OBJECT, OBJECT, 0); /* a whole one away */
    memset(expected + 2 * OBJECT, 0, OBJECT);
    write_some(f, id, 3 * OBJECT + 100, OBJECT - 100, 0); /* a tail away */
    memset(expected + 3 * OBJECT + 100, 0, OBJECT - 100);
    write_some(f, id, 4 * OBJECT + 4096, 4096, 0); /* a hole */
    memset(expected + 4 * OBJECT + 4096, 0, 4096);
    write_some(f, id, 5 * OBJECT + 60000, 2 * OBJECT, 'm'); /* over borders */
    memset(expected + 5 * OBJECT + 60000, 'm', 2 * OBJECT);
    write_some(f, id, 9 * OBJECT + 7, 70, 'z'); /* where the parent has nothing */
    memset(expected + 9 * OBJECT + 7, 'z', 70);
    write_some(f, id, 11 * OBJECT, 4096, 0);
    assert_holds(f, name, expected, SIZE);
    assert_snapshot_holds(f->name, "base", f->base, SIZE);
    remove_image(f, name);
    free(expected);
}

static void a_larger_clone_with_other_objects(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    uint64_t size = SIZE + 3 * OBJECT;
    uint64_t overlap = 6 * OBJECT + 12345; /* ends inside an object of each size */
    uint8_t *expected = calloc(1, size);
    char id[IMAGE_ID_MAX];
    struct error err;

    assert_non_null(expected);
    memcpy(expected, f->base, overlap);
    make_clone(f, name, f->header.id, f->snapshot.id, overlap, size, ORDER + 2, id);
    assert_holds(f, name, expected, size);
    write_some(f, id, 6 * OBJECT + 20000, 5000, 'w');
    memset(expected + 6 * OBJECT + 20000, 'w', 5000);
    write_some(f, id, SIZE + OBJECT, 5000, 'e');
    memset(expected + SIZE + OBJECT, 'e', 5000);
    assert_holds(f, name, expected, size);
    assert_ok(flatten(f, id, &err), err);
    assert_holds(f, name, expected, size);
    remove_image(f, name);
    free(expected);
}

static void snapshots_of_a_clone_keep_what_they_show(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    uint8_t *expected = malloc(SIZE);
    struct snapshot snapshot;
    struct rollback_result rolled;
    const struct rollback back = {.snapshot = "first", .host = "host"};
    char id[IMAGE_ID_MAX];
    struct image_header header;
    struct error err;

    assert_non_null(expected);
    memcpy(expected, f->base, SIZE);
    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    write_some(f, id, 5000, 100, 'w');
    memset(expected + 5000, 'w', 100);
    assert_ok(snapshot_create(f->control, id, "first", "host", soon(), &snapshot, &err), err);
    write_some(f, id, 5050, 3 * OBJECT, 'x');
    write_some(f, id, 4 * OBJECT, OBJECT, 'y');
    write_some(f, id, 5 * OBJECT, OBJECT, 0);
    write_some(f, id, 9 * OBJECT, OBJECT, 'n');
    write_some(f, id, 10 * OBJECT + 8000, 100, 0);
    assert_snapshot_holds(name, "first", expected, SIZE);
    assert_ok(flatten(f, id, &err), err);
    header = header_of(f, id);
    assert_false(header.shows_parent);
    assert_int_equal(header.parent.pool_id, -1);
    assert_null(image_header_metadata(&header, FLATTEN_KEY));
    image_header_free(&header);
    assert_int_equal(count_children(f), 0);
    assert_snapshot_holds(name, "first", expected, SIZE);
    assert_ok(image_rollback(f->control, id, &back, soon(), &rolled, &err), err);
    assert_holds(f, name, expected, SIZE);
    remove_image(f, name);
    free(expected);
}

static void a_clone_rolled_back_shows_the_parent_again(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    struct snapshot snapshot;
    struct rollback_result rolled;
    const struct rollback back = {.snapshot = "first", .host = "host"};
    char id[IMAGE_ID_MAX];
    struct error err;

    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    assert_ok(snapshot_create(f->control, id, "first", "host", soon(), &snapshot, &err), err);
    write_some(f, id, 100, SIZE - 100, 'x');
    write_some(f, id, 5 * OBJECT, 2 * OBJECT, 0);
    assert_ok(image_rollback(f->control, id, &back, soon(), &rolled, &err), err);
    assert_holds(f, name, f->base, SIZE);
    write_some(f, id, 0, SIZE, 0);
    assert_snapshot_holds(name, "first", f->base, SIZE);
    assert_ok(image_rollback(f->control, id, &back, soon(), &rolled, &err), err);
    assert_ok(flatten(f, id, &err), err);
    assert_holds(f, name, f->base, SIZE);
    remove_image(f, name);
}

static void clones_of_clones(void **state)
{
    struct fixture *f = *state;
    const char *first = live_name("clone");
    const char *second = live_name("clone");
    uint8_t *expected = malloc(SIZE);
    struct snapshot snapshot;
    char id[2][IMAGE_ID_MAX];
    struct error err;

    assert_non_null(expected);
    memcpy(expected, f->base, SIZE);
    make_clone(f, first, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id[0]);
    write_some(f, id[0], 5000, OBJECT, 'w');
    memset(expected + 5000, 'w', OBJECT);
    assert_ok(snapshot_create(f->control, id[0], "mid", "host", soon(), &snapshot, &err), err);
    write_some(f, id[0], 0, SIZE, 'X');
    make_clone(f, second, id[0], snapshot.id, SIZE, SIZE, ORDER + 1, id[1]);
    assert_holds(f, second, expected, SIZE);
    write_some(f, id[1], 7 * OBJECT + 1, 10, 'v');
    memset(expected + 7 * OBJECT + 1, 'v', 10);
    assert_holds(f, second, expected, SIZE);
    /* refused, with the names */
    assert_int_equal(image_unpublish(f->control, first, id[0], MARK, soon(), &err), -ENOTEMPTY);
    assert_non_null(strstr(err.text, second));
    assert_ok(flatten(f, id[1], &err), err);
    assert_holds(f, second, expected, SIZE);
    remove_image(f, first);
    assert_holds(f, second, expected, SIZE);
    remove_image(f, second);
    free(expected);
}

static void a_trashed_snapshot_goes_with_its_last_clone(void **state)
{
    struct fixture *f = *state;
    const char *names[2] = {live_name("clone"), live_name("clone")};
    struct snapshots list = {0};
    char id[2][IMAGE_ID_MAX];
    struct error err;
    bool trashed = false;

    for (unsigned i = 0; i < 2; i++)
        make_clone(f, names[i], f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id[i]);
    assert_ok(snapshot_remove(f->control, f->header.id, "base", "host", soon(), &trashed, &err),
              err);
    assert_true(trashed);
    assert_holds(f, names[0], f->base, SIZE);
    remove_image(f, names[1]);
    assert_holds(f, names[0], f->base, SIZE);
    assert_ok(flatten(f, id[0], &err), err);
    assert_holds(f, names[0], f->base, SIZE);
    assert_ok(snapshot_list(f->control, f->header.id, true, soon(), &list, &err), err);
    assert_int_equal(list.count, 0);
    snapshots_free(&list);
    remove_image(f, names[0]);
}

/* Who ended the last need for it could not drop it, because the parent was in use. */
static void a_snapshot_nobody_needs_does_not_keep_its_image(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    struct image_header header = {0};
    struct snapshots list = {0};
    struct ownership *ownership;
    char id[IMAGE_ID_MAX];
    struct error err;
    bool trashed;

    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    assert_ok(snapshot_remove(f->control, f->header.id, "base", "host", soon(), &trashed, &err),
              err);
    assert_int_equal(image_unpublish(f->control, f->name, f->header.id, MARK, soon(), &err),
                     -ENOTEMPTY);
    assert_ok(ownership_acquire(f->control, f->header.id, "host", "", 15, soon(), &header,
                                &ownership, &err),
              err);
    remove_image(f, name);
    ownership_release(ownership);
    image_header_free(&header);
    assert_ok(snapshot_list(f->control, f->header.id, true, soon(), &list, &err), err);
    assert_int_equal(list.count, 1);
    assert_true(list.items[0].trashed);
    assert_int_equal(list.items[0].child_count, 0);
    snapshots_free(&list);

    assert_ok(image_unpublish(f->control, f->name, f->header.id, MARK, soon(), &err), err);
    assert_ok(image_delete(f->control, f->header.id, soon(), &err), err);
    image_header_free(&f->header);
    make_parent(f); /* for the teardown */
}

static void stock_clones_are_read_written_and_flattened(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("stock");
    uint8_t *expected = malloc(SIZE);
    struct snapshot snapshot;
    struct image_header header;
    char spec[256];
    char id[IMAGE_ID_MAX];
    struct error err;

    assert_non_null(expected);
    memcpy(expected, f->base, SIZE);
    snprintf(spec, sizeof(spec), "%s@base", f->name);
    stock_clone(spec, name, "2", "layering,exclusive-lock,object-map,fast-diff,deep-flatten");
    assert_ok(image_find(f->control, name, soon(), id, &err), err);
    assert_holds(f, name, f->base, SIZE);
    assert_ok(snapshot_create(f->control, id, "before", "host", soon(), &snapshot, &err), err);
    write_some(f, id, 5000, 3 * OBJECT, 'w');
    memset(expected + 5000, 'w', 3 * OBJECT);
    assert_holds(f, name, expected, SIZE);
    assert_snapshot_holds(name, "before", f->base, SIZE);
    assert_ok(flatten(f, id, &err), err);
    header = header_of(f, id);
    assert_int_equal(header.parent.pool_id, -1);
    image_header_free(&header);
    assert_int_equal(count_children(f), 0);
    assert_holds(f, name, expected, SIZE);
    assert_snapshot_holds(name, "before", f->base, SIZE);
    remove_image(f, name);
    free(expected);
}

/* Clones of before Mimic are known to their own pool only. */
static void old_clones_too(void **state)
{
    struct fixture *f = *state;
    const char *names[2] = {live_name("old"), live_name("old")};
    struct spawn_result result;
    char spec[256];
    char id[IMAGE_ID_MAX];
    struct error err;

    snprintf(spec, sizeof(spec), "%s@base", f->name);
    stock(STOCK("snap", "protect", spec));
    for (unsigned i = 0; i < 2; i++)
        stock_clone(spec, names[i], "1", "layering,exclusive-lock");
    assert_ok(image_find(f->control, names[0], soon(), id, &err), err);
    assert_holds(f, names[0], f->base, SIZE);
    write_some(f, id, 5000, 3 * OBJECT, 'w');
    assert_ok(flatten(f, id, &err), err);
    assert_int_not_equal(stock_try(&result, STOCK("snap", "unprotect", spec)), 0);
    remove_image(f, names[1]);
    stock(STOCK("snap", "unprotect", spec));
    remove_image(f, names[0]);
}

static void a_parent_in_another_namespace(void **state)
{
    static const char space[] = "docker/of-clone-test";
    struct fixture *f = *state;
    const char *name = live_name("clone");
    char parent[128];
    char snapshot[128];
    char file[] = "/tmp/test-clone-XXXXXX";
    struct spawn_result result;
    char id[IMAGE_ID_MAX];
    int fd = mkstemp(file);
    struct error err;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, f->base, SIZE), SIZE);
    close(fd);
    snprintf(parent, sizeof(parent), "%s/%s", space, name);
    snprintf(snapshot, sizeof(snapshot), "of-clone-test/%s@s", name);
    stock_try(&result, STOCK("namespace", "create", "--namespace", "of-clone-test"));
    stock(STOCK("import", "--no-progress", file, parent));
    unlink(file);
    snprintf(parent, sizeof(parent), "%s/%s@s", space, name);
    stock(STOCK("snap", "create", "--no-progress", parent));
    stock_clone(snapshot, name, "2", "layering,exclusive-lock");
    assert_holds(f, name, f->base, SIZE);
    assert_ok(image_find(f->control, name, soon(), id, &err), err);
    write_some(f, id, 5000, 100, 'b');
    assert_ok(flatten(f, id, &err), err);
    assert_holds(f, name, f->base, SIZE);
    remove_image(f, name);
    stock(STOCK("snap", "rm", "--no-progress", parent)); /* no child keeps it */
    *strchr(parent, '@') = '\0';
    stock(STOCK("rm", "--no-progress", parent));
}

/* A creation that was cut off after both headers were changed leaves no child behind. */
static void the_sweep_strikes_off_what_was_not_published(void **state)
{
    struct fixture *f = *state;
    struct rbd_parent parent = parent_spec(f, f->header.id, f->snapshot.id);
    struct image_spec spec = test_image_spec(SIZE, ORDER);
    struct cluster *dead = live_connect_as(CLUSTER_CONTROL, "token-of-clone-test");
    struct cluster *next;
    struct image_header header = {0};
    struct error err;

    spec.parent = &parent;
    spec.overlap = SIZE;
    assert_ok(image_prepare(dead, live_name("cut"), &spec, soon(), &header, &err), err);
    cluster_close(dead);
    assert_int_equal(count_children(f), 1);
    next = live_connect_as(CLUSTER_CONTROL, "token-of-clone-test");
    assert_ok(image_sweep(next, MARK, soon(), &err), err);
    assert_int_equal(count_children(f), 0);
    assert_int_equal(image_read_header(next, header.id, soon(), &header, &err), -ENOENT);
    parent.snap_id = 0xffffff;
    assert_int_equal(image_prepare(next, live_name("cut"), &spec, soon(), &header, &err), -ENOENT);
    cluster_close(next);
}

#define WRITERS 8

struct writer {
    struct image_io *io;
    pthread_t thread;
    unsigned number;
};

static void *write_interleaved(void *arg)
{
    struct writer *w = arg;
    uint8_t data[512];

    memset(data, 'A' + (int)w->number, sizeof(data));
    for (uint64_t at = w->number * sizeof(data); at < 8 * OBJECT;
         at += WRITERS * sizeof(data) * 4) {
        if (image_run(w->io, IMAGE_WRITE, at, sizeof(data), data) < 0)
            return w;
    }
    return NULL;
}

/* Several threads of several clients need the same objects at the same time. */
static void concurrent_writers_lose_nothing(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    uint8_t *expected = malloc(SIZE);
    struct writer writers[2 * WRITERS];
    struct image_io *io[2];
    struct image_header header;
    char id[IMAGE_ID_MAX];
    struct error err;

    assert_non_null(expected);
    memcpy(expected, f->base, SIZE);
    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    header = header_of(f, id);
    for (unsigned i = 0; i < 2; i++)
        assert_ok(image_io_open(f->data, &header, &io[i], &err), err);
    for (unsigned i = 0; i < 2 * WRITERS; i++) {
        writers[i] = (struct writer){.io = io[i % 2], .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_interleaved, &writers[i]),
                         0);
    }
    for (unsigned i = 0; i < 2 * WRITERS; i++) {
        void *failed;

        pthread_join(writers[i].thread, &failed);
        assert_null(failed);
        for (uint64_t at = i * 512; at < 8 * OBJECT; at += WRITERS * 512 * 4)
            memset(expected + at, 'A' + (int)i, 512);
    }
    for (unsigned i = 0; i < 2; i++)
        image_io_close(io[i]);
    image_header_free(&header);
    assert_holds(f, name, expected, SIZE);
    remove_image(f, name);
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_clone_shows_its_parents_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_copy_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_larger_clone_with_other_objects, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshots_of_a_clone_keep_what_they_show, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clone_rolled_back_shows_the_parent_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(clones_of_clones, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trashed_snapshot_goes_with_its_last_clone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_nobody_needs_does_not_keep_its_image, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(stock_clones_are_read_written_and_flattened, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(old_clones_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_parent_in_another_namespace, setup, teardown),
        cmocka_unit_test_setup_teardown(the_sweep_strikes_off_what_was_not_published, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(concurrent_writers_lose_nothing, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
