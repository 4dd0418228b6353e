/* SPDX-License-Identifier: Apache-2.0 */
#include "block/counters.h"

#include "base/clock.h"

static void count(_Atomic(uint64_t) *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t counted(const _Atomic(uint64_t) *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void backend_counters_add(struct backend_counters *counters, enum backend_op op, int64_t started,
                          uint64_t bytes, int result)
{
    if (result < 0) {
        backend_counters_error(counters);
        return;
    }
    latency_add(&counters->done[op], clock_now() - started);
    if (op == BACKEND_READ)
        count(&counters->read_bytes, bytes);
    else if (op == BACKEND_WRITE)
        count(&counters->write_bytes, bytes);
}

void backend_counters_error(struct backend_counters *counters)
{
    count(&counters->errors, 1);
}

void backend_counters_read(const struct backend_counters *counters, struct backend_stats *ret)
{
    for (int op = 0; op < BACKEND_OPS; op++)
        latency_read(&counters->done[op], &ret->done[op]);
    ret->read_bytes = counted(&counters->read_bytes);
    ret->write_bytes = counted(&counters->write_bytes);
    ret->errors = counted(&counters->errors);
}
