/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/* Threads on demand for work that may block: one is started when no idle one is left, up to a
 * limit; beyond it the work waits its turn, first come first served. Idle threads end after a few
 * seconds. */

struct workers;

/* At most LIMIT threads at once. NULL when out of memory. */
struct workers *workers_new(const char *name, size_t limit);

/* Run WORK(ARG) on a thread of the pool. 0; -ENOMEM, or -EAGAIN when there is no thread at all and
 * none can be started: the work is then not run. Any thread; does not block. */
int workers_run(struct workers *workers, void (*work)(void *arg), void *arg);

/* What the pool is doing now. Does not block. */
struct workers_view {
    const char *name;
    size_t busy;   /* threads at work */
    size_t queued; /* pieces of work that wait for a thread */
    size_t limit;
};
void workers_look(struct workers *workers, struct workers_view *ret);

/* Wait for all work to end and free the pool. Nothing may be handed to it meanwhile, except by its
 * own work. Accepts NULL. */
void workers_free(struct workers *workers);
