/* SPDX-License-Identifier: Apache-2.0 */
#include "clones.h"
#include "serve.h"

#include <errno.h>

/* Clones that part from their parent: while nobody has them open, and by their owner beside its
 * I/O. */

static int stop_at_once(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    return done < total;
}

static void flatten_can_be_stopped_and_goes_on(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    const struct flatten stops = {.host = "host", .progress = stop_at_once};
    struct image_header header;
    struct ownership *ownership;
    char id[IMAGE_ID_MAX];
    struct error err;

    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    assert_int_equal(image_flatten(f->control, id, &stops, soon(), &err), -ECANCELED);
    assert_holds(f, name, f->base, SIZE);
    /* parted from halfway: the parent has struck it off, and it still names the parent */
    header = header_of(f, id);
    assert_ok(clone_strike_off(f->control, &header, soon(), &err), err);
    image_header_free(&header);
    assert_ok(ownership_acquire(f->control, id, "other", "", 15, soon(), &header, &ownership, &err),
              err);
    image_header_free(&header);
    assert_int_equal(flatten(f, id, &err), -EBUSY);
    assert_non_null(strstr(err.text, "other"));
    ownership_release(ownership);
    assert_ok(flatten(f, id, &err), err);
    assert_ok(flatten(f, id, &err), err); /* again is nothing */
    assert_holds(f, name, f->base, SIZE);
    assert_int_equal(count_children(f), 0);
    remove_image(f, name);
}

/* Without deep-flatten the snapshots of a flattened clone stay children; the last one ends that. */
static void snapshots_without_deep_flatten_stay_children(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("stock");
    struct snapshot snapshot;
    struct image_header header;
    char spec[256];
    char id[IMAGE_ID_MAX];
    bool trashed;
    struct error err;

    snprintf(spec, sizeof(spec), "%s@base", f->name);
    stock_clone(spec, name, "2", "layering,exclusive-lock");
    assert_ok(image_find(f->control, name, soon(), id, &err), err);
    for (unsigned i = 0; i < 2; i++)
        assert_ok(
            snapshot_create(f->control, id, i ? "two" : "one", "host", soon(), &snapshot, &err),
            err);
    write_some(f, id, 5000, 3 * OBJECT, 'w');
    assert_ok(flatten(f, id, &err), err);
    header = header_of(f, id);
    assert_false(header.shows_parent);
    assert_true(header.parent.pool_id >= 0);
    image_header_free(&header);
    assert_int_equal(count_children(f), 1);
    assert_snapshot_holds(name, "one", f->base, SIZE);
    assert_ok(snapshot_remove(f->control, id, "one", "host", soon(), &trashed, &err), err);
    assert_int_equal(count_children(f), 1);
    assert_ok(snapshot_remove(f->control, id, "two", "host", soon(), &trashed, &err), err);
    assert_int_equal(count_children(f), 0);
    header = header_of(f, id);
    assert_int_equal(header.parent.pool_id, -1);
    image_header_free(&header);
    remove_image(f, name);
}

static void stock_flattens_ours(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    uint8_t *expected = malloc(SIZE);
    struct snapshot snapshot;
    char id[IMAGE_ID_MAX];
    struct error err;

    assert_non_null(expected);
    memcpy(expected, f->base, SIZE);
    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    assert_ok(snapshot_create(f->control, id, "before", "host", soon(), &snapshot, &err), err);
    write_some(f, id, 3 * OBJECT + 1, OBJECT, 0);
    memset(expected + 3 * OBJECT + 1, 0, OBJECT);
    stock(STOCK("flatten", "--no-progress", name));
    assert_int_equal(count_children(f), 0);
    assert_holds(f, name, expected, SIZE);
    assert_snapshot_holds(name, "before", f->base, SIZE);
    remove_image(f, name);
    free(expected);
}

/* Clones that are in use. */

struct owner {
    struct server server;
    struct image_io *io;
    struct image_header header; /* as it was at the beginning */
};

static void start_owner(struct fixture *f, const char *id, struct owner *owner)
{
    struct error err;

    *owner = (struct owner){0};
    assert_ok(ownership_acquire(f->data, id, "host-a", "", 15, soon(), &owner->header,
                                &owner->server.ownership, &err),
              err);
    assert_ok(image_io_open(f->data, &owner->header, &owner->io, &err), err);
    ownership_attach_io(owner->server.ownership, owner->io);
    serve_start(&owner->server);
}

static void stop_owner(struct owner *owner)
{
    serve_stop(&owner->server);
    ownership_release(owner->server.ownership);
    image_io_close(owner->io);
    image_header_free(&owner->header);
}

#define BLOCK 512
#define USERS 4

struct user {
    struct image_io *io;
    pthread_t thread;
    unsigned number;
    atomic_bool stop;
    bool failed;
    uint8_t *expected; /* of the whole image; each user has blocks of its own in it */
};

/* Write, read and zero the own blocks, again and again. */
static void *use(void *arg)
{
    struct user *user = arg;
    uint8_t data[BLOCK];

    for (unsigned round = 0; !user->failed && (round == 0 || !atomic_load(&user->stop)); round++) {
        for (uint64_t at = user->number * BLOCK; at < SIZE && !user->failed;
             at += (uint64_t)USERS * 7 * BLOCK) {
            uint8_t *expected = user->expected + at;

            user->failed = image_run(user->io, IMAGE_READ, at, BLOCK, data) < 0 ||
                           memcmp(data, expected, BLOCK) != 0;
            memset(expected, round % 3 == 2 ? 0 : (int)(round % 100 + 1), BLOCK);
            user->failed |= image_run(user->io, round % 3 == 2 ? IMAGE_WRITE_ZEROES : IMAGE_WRITE,
                                      at, BLOCK, expected) < 0;
        }
    }
    return NULL;
}

static void start_users(struct user users[USERS], struct image_io *io, uint8_t *expected)
{
    for (unsigned i = 0; i < USERS; i++) {
        users[i] = (struct user){.io = io, .number = i, .expected = expected};
        assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    }
}

static void stop_users(struct user users[USERS])
{
    for (unsigned i = 0; i < USERS; i++) {
        atomic_store(&users[i].stop, true);
        pthread_join(users[i].thread, NULL);
        assert_false(users[i].failed);
    }
}

static int ask_for_it(struct fixture *f, const char *name, const char *id)
{
    struct error err = {0};

    (void)name;
    return flatten(f, id, &err);
}

static int ask_with_rbd(struct fixture *f, const char *name, const char *id)
{
    struct spawn_result result;

    (void)f;
    (void)id;
    return stock_try(&result, STOCK("flatten", "--no-progress", name));
}

static void flatten_in_use(struct fixture *f,
                           int (*ask)(struct fixture *f, const char *name, const char *id))
{
    const char *name = live_name("clone");
    uint8_t *expected = malloc(SIZE);
    struct user users[USERS];
    struct image_header header;
    struct snapshot snapshot;
    struct owner owner;
    char id[IMAGE_ID_MAX];
    struct error err;

    assert_non_null(expected);
    memcpy(expected, f->base, SIZE);
    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    start_owner(f, id, &owner);
    assert_ok(snapshot_create(f->control, id, "before", "host-b", soon(), &snapshot, &err), err);
    start_users(users, owner.io, expected);
    assert_int_equal(ask(f, name, id), 0);
    header = header_of(f, id);
    assert_false(header.shows_parent);
    assert_null(image_header_metadata(&header, FLATTEN_KEY));
    assert_int_equal(header.lock.count, 1); /* its owner is its owner still */
    image_header_free(&header);
    assert_int_equal(count_children(f), 0);
    assert_int_equal(ask_for_it(f, name, id), 0); /* again is nothing */
    stop_users(users);
    stop_owner(&owner);
    assert_holds(f, name, expected, SIZE);
    assert_snapshot_holds(name, "before", f->base, SIZE);
    remove_image(f, name);
    free(expected);
}

static void an_owner_flattens_beside_its_io(void **state)
{
    flatten_in_use(*state, ask_for_it);
}

static void an_owner_flattens_for_stock_clients(void **state)
{
    flatten_in_use(*state, ask_with_rbd);
}

/* Who read the header a moment ago must not bring back what was discarded since. */
static void an_old_header_does_not_bring_the_parent_back(void **state)
{
    struct fixture *f = *state;
    const char *name = live_name("clone");
    uint8_t *data = malloc(SIZE);
    struct owner owner;
    char id[IMAGE_ID_MAX];
    struct error err;

    assert_non_null(data);
    make_clone(f, name, f->header.id, f->snapshot.id, SIZE, SIZE, ORDER, id);
    start_owner(f, id, &owner);
    assert_ok(flatten(f, id, &err), err);
    assert_int_equal(image_run(owner.io, IMAGE_DISCARD, 0, SIZE, NULL), 0);
    assert_true(owner.header.shows_parent);
    assert_ok(image_io_refresh(owner.io, &owner.header, &err), err);
    memset(data, 0xee, SIZE);
    assert_int_equal(image_run(owner.io, IMAGE_READ, 0, SIZE, data), 0);
    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal(data[i], 0);
    stop_owner(&owner);
    memset(data, 0, SIZE);
    assert_holds(f, name, data, SIZE);
    remove_image(f, name);
    free(data);
}

/* A clone of so many objects that it takes longer than the test. */
#define ENDLESS (UINT64_C(30000) * OBJECT)

static void make_endless(struct fixture *f, const char *parent, const char *name,
                         char id[IMAGE_ID_MAX])
{
    cleanup_image_header struct image_header header =
        test_image_make(f->control, parent, ENDLESS, ORDER);
    struct snapshot snapshot;
    struct error err;

    assert_ok(snapshot_create(f->control, header.id, "s", "host", soon(), &snapshot, &err), err);
    make_clone(f, name, header.id, snapshot.id, ENDLESS, ENDLESS, ORDER, id);
}

struct asker {
    struct fixture *f;
    const char *id;
    pthread_t thread;
    atomic_uint reports;
    struct error err;
    int result;
};

static int count_reports(void *arg, uint64_t done, uint64_t total)
{
    struct asker *asker = arg;

    assert_true(done < total);
    assert_int_equal(total, ENDLESS / OBJECT);
    atomic_fetch_add(&asker->reports, 1);
    return 0;
}

static void *ask(void *arg)
{
    struct asker *asker = arg;
    const struct flatten options = {.host = "host-b", .progress = count_reports, .arg = asker};

    asker->result = image_flatten(asker->f->control, asker->id, &options, soon(), &asker->err);
    return NULL;
}

/* It takes long: others are served meanwhile, hear how far it is, and that it will not end. */
static void an_owner_does_other_things_meanwhile(void **state)
{
    struct fixture *f = *state;
    const char *parent = live_name("endless");
    const char *name = live_name("clone");
    const int64_t deadline = soon();
    struct asker askers[2] = {{.f = f}, {.f = f}};
    struct image_header header;
    struct snapshot snapshot;
    struct owner owner;
    char id[IMAGE_ID_MAX];
    struct error err;

    make_endless(f, parent, name, id);
    start_owner(f, id, &owner);
    for (unsigned i = 0; i < 2; i++) {
        askers[i].id = id;
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        while (atomic_load(&askers[i].reports) < 1 && deadline_left_ms(deadline) > 0)
            usleep(20000);
        assert_true(atomic_load(&askers[i].reports) >= 1);
    }
    assert_ok(snapshot_create(f->control, id, "meanwhile", "host-b", soon(), &snapshot, &err), err);
    stop_owner(&owner);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_int_equal(askers[i].result, -ESHUTDOWN);
        assert_non_null(strstr(askers[i].err.text, "flatten it again to go on"));
    }
    header = header_of(f, id);
    assert_true(header.shows_parent);
    assert_int_equal(header.snapc.count, 1);
    assert_int_equal(header.lock.count, 0);
    image_header_free(&header);
    remove_image(f, name);
    remove_image(f, parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(flatten_can_be_stopped_and_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshots_without_deep_flatten_stay_children, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(stock_flattens_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(an_owner_flattens_beside_its_io, setup, teardown),
        cmocka_unit_test_setup_teardown(an_owner_flattens_for_stock_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_header_does_not_bring_the_parent_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_owner_does_other_things_meanwhile, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
