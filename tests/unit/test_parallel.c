/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/parallel.h"

#define COUNT 500

struct work {
    atomic_uint calls[COUNT];
    atomic_size_t reported;
    pthread_t caller;
    pthread_barrier_t together;
    atomic_uint with_signals; /* calls on helpers that could be interrupted */
};

static void count(void *arg, size_t i)
{
    struct work *work = arg;
    sigset_t blocked;

    atomic_fetch_add(&work->calls[i], 1);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (!pthread_equal(pthread_self(), work->caller) && !sigismember(&blocked, SIGTERM))
        atomic_fetch_add(&work->with_signals, 1);
}

static void report(void *arg, size_t done, size_t total)
{
    struct work *work = arg;

    assert_true(pthread_equal(pthread_self(), work->caller));
    assert_int_equal(total, COUNT);
    assert_true(done <= total && done >= atomic_load(&work->reported));
    atomic_store(&work->reported, done);
}

static void test_each_once(void **state)
{
    static const unsigned helpers[] = {0, 1, 7, PARALLEL_HELPERS_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
        struct work work = {.caller = pthread_self()};

        parallel_run(COUNT, helpers[i], count, report, &work);
        for (size_t n = 0; n < COUNT; n++)
            assert_int_equal(atomic_load(&work.calls[n]), 1);
        assert_int_equal(atomic_load(&work.with_signals), 0);
        if (helpers[i] == 0)
            assert_int_equal(atomic_load(&work.reported), COUNT);
    }
}

static void test_nothing_to_do(void **state)
{
    struct work work = {.caller = pthread_self()};

    (void)state;
    parallel_run(0, PARALLEL_HELPERS_MAX, count, report, &work);
    assert_int_equal(atomic_load(&work.calls[0]), 0);
}

static void wait_for_all(void *arg, size_t i)
{
    struct work *work = arg;

    (void)i;
    pthread_barrier_wait(&work->together);
}

/* Each waits for all others: it only ends when all are under way at once. */
static void test_all_at_once(void **state)
{
    struct work work = {0};

    (void)state;
    assert_int_equal(pthread_barrier_init(&work.together, NULL, PARALLEL_HELPERS_MAX + 1), 0);
    parallel_run(PARALLEL_HELPERS_MAX + 1, PARALLEL_HELPERS_MAX, wait_for_all, NULL, &work);
    pthread_barrier_destroy(&work.together);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_all_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
