/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "block/backend.h"
#include "block/latency.h"

/* What a back end counts of its requests, without a lock. Any thread. */

struct backend_counters {
    struct latency done[BACKEND_OPS];
    _Atomic(uint64_t) read_bytes, write_bytes, errors;
};

/* A request for BYTES bytes that came at STARTED (CLOCK_MONOTONIC ns) has ended with RESULT. */
void backend_counters_add(struct backend_counters *counters, enum backend_op op, int64_t started,
                          uint64_t bytes, int result);

void backend_counters_error(struct backend_counters *counters); /* one that never began */

/* All of *RET but what is in flight. */
void backend_counters_read(const struct backend_counters *counters, struct backend_stats *ret);
