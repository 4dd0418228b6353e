/* SPDX-License-Identifier: Apache-2.0 */
#include "block/latency.h"

/* The first bucket whose bound NS does not exceed. */
static unsigned bucket_of(uint64_t ns)
{
    const uint64_t us = (ns + 999) / 1000; /* rounded up: a bound is included in its bucket */
    unsigned log2_up = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);

    if (log2_up <= LATENCY_FIRST_BOUND)
        return 0;
    return log2_up - LATENCY_FIRST_BOUND < LATENCY_BOUNDS ? log2_up - LATENCY_FIRST_BOUND
                                                          : LATENCY_BOUNDS;
}

void latency_add(struct latency *latency, int64_t ns)
{
    const uint64_t took = ns > 0 ? (uint64_t)ns : 0;

    atomic_fetch_add_explicit(&latency->buckets[bucket_of(took)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&latency->sum_ns, took, memory_order_relaxed);
}

void latency_read(const struct latency *latency, struct latency_counts *ret)
{
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        ret->buckets[i] = atomic_load_explicit(&latency->buckets[i], memory_order_relaxed);
    ret->sum_ns = atomic_load_explicit(&latency->sum_ns, memory_order_relaxed);
}

uint64_t latency_total(const struct latency_counts *counts)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        total += counts->buckets[i];
    return total;
}
