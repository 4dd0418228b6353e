/* SPDX-License-Identifier: Apache-2.0 */
#include "images.h"
#include "serve.h"
#include "stock.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "image/io.h"
#include "image/ownership.h"
#include "image/resize.h"
#include "image/rollback.h"
#include "image/snapshot.h"

/* Rolling an image back in place. What is in it before and after is compared with what the stock
 * rbd command exports. */

#define ORDER   16 /* many small objects */
#define OBJECT  (UINT64_C(1) << ORDER)
#define OBJECTS 256
#define SIZE    (OBJECTS * OBJECT)

struct fixture {
    struct cluster *control;
    struct cluster *data;
    const char *name;
    struct image_header header;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->control = live_connect(CLUSTER_CONTROL);
    f->data = live_connect(CLUSTER_DATA);
    f->name = live_name("rollback");
    f->header = test_image_make(f->control, f->name, SIZE, ORDER);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct spawn_result result;

    stock_try(&result, STOCK("snap", "purge", "--no-progress", f->name));
    test_image_remove(f->control, f->name, f->header.id);
    cluster_close(f->data);
    cluster_close(f->control);
    free(f);
    return 0;
}

static struct image_header header_of(struct fixture *f)
{
    struct image_header header = {0};
    struct error err;

    assert_ok(image_read_header(f->control, f->header.id, soon(), &header, &err), err);
    return header;
}

/* Write or discard some bytes of every STEP-th object from FIRST on. */
static void change(struct fixture *f, unsigned first, unsigned step, int byte)
{
    struct image_header header = header_of(f);
    struct image_io *io;
    char data[5000];
    struct error err;

    assert_ok(image_io_open(f->data, &header, &io, &err), err);
    memset(data, byte, sizeof(data));
    for (uint64_t i = first; i < header.size / OBJECT; i += step) {
        if (byte)
            assert_int_equal(image_run(io, IMAGE_WRITE, i * OBJECT + 100, sizeof(data), data), 0);
        else
            assert_int_equal(image_run(io, IMAGE_DISCARD, i * OBJECT, OBJECT, NULL), 0);
    }
    image_io_close(io);
    image_header_free(&header);
}

static void take(struct fixture *f, const char *name)
{
    struct snapshot snapshot;
    struct error err;

    assert_ok(snapshot_create(f->control, f->header.id, name, "host", soon(), &snapshot, &err),
              err);
}

static uint8_t *contents(struct fixture *f, const char *snapshot, size_t size)
{
    char spec[512];

    snprintf(spec, sizeof(spec), "%s%s%s", f->name, snapshot ? "@" : "", snapshot ? snapshot : "");
    return stock_export(spec, size);
}

/* The image holds what SNAPSHOT holds and has its size. */
static void assert_is(struct fixture *f, const char *snapshot, size_t size)
{
    uint8_t *now = contents(f, NULL, size);
    uint8_t *then = contents(f, snapshot, size);

    assert_int_equal(memcmp(now, then, size), 0);
    free(now);
    free(then);
}

static int roll(struct fixture *f, const struct rollback *rollback, struct rollback_result *ret,
                struct error *err)
{
    return image_rollback(f->control, f->header.id, rollback, soon(), ret, err);
}

static bool is_half_done(struct fixture *f)
{
    struct image_header header = header_of(f);
    struct error err;
    int r = rollback_check(&header, &err);

    image_header_free(&header);
    assert_true(r == 0 || r == -EUCLEAN);
    return r < 0;
}

static unsigned records(struct fixture *f)
{
    struct image_header header = header_of(f);
    unsigned n = 0;

    for (size_t i = 0; i < header.metadata.count; i++)
        n += strncmp(header.metadata.items[i].key, ROLLBACK_RECORD_KEY,
                     strlen(ROLLBACK_RECORD_KEY)) == 0;
    image_header_free(&header);
    return n;
}

static void only_what_changed_is_rolled_back(void **state)
{
    const struct rollback rollback = {.snapshot = "good", .host = "host"};
    struct fixture *f = *state;
    struct rollback_result result;
    struct error err;
    uint8_t *damaged;
    uint8_t *undone;

    change(f, 0, 2, 'a'); /* half of the objects exist */
    take(f, "good");
    change(f, 10, 64, 'x');   /* 4 overwritten */
    change(f, 1, 128, 'x');   /* 2 made */
    change(f, 20, 128, '\0'); /* 2 removed */
    damaged = contents(f, NULL, SIZE);
    assert_ok(roll(f, &rollback, &result, &err), err);
    assert_false(result.resumed);
    assert_int_equal(result.objects.done, OBJECTS);
    assert_int_equal(result.objects.total, OBJECTS);
    assert_int_equal(result.objects.changed, 8);
    assert_is(f, "good", SIZE);
    assert_false(is_half_done(f));
    assert_int_equal(records(f), 1);
    stock_same_snapshots(f->control, f->name, f->header.id);

    /* The safety snapshot has what there was, and leads back to it. */
    {
        const struct rollback back = {.snapshot = result.safety, .host = "host"};
        struct rollback_result again;

        assert_int_equal(
            strncmp(result.safety, ROLLBACK_SAFETY_PREFIX, strlen(ROLLBACK_SAFETY_PREFIX)), 0);
        undone = contents(f, result.safety, SIZE);
        assert_int_equal(memcmp(damaged, undone, SIZE), 0);
        free(undone);
        assert_ok(roll(f, &back, &again, &err), err);
        undone = contents(f, NULL, SIZE);
        assert_int_equal(memcmp(damaged, undone, SIZE), 0);
        free(undone);
    }
    free(damaged);
    assert_is(f, result.safety, SIZE);
}

static void the_size_goes_back_too(void **state)
{
    const struct rollback rollback = {.snapshot = "small", .host = "host", .parallel = 3};
    struct fixture *f = *state;
    struct rollback_result result;
    struct image_header header;
    struct error err;

    change(f, 0, 3, 'a');
    take(f, "small");
    assert_ok(
        image_resize(f->control, f->header.id, SIZE + 40 * OBJECT + 512, "host", soon(), &err),
        err);
    change(f, 200, 5, 'b');
    assert_ok(roll(f, &rollback, &result, &err), err);
    assert_int_equal(result.objects.total, OBJECTS + 41);
    header = header_of(f);
    assert_int_equal(header.size, SIZE);
    image_header_free(&header);
    assert_is(f, "small", SIZE);
    /* what was behind is gone, not hidden */
    assert_ok(image_resize(f->control, f->header.id, SIZE + 40 * OBJECT, "host", soon(), &err),
              err);
    {
        uint8_t *data = contents(f, NULL, SIZE + 40 * OBJECT);

        for (size_t at = SIZE; at < SIZE + 40 * OBJECT; at++)
            assert_int_equal(data[at], 0);
        free(data);
    }
}

static void the_image_must_not_be_in_use(void **state)
{
    struct rollback rollback = {.snapshot = "good", .host = "host"};
    struct fixture *f = *state;
    struct rollback_result result;
    struct image_header header = {0};
    struct server owner = {0};
    struct error err;

    take(f, "good");
    change(f, 0, 1, 'x');
    assert_ok(ownership_acquire(f->data, f->header.id, "host-a", "", 15, soon(), &header,
                                &owner.ownership, &err),
              err);
    image_header_free(&header);
    serve_start(&owner);
    assert_int_equal(roll(f, &rollback, &result, &err), -EBUSY);
    assert_non_null(strstr(err.text, "host-a"));
    serve_stop(&owner);
    ownership_release(owner.ownership);
    rollback.snapshot = "missing";
    assert_int_equal(roll(f, &rollback, &result, &err), -ENOENT);
    assert_false(is_half_done(f));
    assert_int_equal(records(f), 0);
    stock_same_snapshots(f->control, f->name, f->header.id);
    header = header_of(f);
    assert_int_equal(header.lock.count, 0);
    assert_int_equal(header.snapc.count, 1); /* no safety snapshot was taken in vain */
    image_header_free(&header);
}

static int stop_at_once(void *arg, const struct rollback_progress *progress)
{
    (void)arg;
    return progress->done > 0;
}

static void a_stopped_rollback_goes_on_or_is_undone(void **state)
{
    struct rollback rollback = {
        .snapshot = "good", .host = "host", .parallel = 1, .progress = stop_at_once};
    struct fixture *f = *state;
    struct rollback_result stopped, result;
    struct image_header header;
    uint8_t *damaged;
    uint8_t *undone;
    struct error err;

    change(f, 0, 1, 'a');
    take(f, "good");
    change(f, 0, 1, 'x');
    change(f, 0, 1, 'y');
    damaged = contents(f, NULL, SIZE);

    assert_int_equal(roll(f, &rollback, &stopped, &err), -ECANCELED);
    assert_true(stopped.objects.done > 0);
    assert_true(is_half_done(f));
    header = header_of(f);
    rollback_check(&header, &err);
    assert_non_null(strstr(err.text, stopped.safety));
    image_header_free(&header);

    rollback.progress = NULL;
    rollback.snapshot = stopped.safety; /* undo */
    assert_ok(roll(f, &rollback, &result, &err), err);
    assert_true(result.resumed);
    assert_string_equal(result.safety, stopped.safety);
    assert_false(is_half_done(f));
    undone = contents(f, NULL, SIZE);
    assert_int_equal(memcmp(damaged, undone, SIZE), 0);
    free(undone);
    free(damaged);

    rollback.snapshot = "good";
    rollback.progress = stop_at_once;
    assert_int_equal(roll(f, &rollback, &stopped, &err), -ECANCELED);
    rollback.progress = NULL;
    assert_ok(roll(f, &rollback, &result, &err), err);
    assert_true(result.resumed);
    assert_is(f, "good", SIZE);
    assert_false(is_half_done(f));
}

static void no_snapshot_keeps_a_half_restored_image(void **state)
{
    struct rollback rollback = {
        .snapshot = "good", .host = "host", .parallel = 1, .progress = stop_at_once};
    struct fixture *f = *state;
    struct rollback_result stopped;
    struct snapshot snapshot;
    struct error err;

    change(f, 0, 1, 'a');
    take(f, "good");
    change(f, 0, 1, 'x');
    assert_int_equal(roll(f, &rollback, &stopped, &err), -ECANCELED);
    assert_int_equal(
        snapshot_create(f->control, f->header.id, "mixture", "host", soon(), &snapshot, &err),
        -EUCLEAN);
    assert_non_null(strstr(err.text, stopped.safety));
    assert_int_equal(snapshot_find(f->control, f->header.id, "mixture", soon(), &snapshot, &err),
                     -ENOENT);

    rollback.progress = NULL;
    assert_ok(roll(f, &rollback, &stopped, &err), err);
    take(f, "mixture");
    assert_is(f, "mixture", SIZE);
}

/* A process that dies in the middle of a rollback. */
static int die(void *arg, const struct rollback_progress *progress)
{
    (void)arg;
    if (progress->done > 0)
        kill(getpid(), SIGKILL);
    return 0;
}

static int victim_main(const char *id)
{
    const struct rollback rollback = {
        .snapshot = "good", .host = "host-v", .parallel = 1, .progress = die};
    struct rollback_result result;

    alarm(60);
    return image_rollback(live_connect(CLUSTER_CONTROL), id, &rollback, soon(), &result, NULL) < 0
               ? 1
               : 2;
}

static void a_killed_rollback_is_gone_on_with(void **state)
{
    const struct rollback rollback = {.snapshot = "good", .host = "host"};
    struct fixture *f = *state;
    struct rollback_result result;
    struct error err;
    int status;
    pid_t pid;

    change(f, 0, 1, 'a');
    take(f, "good");
    change(f, 0, 1, 'x');
    pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "victim", f->header.id, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(is_half_done(f));
    /* its lock is broken when the cluster has given it up */
    assert_ok(
        image_rollback(f->control, f->header.id, &rollback, deadline_in_ms(60000), &result, &err),
        err);
    assert_true(result.resumed);
    assert_is(f, "good", SIZE);
    assert_false(is_half_done(f));
    assert_int_equal(records(f), 1);
}

static void records_that_make_no_sense(void **state)
{
    static const char *const values[] = {"", "x", "12", "12 ", "-", "99999999999999999999"};
    struct rbd_pair pair = {.key = (char *)ROLLBACK_KEY};
    struct image_header header = {.metadata = {.items = &pair, .count = 1}};
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        pair.value = (char *)values[i];
        assert_int_equal(rollback_check(&header, &err), -EUCLEAN);
    }
    header.metadata.count = 0;
    assert_int_equal(rollback_check(&header, &err), 0);
}

int main(int argc, char *argv[])
{
#define LIVE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        LIVE_TEST(only_what_changed_is_rolled_back),
        LIVE_TEST(the_size_goes_back_too),
        LIVE_TEST(the_image_must_not_be_in_use),
        LIVE_TEST(a_stopped_rollback_goes_on_or_is_undone),
        LIVE_TEST(no_snapshot_keeps_a_half_restored_image),
        LIVE_TEST(a_killed_rollback_is_gone_on_with),
        cmocka_unit_test(records_that_make_no_sense),
    };

    if (argc == 2 && strcmp(argv[0], "victim") == 0)
        return victim_main(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
