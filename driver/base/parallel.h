/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/* Many pieces of work that wait for others most of the time, done at once. */

#define PARALLEL_HELPERS_MAX 63

/* Call WORK(ARG, i) for each I below COUNT, once, on the calling thread and at most HELPERS others;
 * returns when all are done. A helper that cannot be started is only missed as far as speed goes.
 * PROGRESS (may be NULL) is called on the calling thread now and then, with how many are done. */
void parallel_run(size_t count, unsigned helpers, void (*work)(void *arg, size_t i),
                  void (*progress)(void *arg, size_t done, size_t total), void *arg);
