/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* Deadlines are instants on CLOCK_MONOTONIC in nanoseconds, so that a call that makes several
 * steps hands the same deadline to each of them. */

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

static inline int64_t clock_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static inline int64_t deadline_in_ms(int64_t ms)
{
    return clock_now() + ms * NS_PER_MS;
}

/* Milliseconds left, rounded up; 0 when the deadline has passed. Fits poll(2). */
static inline int deadline_left_ms(int64_t deadline)
{
    int64_t left = deadline - clock_now();

    if (left <= 0)
        return 0;
    left = (left + NS_PER_MS - 1) / NS_PER_MS;
    return left > INT32_MAX ? INT32_MAX : (int)left;
}

static inline int64_t deadline_earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline struct timespec deadline_timespec(int64_t deadline)
{
    return (struct timespec){.tv_sec = deadline / NS_PER_S, .tv_nsec = deadline % NS_PER_S};
}

/* A condition variable whose timed waits end at deadline_timespec(). */
static inline void clock_init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}
