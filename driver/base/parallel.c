/* SPDX-License-Identifier: Apache-2.0 */
#include "base/parallel.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/thread.h"

struct parallel {
    size_t count;
    void (*work)(void *arg, size_t i);
    void *arg;
    atomic_size_t next;
    atomic_size_t done;
};

/* Do the next piece; false when there is none. */
static bool step(struct parallel *parallel)
{
    size_t i = atomic_fetch_add(&parallel->next, 1);

    if (i >= parallel->count)
        return false;
    parallel->work(parallel->arg, i);
    atomic_fetch_add(&parallel->done, 1);
    return true;
}

static void *help(void *arg)
{
    while (step(arg))
        continue;
    return NULL;
}

void parallel_run(size_t count, unsigned helpers, void (*work)(void *arg, size_t i),
                  void (*progress)(void *arg, size_t done, size_t total), void *arg)
{
    struct parallel parallel = {.count = count, .work = work, .arg = arg};
    pthread_t threads[PARALLEL_HELPERS_MAX];
    unsigned started = 0;

    assert(helpers <= PARALLEL_HELPERS_MAX);
    while (started < helpers && started + 1 < count &&
           thread_start(&threads[started], help, &parallel) == 0)
        started++;
    while (step(&parallel)) {
        if (progress)
            progress(arg, atomic_load(&parallel.done), count);
    }
    while (started > 0)
        pthread_join(threads[--started], NULL);
}
