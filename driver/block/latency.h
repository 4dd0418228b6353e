/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* How long requests took, counted without a lock: buckets whose upper bounds are powers of two of
 * microseconds, from 64 us (an answer from the OSD's cache) to 67 s (an OSD that was replaced), and
 * a last one without a bound. The sum of the buckets is the number of requests. */

#define LATENCY_FIRST_BOUND 6  /* log2 of microseconds */
#define LATENCY_BOUNDS      21 /* buckets that have an upper bound */
#define LATENCY_BUCKETS     (LATENCY_BOUNDS + 1)

struct latency {
    _Atomic(uint64_t) buckets[LATENCY_BUCKETS];
    _Atomic(uint64_t) sum_ns;
};

/* What was counted. Fixed layout: part of control.h's packets. */
struct latency_counts {
    uint64_t buckets[LATENCY_BUCKETS]; /* not cumulative */
    uint64_t sum_ns;
};

/* Count a request that took NS; less than 0 counts as 0. Any thread. */
void latency_add(struct latency *latency, int64_t ns);

/* What was counted so far: each number by itself, so a request under way may show in some only. */
void latency_read(const struct latency *latency, struct latency_counts *ret);

/* How many requests. */
uint64_t latency_total(const struct latency_counts *counts);

/* Upper bound of bucket I < LATENCY_BOUNDS, microseconds. */
static inline uint64_t latency_bound_us(unsigned i)
{
    return UINT64_C(1) << (LATENCY_FIRST_BOUND + i);
}
