/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "image/owner_jobs.h"

static struct header_notify request_of(uint64_t number, uint32_t op)
{
    return (struct header_notify){.op = op,
                                  .id = {.client_id = number ? 4100 : 0, .number = number}};
}

static struct watch_event *new_event(void)
{
    struct watch_event *event = calloc(1, sizeof(*event));

    assert_non_null(event);
    return event;
}

static void add(struct owner_jobs *jobs, uint64_t number, uint32_t op, struct watch_event *event)
{
    const struct header_notify request = request_of(number, op);

    assert_int_equal(owner_jobs_add(jobs, &request, event), 0);
}

/* The current one ends with RESULT; its answer is owed or not. */
static void end(struct owner_jobs *jobs, int result, bool owed)
{
    struct owner_job *job = jobs->current;

    job->result = result;
    assert_int_equal(owner_jobs_end(jobs), owed);
    if (!owed)
        free(job);
}

static void free_done(struct owner_jobs *jobs)
{
    struct owner_job *job = owner_jobs_take_done(jobs);

    assert_non_null(job);
    free(job->event);
    free(job);
}

static void begin(struct owner_jobs *jobs, uint64_t number)
{
    const struct owner_job *job = owner_jobs_begin(jobs);

    assert_non_null(job);
    assert_int_equal(job->request.id.number, number);
}

/* It is known, and to be answered with RESULT now. */
static void assert_known(struct owner_jobs *jobs, uint64_t number, uint32_t op, int result)
{
    const struct header_notify request = request_of(number, op);
    bool keep;
    int known;

    assert_true(owner_jobs_know(jobs, &request, NULL, &keep, &known));
    assert_false(keep);
    assert_int_equal(known, result);
}

static void assert_unknown(struct owner_jobs *jobs, uint64_t number, uint32_t op)
{
    const struct header_notify request = request_of(number, op);
    bool keep;
    int known;

    assert_false(owner_jobs_know(jobs, &request, NULL, &keep, &known));
}

static void test_one_after_the_other(void **state)
{
    struct owner_jobs jobs;

    (void)state;
    owner_jobs_init(&jobs);
    assert_null(owner_jobs_begin(&jobs));
    for (uint64_t number = 1; number <= 3; number++)
        add(&jobs, number, NOTIFY_SNAP_CREATE, NULL);
    for (uint64_t number = 1; number <= 3; number++) {
        begin(&jobs, number);
        end(&jobs, 0, false);
    }
    assert_null(owner_jobs_begin(&jobs));
}

static void test_sent_again(void **state)
{
    struct owner_jobs jobs;

    (void)state;
    owner_jobs_init(&jobs);
    assert_unknown(&jobs, 1, NOTIFY_SNAP_CREATE);
    add(&jobs, 1, NOTIFY_SNAP_CREATE, NULL);
    assert_known(&jobs, 1, NOTIFY_SNAP_CREATE, 0);
    assert_unknown(&jobs, 1, NOTIFY_SNAP_REMOVE);
    assert_unknown(&jobs, 2, NOTIFY_SNAP_CREATE);
    begin(&jobs, 1);
    assert_known(&jobs, 1, NOTIFY_SNAP_CREATE, 0);
    end(&jobs, -EEXIST, false);
    assert_known(&jobs, 1, NOTIFY_SNAP_CREATE, -EEXIST);
    assert_unknown(&jobs, 1, NOTIFY_SNAP_REMOVE);
}

static void test_the_last_ones_are_remembered(void **state)
{
    struct owner_jobs jobs;

    (void)state;
    owner_jobs_init(&jobs);
    for (uint64_t number = 1; number <= OWNER_RECENT_MAX + 1; number++) {
        add(&jobs, number, NOTIFY_RESIZE, NULL);
        begin(&jobs, number);
        end(&jobs, 0, false);
    }
    assert_unknown(&jobs, 1, NOTIFY_RESIZE);
    assert_known(&jobs, 2, NOTIFY_RESIZE, 0);
    assert_known(&jobs, OWNER_RECENT_MAX + 1, NOTIFY_RESIZE, 0);
}

/* Older clients: each of their requests is a new one, and the answer is the result. */
static void test_without_an_id(void **state)
{
    struct owner_jobs jobs;

    (void)state;
    owner_jobs_init(&jobs);
    add(&jobs, 0, NOTIFY_SNAP_CREATE, new_event());
    assert_unknown(&jobs, 0, NOTIFY_SNAP_CREATE);
    begin(&jobs, 0);
    assert_unknown(&jobs, 0, NOTIFY_SNAP_CREATE);
    end(&jobs, 0, true);
    assert_unknown(&jobs, 0, NOTIFY_SNAP_CREATE);
    free_done(&jobs);
    assert_null(owner_jobs_take_done(&jobs));
}

/* Who sends a quiesce again waits for the answer to the second notify. */
static void test_the_latest_event_is_answered(void **state)
{
    const struct header_notify request = request_of(7, NOTIFY_QUIESCE);
    struct watch_event *second = new_event();
    struct owner_jobs jobs;
    bool keep;
    int result;

    (void)state;
    owner_jobs_init(&jobs);
    add(&jobs, 7, NOTIFY_QUIESCE, new_event());
    assert_true(owner_jobs_know(&jobs, &request, second, &keep, &result));
    assert_true(keep);
    begin(&jobs, 7);
    assert_ptr_equal(jobs.current->event, second);
    end(&jobs, 0, true);
    free_done(&jobs);
}

static void test_a_flood_is_refused(void **state)
{
    const struct header_notify request = request_of(1000, NOTIFY_SNAP_CREATE);
    struct owner_jobs jobs;

    (void)state;
    owner_jobs_init(&jobs);
    for (uint64_t number = 1; number <= OWNER_JOBS_MAX; number++)
        add(&jobs, number, NOTIFY_SNAP_CREATE, NULL);
    assert_int_equal(owner_jobs_add(&jobs, &request, NULL), -EBUSY);
    begin(&jobs, 1);
    assert_int_equal(owner_jobs_add(&jobs, &request, NULL), -EBUSY);
    end(&jobs, 0, false);
    assert_int_equal(owner_jobs_add(&jobs, &request, NULL), 0);
    while (owner_jobs_begin(&jobs))
        end(&jobs, 0, false);
}

/* Others are done while one waits for its objects; then those that waited come first. */
static void test_flattens_wait_for_their_objects(void **state)
{
    struct notify_id ids[OWNER_JOBS_MAX];
    struct owner_jobs jobs;

    (void)state;
    owner_jobs_init(&jobs);
    add(&jobs, 1, NOTIFY_FLATTEN, NULL);
    add(&jobs, 2, NOTIFY_FLATTEN, NULL);
    add(&jobs, 3, NOTIFY_SNAP_CREATE, NULL);
    begin(&jobs, 1);
    assert_true(owner_jobs_put_off(&jobs));
    begin(&jobs, 2);
    assert_false(owner_jobs_put_off(&jobs));
    assert_int_equal(owner_jobs_waiting(&jobs, ids), 2);
    assert_int_equal(ids[0].number, 1);
    assert_int_equal(ids[1].number, 2);
    assert_known(&jobs, 1, NOTIFY_FLATTEN, 0);
    begin(&jobs, 3);
    end(&jobs, 0, false);
    add(&jobs, 4, NOTIFY_SNAP_CREATE, NULL);

    owner_jobs_copied(&jobs, -ENOSPC);
    assert_int_equal(owner_jobs_waiting(&jobs, ids), 0);
    for (uint64_t number = 1; number <= 2; number++) {
        begin(&jobs, number);
        assert_true(jobs.current->copied);
        assert_int_equal(jobs.current->result, -ENOSPC);
        end(&jobs, -ENOSPC, false);
    }
    begin(&jobs, 4);
    assert_false(jobs.current->copied);
    end(&jobs, 0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_sent_again),
        cmocka_unit_test(test_the_last_ones_are_remembered),
        cmocka_unit_test(test_without_an_id),
        cmocka_unit_test(test_the_latest_event_is_answered),
        cmocka_unit_test(test_a_flood_is_refused),
        cmocka_unit_test(test_flattens_wait_for_their_objects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
