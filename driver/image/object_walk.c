/* SPDX-License-Identifier: Apache-2.0 */
#include "image/object_walk.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"

#define PARALLEL     16
#define PARALLEL_MAX 256

/* The calling thread reports so often. */
#define REPORT_MS 200

struct team {
    const struct object_walk *walk;
    _Atomic uint64_t next;
    _Atomic uint64_t done;
    atomic_int result; /* the first failure: everyone ends */

    pthread_mutex_t lock; /* running */
    pthread_cond_t ended;
    unsigned running;
};

uint64_t object_count(const struct image_header *header, uint64_t size)
{
    return (size >> header->order) + ((size & ((UINT64_C(1) << header->order) - 1)) != 0);
}

int object_open_pool(struct cluster *cluster, const struct image_header *header, rados_ioctx_t *ret,
                     struct error *err)
{
    int64_t pool = header->data_pool_id >= 0 ? header->data_pool_id : cluster_pool_id(cluster);

    return cluster_open_pool(cluster, pool, ret, err);
}

static void *walk_main(void *arg)
{
    struct team *team = arg;
    const struct object_walk *walk = team->walk;
    uint64_t number;

    while (atomic_load(&team->result) == 0 &&
           (number = atomic_fetch_add(&team->next, 1)) < walk->total) {
        int none = 0;
        int r = walk->each(walk->arg, number);

        if (r < 0)
            atomic_compare_exchange_strong(&team->result, &none, r);
        else
            atomic_fetch_add(&team->done, 1);
    }
    {
        WITH_LOCK(&team->lock);
        team->running--;
        pthread_cond_signal(&team->ended);
    }
    return NULL;
}

/* Wait a moment for the threads: true when all have ended. */
static bool wait_a_moment(struct team *team)
{
    const struct timespec until = deadline_timespec(deadline_in_ms(REPORT_MS));
    WITH_LOCK(&team->lock);

    while (team->running > 0 &&
           pthread_cond_timedwait(&team->ended, &team->lock, &until) != ETIMEDOUT)
        ;
    return team->running == 0;
}

/* Report until all is done; a report that asks for it stops the threads. */
static void look_after(struct team *team)
{
    const struct object_walk *walk = team->walk;
    bool ended = false;

    while (!ended) {
        int none = 0;
        int r;

        ended = wait_a_moment(team);
        r = walk->progress ? walk->progress(walk->arg, atomic_load(&team->done)) : 0;
        if (r != 0)
            atomic_compare_exchange_strong(&team->result, &none, r);
    }
}

int object_walk(const struct object_walk *walk, uint64_t *ret_done)
{
    struct team team = {.walk = walk};
    unsigned wanted = walk->parallel ? walk->parallel : PARALLEL;
    pthread_t threads[PARALLEL_MAX];
    unsigned count;
    int r = 0;

    if (wanted > PARALLEL_MAX)
        wanted = PARALLEL_MAX;
    if (wanted > walk->total)
        wanted = (unsigned)walk->total;
    pthread_mutex_init(&team.lock, NULL);
    clock_init_cond(&team.ended);
    team.running = wanted;
    for (count = 0; count < wanted && r == 0; count++)
        r = thread_start(&threads[count], walk_main, &team);
    if (r < 0) {
        WITH_LOCK(&team.lock);
        team.running -= wanted - --count;
        atomic_store(&team.result, r);
    }
    look_after(&team);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_cond_destroy(&team.ended);
    pthread_mutex_destroy(&team.lock);
    *ret_done = atomic_load(&team.done);
    return atomic_load(&team.result);
}

int object_look_begin(struct object_look *look, rados_ioctx_t io, const char *object)
{
    int r = rados_aio_create_completion2(NULL, NULL, &look->completion);

    if (r < 0)
        return r;
    r = rados_aio_stat(io, object, look->completion, &look->size, &look->modified);
    if (r < 0)
        rados_aio_release(look->completion);
    return r;
}

int object_look_end(struct object_look *look, uint64_t *ret_version)
{
    int r;

    rados_aio_wait_for_complete(look->completion);
    r = rados_aio_get_return_value(look->completion);
    *ret_version = r == 0 ? rados_aio_get_version(look->completion) : 0;
    rados_aio_release(look->completion);
    return r == -ENOENT ? 0 : r;
}
