/* SPDX-License-Identifier: Apache-2.0 */
#include "images.h"
#include "stock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "image/io.h"
#include "image/names.h"
#include "image/ownership.h"
#include "image/snapshot_group.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* Snapshots of three images at one point in time: two with an owner that serves others as a blockd
 * does, whose "file system" is a mutex that writers take, and one that nobody has open. Whatever
 * fails, no snapshot stays and nothing stays frozen. */

#define SIZE   (8 * MIB)
#define IMAGES 3
#define OWNERS 2

struct owner {
    struct cluster *data;
    struct ownership *ownership; /* NULL: there is none */
    struct image_io *io;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool deaf;      /* does not serve its watch any more */
    atomic_bool slow;      /* serves it some hundred milliseconds late */
    pthread_mutex_t files; /* held by who writes, and while frozen */
    bool frozen;           /* its thread's */
    atomic_uint freezes, thaws;
    int freeze_result, thaw_result;
    bool ends_early; /* its freeze ends at once, and the thaw finds out */
};

struct fixture {
    struct cluster *control; /* who asks */
    const char *names[IMAGES];
    struct image_header headers[IMAGES];
    struct owner owners[OWNERS];
    struct snapshot_member members[IMAGES];
    const char *deaf_from; /* the second owner is, once a step called so begins */
};

static int on_freeze(void *arg, int64_t deadline, struct error *err)
{
    struct owner *owner = arg;

    assert_true(deadline_left_ms(deadline) > 0);
    atomic_fetch_add(&owner->freezes, 1);
    if (owner->freeze_result < 0)
        return error_set(err, owner->freeze_result, "it does not freeze");
    pthread_mutex_lock(&owner->files);
    owner->frozen = true;
    if (owner->ends_early) {
        owner->frozen = false;
        pthread_mutex_unlock(&owner->files);
    }
    return 0;
}

static int on_thaw(void *arg)
{
    struct owner *owner = arg;

    atomic_fetch_add(&owner->thaws, 1);
    if (!owner->frozen)
        return -ETIMEDOUT;
    owner->frozen = false;
    pthread_mutex_unlock(&owner->files);
    return owner->thaw_result;
}

static void *serve(void *arg)
{
    struct owner *owner = arg;

    while (!atomic_load(&owner->stop)) {
        struct pollfd pfd = {.fd = ownership_fd(owner->ownership), .events = POLLIN};

        if (poll(&pfd, 1, 50) > 0 && atomic_load(&owner->slow))
            usleep(200000);
        if (!atomic_load(&owner->deaf))
            ownership_run(owner->ownership);
        else
            usleep(10000);
    }
    return NULL;
}

static void start_owner(struct fixture *f, unsigned i)
{
    struct owner *owner = &f->owners[i];
    const struct ownership_hooks hooks = {.freeze = on_freeze, .thaw = on_thaw, .arg = owner};
    struct image_header header = {0};
    struct error err;

    assert_ok(ownership_acquire(owner->data, f->headers[i].id, "host-a", "", 30, soon(), &header,
                                &owner->ownership, &err),
              err);
    assert_ok(image_io_open(owner->data, &header, &owner->io, &err), err);
    image_header_free(&header);
    ownership_attach_io(owner->ownership, owner->io);
    ownership_set_hooks(owner->ownership, &hooks);
    atomic_store(&owner->stop, false);
    pthread_create(&owner->thread, NULL, serve, owner);
}

static void stop_owner(struct owner *owner)
{
    if (!owner->ownership)
        return;
    atomic_store(&owner->stop, true);
    pthread_join(owner->thread, NULL);
    ownership_release(owner->ownership);
    image_io_close(owner->io);
    owner->ownership = NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->control = live_connect(CLUSTER_CONTROL);
    for (unsigned i = 0; i < IMAGES; i++) {
        f->names[i] = live_name("group");
        f->headers[i] = test_image_make(f->control, f->names[i], SIZE, 22);
        snprintf(f->members[i].volume, sizeof(f->members[i].volume), "%s", f->names[i]);
        snprintf(f->members[i].id, sizeof(f->members[i].id), "%s", f->headers[i].id);
    }
    for (unsigned i = 0; i < OWNERS; i++) {
        f->owners[i].data = live_connect(CLUSTER_DATA);
        pthread_mutex_init(&f->owners[i].files, NULL);
        start_owner(f, i);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct spawn_result result;

    for (unsigned i = 0; i < OWNERS; i++) {
        stop_owner(&f->owners[i]);
        cluster_close(f->owners[i].data);
        pthread_mutex_destroy(&f->owners[i].files);
    }
    for (unsigned i = 0; i < IMAGES; i++) {
        stock_try(&result, STOCK("snap", "purge", "--no-progress", f->names[i]));
        test_image_remove(f->control, f->names[i], f->headers[i].id);
    }
    cluster_close(f->control);
    free(f);
    return 0;
}

static void on_step(void *arg, const char *step)
{
    struct fixture *f = arg;

    if (f->deaf_from && strncmp(step, f->deaf_from, strlen(f->deaf_from)) == 0)
        atomic_store(&f->owners[1].deaf, true);
}

static int create_until(struct fixture *f, const char *name, int64_t deadline, struct error *err)
{
    const struct snapshot_group group = {.members = f->members,
                                         .count = IMAGES,
                                         .name = name,
                                         .host = "host-b",
                                         .progress = on_step,
                                         .arg = f};

    return snapshot_group_create(f->control, &group, deadline, err);
}

static int create(struct fixture *f, const char *name, struct error *err)
{
    return create_until(f, name, deadline_in_ms(60000), err);
}

static size_t count(struct fixture *f, unsigned i)
{
    struct snapshots list = {0};
    struct error err;
    size_t n;

    assert_ok(snapshot_list(f->control, f->headers[i].id, true, soon(), &list, &err), err);
    n = list.count;
    snapshots_free(&list);
    return n;
}

/* No image has more than BEFORE snapshots, every owner thaws, and nobody has kept a lock. */
static void assert_undone(struct fixture *f, size_t before)
{
    for (unsigned i = 0; i < IMAGES; i++) {
        struct image_header header = {0};
        struct error err;

        assert_int_equal(count(f, i), before);
        assert_ok(image_read_header(f->control, f->headers[i].id, soon(), &header, &err), err);
        assert_int_equal(header.lock.count, i < OWNERS ? 1 : 0);
        image_header_free(&header);
    }
    for (unsigned i = 0; i < OWNERS; i++) {
        const struct timespec patience = {.tv_sec = time(NULL) + 30};

        assert_int_equal(pthread_mutex_timedlock(&f->owners[i].files, &patience), 0);
        pthread_mutex_unlock(&f->owners[i].files);
    }
}

/* Which one is to blame, and what is not the case. */
static void assert_blames(const struct fixture *f, unsigned i, const char *words,
                          const struct error *err)
{
    char volume[128];

    snprintf(volume, sizeof(volume), "volume '%s': ", f->names[i]);
    if (!strstr(err->text, volume) || !strstr(err->text, words) ||
        !strstr(err->text, "was kept of any of the 3 volumes"))
        fail_msg("%s, %s: %s", volume, words, err->text);
}

static void all_get_one(void **state)
{
    struct fixture *f = *state;
    struct error err;

    assert_ok(create(f, "monday", &err), err);
    for (unsigned i = 0; i < IMAGES; i++) {
        assert_string_equal(f->members[i].snapshot.name, "monday");
        assert_int_equal(f->members[i].snapshot.size, SIZE);
        stock_same_snapshots(f->control, f->names[i], f->headers[i].id);
    }
    for (unsigned i = 0; i < OWNERS; i++) {
        assert_int_equal(atomic_load(&f->owners[i].freezes), 1);
        assert_int_equal(atomic_load(&f->owners[i].thaws), 1);
    }
    assert_undone(f, 1); /* nothing is frozen or locked */
    assert_ok(create(f, "tuesday", &err), err);
    assert_undone(f, 2);
}

/* Writes a number to the first image, then to the second, and so on. */
struct writer {
    struct fixture *f;
    atomic_bool stop;
    atomic_uint round;
};

static void *write_rounds(void *arg)
{
    struct writer *writer = arg;
    uint32_t block[128];

    for (uint32_t round = 1; !atomic_load(&writer->stop); round++) {
        for (unsigned i = 0; i < OWNERS; i++) {
            struct owner *owner = &writer->f->owners[i];
            int r;

            for (size_t at = 0; at < 128; at++)
                block[at] = round;
            pthread_mutex_lock(&owner->files);
            r = image_run(owner->io, IMAGE_WRITE, 0, sizeof(block), block);
            pthread_mutex_unlock(&owner->files);
            if (r < 0)
                return writer;
        }
        atomic_store(&writer->round, round);
    }
    return NULL;
}

static uint32_t round_in(const struct fixture *f, unsigned i, const char *snapshot)
{
    uint32_t round;
    char spec[256];
    uint8_t *data;

    snprintf(spec, sizeof(spec), "%s@%s", f->names[i], snapshot);
    data = stock_export(spec, SIZE);
    memcpy(&round, data, sizeof(round));
    free(data);
    return round;
}

static void they_are_one_point_in_time(void **state)
{
    struct fixture *f = *state;
    struct writer writer = {.f = f};
    struct snapshot snapshot;
    struct error err;
    pthread_t thread;
    void *failed;
    char name[32];
    unsigned before;

    pthread_create(&thread, NULL, write_rounds, &writer);
    for (int i = 0; i < 8; i++) {
        before = atomic_load(&writer.round);
        while (atomic_load(&writer.round) < before + 2)
            usleep(1000);
        /* One is far behind the other: only a freeze of both makes up for that. */
        atomic_store(&f->owners[i % 2].slow, true);
        atomic_store(&f->owners[(i + 1) % 2].slow, false);
        snprintf(name, sizeof(name), "s%d", i);
        assert_ok(create(f, name, &err), err);
    }
    atomic_store(&f->owners[1].slow, false);
    /* What the check is worth: one after the other they do not fit together. */
    assert_ok(
        snapshot_create(f->control, f->headers[0].id, "apart", "host-b", soon(), &snapshot, &err),
        err);
    before = atomic_load(&writer.round);
    while (atomic_load(&writer.round) < before + 2)
        usleep(1000);
    assert_ok(
        snapshot_create(f->control, f->headers[1].id, "apart", "host-b", soon(), &snapshot, &err),
        err);
    atomic_store(&writer.stop, true);
    pthread_join(thread, &failed);
    assert_null(failed);
    for (int i = 0; i < 8; i++) {
        uint32_t first, second;

        snprintf(name, sizeof(name), "s%d", i);
        first = round_in(f, 0, name);
        second = round_in(f, 1, name);
        if (first != second && first != second + 1)
            fail_msg("%s: %u was written to the one and %u to the other", name, first, second);
    }
    assert_true(round_in(f, 1, "apart") > round_in(f, 0, "apart"));
}

static void a_name_that_is_taken(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct error err;

    assert_ok(
        snapshot_create(f->control, f->headers[2].id, "monday", "host-b", soon(), &snapshot, &err),
        err);
    assert_int_equal(create(f, "monday", &err), -EEXIST);
    assert_blames(f, 2, "there is a snapshot 'monday' already", &err);
    assert_int_equal(atomic_load(&f->owners[0].freezes), 0);
    assert_int_equal(count(f, 0) + count(f, 1), 0);
    assert_int_equal(count(f, 2), 1);
    assert_int_equal(create(f, "a b", &err), -EINVAL);
}

static void one_that_does_not_freeze(void **state)
{
    struct fixture *f = *state;
    struct error err;

    f->owners[1].freeze_result = -EIO;
    assert_int_equal(create(f, "monday", &err), -EIO);
    assert_blames(f, 1, "could not freeze its file system", &err);
    assert_int_equal(atomic_load(&f->owners[0].thaws), 1);
    assert_undone(f, 0);
    f->owners[1].freeze_result = 0;
    assert_ok(create(f, "monday", &err), err);
}

/* How many snapshots an image may have; `rbd snap limit` would want the lock. */
static void set_limit(struct fixture *f, unsigned i, uint64_t limit)
{
    struct encoder in = {0};
    char object[OBJECT_NAME_MAX];

    name_header(object, f->headers[i].id);
    encode_u64(&in, limit);
    assert_int_equal(
        op_call_write(cluster_io(f->control), object, "rbd", "snapshot_set_limit", &in, soon()), 0);
    encoder_free(&in);
}

static void one_that_takes_no_snapshot(void **state)
{
    struct fixture *f = *state;
    struct error err;

    assert_ok(create(f, "monday", &err), err);
    for (unsigned i = 0; i < IMAGES; i++) {
        set_limit(f, i, 1);
        assert_int_equal(create(f, "tuesday", &err), -EDQUOT);
        assert_blames(f, i, "", &err);
        set_limit(f, i, UINT64_MAX);
        assert_undone(f, 1);
    }
    assert_ok(create(f, "tuesday", &err), err);
}

static void a_freeze_that_ended_before_the_last_snapshot(void **state)
{
    struct fixture *f = *state;
    struct error err;

    f->owners[0].ends_early = true;
    assert_int_equal(create(f, "monday", &err), -ETIMEDOUT);
    assert_blames(f, 0, "did not stay frozen", &err);
    assert_undone(f, 0);
    f->owners[0].ends_early = false;
    f->owners[1].thaw_result = -ETIMEDOUT;
    assert_int_equal(create(f, "monday", &err), -ETIMEDOUT);
    assert_blames(f, 1, "did not stay frozen", &err);
    assert_undone(f, 0);
}

static void an_owner_that_does_not_answer(void **state)
{
    struct fixture *f = *state;
    struct error err;

    atomic_store(&f->owners[1].deaf, true);
    assert_true(create_until(f, "monday", deadline_in_ms(SNAPSHOT_GROUP_RESERVE_MS + 4000), &err) <
                0);
    assert_blames(f, 1, "does not answer", &err);
    assert_non_null(strstr(err.text, "host-a since"));
    assert_int_equal(atomic_load(&f->owners[0].freezes), 0);
    assert_undone(f, 0);
    atomic_store(&f->owners[1].deaf, false);
    assert_ok(create(f, "monday", &err), err);
}

static int ask(struct fixture *f, unsigned i, const struct header_notify *request)
{
    struct encoder payload = {0};
    struct encoder bytes = {0};
    struct notify_answer answer = {0};
    char object[OBJECT_NAME_MAX];
    int result;

    notify_encode(&payload, request);
    name_header(object, f->headers[i].id);
    assert_int_equal(op_notify(cluster_io(f->control), object, &payload, 10000, &bytes, soon()), 0);
    assert_int_equal(notify_decode_answer(decoder_of(bytes.data, bytes.len), &answer), 0);
    assert_int_equal(answer.ack_count, 1);
    assert_true(answer.acks[0].answered);
    result = answer.acks[0].result;
    notify_answer_free(&answer);
    encoder_free(&payload);
    encoder_free(&bytes);
    return result;
}

/* An owner falls silent in the middle, and comes back later: what it was asked for comes to
 * nothing. */
static void silent_from(struct fixture *f, const char *step)
{
    const struct header_notify last = {.op = NOTIFY_SNAP_REMOVE, .snapshot = "none"};
    const int64_t begin = clock_now();
    struct error err;

    f->deaf_from = step;
    assert_int_equal(
        create_until(f, "monday", deadline_in_ms(SNAPSHOT_GROUP_RESERVE_MS + 8000), &err),
        -ETIMEDOUT);
    assert_blames(f, 1, "", &err);
    assert_true(clock_now() - begin < 90 * NS_PER_S);
    assert_int_equal(count(f, 0) + count(f, 2), 0);
    atomic_store(&f->owners[1].deaf, false);
    assert_int_equal(ask(f, 1, &last), -ENOENT); /* done after all that it was asked before */
    assert_undone(f, 0);
}

static void soak_an_owner_that_falls_silent_before_it_freezes(void **state)
{
    silent_from(*state, "freezing");
}

static void soak_an_owner_that_falls_silent_before_its_snapshot(void **state)
{
    silent_from(*state, "taking");
}

static void soak_an_owner_that_falls_silent_before_it_thaws(void **state)
{
    silent_from(*state, "thawing");
}

/* Whoever else freezes or thaws meanwhile does not make a freeze look longer than it was. */
static void a_freeze_is_of_one_request(void **state)
{
    struct fixture *f = *state;
    struct header_notify one = {.op = NOTIFY_QUIESCE, .id = {1, 1, 1}};
    struct header_notify other = {.op = NOTIFY_QUIESCE, .id = {2, 2, 2}};
    struct error err;

    assert_int_equal(ask(f, 0, &one), 0);
    assert_int_equal(ask(f, 0, &other), -EBUSY);
    assert_int_equal(create(f, "monday", &err), -EBUSY);
    assert_blames(f, 0, "frozen already", &err);
    other.op = NOTIFY_UNQUIESCE;
    assert_int_equal(ask(f, 0, &other), -ETIMEDOUT); /* it is not its own */
    assert_int_equal(atomic_load(&f->owners[0].thaws), 0);
    one.op = NOTIFY_UNQUIESCE;
    assert_int_equal(ask(f, 0, &one), 0);
    assert_int_equal(ask(f, 0, &one), 0); /* asked again: it held then */
    assert_int_equal(atomic_load(&f->owners[0].thaws), 1);
    assert_undone(f, 0);
    /* and one that nobody ends is over before its end is asked for */
    one = (struct header_notify){.op = NOTIFY_QUIESCE, .id = {1, 1, 2}};
    assert_int_equal(ask(f, 0, &one), 0);
    assert_undone(f, 0); /* waits for the end */
    one.op = NOTIFY_UNQUIESCE;
    assert_int_equal(ask(f, 0, &one), -ETIMEDOUT);
    assert_ok(create(f, "monday", &err), err);
}

int main(void)
{
#define LIVE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        LIVE_TEST(all_get_one),
        LIVE_TEST(they_are_one_point_in_time),
        LIVE_TEST(a_name_that_is_taken),
        LIVE_TEST(one_that_does_not_freeze),
        LIVE_TEST(one_that_takes_no_snapshot),
        LIVE_TEST(a_freeze_that_ended_before_the_last_snapshot),
        LIVE_TEST(an_owner_that_does_not_answer),
        LIVE_TEST(soak_an_owner_that_falls_silent_before_it_freezes),
        LIVE_TEST(soak_an_owner_that_falls_silent_before_its_snapshot),
        LIVE_TEST(soak_an_owner_that_falls_silent_before_it_thaws),
        LIVE_TEST(a_freeze_is_of_one_request),
    };

    if (!getenv("SOAK")) /* half a minute of waiting each */
        cmocka_set_skip_filter("soak_*");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
