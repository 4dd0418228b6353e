/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* How often a blockd crashed lately, and what follows: the first restart comes at once, later ones
 * after 100 ms, doubled up to 5 s; after CRASHES_MAX within a minute there is none. Pure. */

#define CRASHES_MAX 10

struct crashes {
    int64_t at[CRASHES_MAX]; /* CLOCK_MONOTONIC ns: those of the last minute, oldest first */
    unsigned count;
};

/* Note a crash at NOW. When to start again (CLOCK_MONOTONIC ns), or INT64_MAX: never. */
int64_t crashes_add(struct crashes *crashes, int64_t now);
