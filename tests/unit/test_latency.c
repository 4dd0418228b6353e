/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "block/latency.h"

#define US 1000

static unsigned bucket_of(int64_t ns)
{
    struct latency latency = {0};
    struct latency_counts counts;

    latency_add(&latency, ns);
    latency_read(&latency, &counts);
    assert_int_equal(latency_total(&counts), 1);
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        if (counts.buckets[i] == 1)
            return i;
    }
    fail_msg("%s", "counted nowhere");
    return 0;
}

/* A bound belongs to its own bucket, a nanosecond more to the next. */
static void test_bounds(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LATENCY_BOUNDS; i++) {
        const int64_t bound = (int64_t)latency_bound_us(i) * US;

        assert_int_equal(bucket_of(bound), i);
        assert_int_equal(bucket_of(bound - US), i);
        assert_int_equal(bucket_of(bound + 1), i + 1);
    }
}

static void test_extremes(void **state)
{
    (void)state;
    assert_int_equal(bucket_of(0), 0);
    assert_int_equal(bucket_of(-1), 0);
    assert_int_equal(bucket_of(INT64_MIN), 0);
    assert_int_equal(bucket_of(INT64_MAX), LATENCY_BUCKETS - 1);
    assert_int_equal(latency_bound_us(0), 64);
    assert_int_equal(latency_bound_us(LATENCY_BOUNDS - 1), 67108864);
}

static void test_sum(void **state)
{
    struct latency latency = {0};
    struct latency_counts counts;

    (void)state;
    latency_add(&latency, 3 * NS_PER_MS);
    latency_add(&latency, 5 * NS_PER_MS);
    latency_add(&latency, -7);
    latency_read(&latency, &counts);
    assert_int_equal(latency_total(&counts), 3);
    assert_int_equal(counts.sum_ns, 8 * NS_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
