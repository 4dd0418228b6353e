/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/space.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "volume/volume.h"

#define LIFE_MS   1000 /* of an answer */
#define WAIT_MS   50   /* for a new one; monitors that are well answer within a few */
#define LINK_MS   1000
#define POOLS_MAX 64 /* of one host's volumes; more are taken to have room */

struct pool {
    char name[POOL_NAME_MAX];
    struct error known; /* code 0: there is room, or nobody knows */
    int64_t due;        /* when it may be asked for again */
    bool wanted;
    LIST_ENTRY(pool) next;
};

struct space {
    struct cluster_link *link;
    pthread_mutex_t lock; /* everything below; a leaf, never held over a call to the cluster */
    pthread_cond_t wanted;
    pthread_cond_t answered;
    LIST_HEAD(pool_list, pool) pools; /* never shorter */
    size_t count;
};

/* Called with the lock held. NULL: too many, or out of memory. */
static struct pool *find_or_add(struct space *space, const char *name)
{
    struct pool *pool = NULL;

    LIST_FOREACH(pool, &space->pools, next)
    {
        if (strcmp(pool->name, name) == 0)
            return pool;
    }
    if (space->count == POOLS_MAX)
        return NULL;
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return NULL;
    snprintf(pool->name, sizeof(pool->name), "%s", name);
    LIST_INSERT_HEAD(&space->pools, pool, next);
    space->count++;
    return pool;
}

int space_look(struct space *space, const char *name, struct error *err)
{
    const struct timespec until = deadline_timespec(deadline_in_ms(WAIT_MS));
    WITH_LOCK(&space->lock);
    struct pool *pool = find_or_add(space, name);

    if (!pool)
        return 0;
    if (!pool->wanted && clock_now() >= pool->due) {
        pool->wanted = true;
        pthread_cond_signal(&space->wanted);
    }
    while (pool->wanted) {
        if (pthread_cond_timedwait(&space->answered, &space->lock, &until) == ETIMEDOUT)
            break;
    }
    if (pool->known.code < 0)
        *err = pool->known;
    return pool->known.code;
}

static struct pool *wait_for_wanted(struct space *space)
{
    struct pool *pool = NULL;
    WITH_LOCK(&space->lock);

    for (;;) {
        LIST_FOREACH(pool, &space->pools, next)
        {
            if (pool->wanted)
                return pool;
        }
        pthread_cond_wait(&space->wanted, &space->lock);
    }
}

static int ask(struct space *space, const char *pool, struct error *ret)
{
    struct cluster *cluster;
    int r = cluster_link_get(space->link, deadline_in_ms(LINK_MS), &cluster, NULL);

    if (r < 0)
        return r;
    r = volume_check_space(cluster, pool, ret);
    /* Monitors that do not answer are no sign that the OSDs would not. */
    cluster_link_put(space->link, cluster, r == -ESHUTDOWN ? r : 0);
    return r;
}

static void *space_main(void *arg)
{
    struct space *space = arg;

    pthread_setname_np(pthread_self(), "space");
    for (;;) {
        struct pool *pool = wait_for_wanted(space);
        struct error words = {0};
        int r = ask(space, pool->name, &words); /* nobody changes a name */
        WITH_LOCK(&space->lock);

        if (r == 0 || r == -ENOSPC || r == -EDQUOT)
            pool->known = words;
        pool->due = deadline_in_ms(LIFE_MS);
        pool->wanted = false;
        pthread_cond_broadcast(&space->answered);
    }
    return NULL;
}

int space_start(struct cluster_link *link, struct space **ret, struct error *err)
{
    struct space *space = calloc(1, sizeof(*space));
    pthread_t thread;
    int r;

    if (!space)
        return error_set(err, -ENOMEM, "out of memory");
    space->link = link;
    pthread_mutex_init(&space->lock, NULL);
    pthread_cond_init(&space->wanted, NULL);
    clock_init_cond(&space->answered);
    LIST_INIT(&space->pools);
    r = -pthread_create(&thread, NULL, space_main, space);
    if (r < 0) {
        free(space);
        return error_errno(err, r, "cannot start the thread that asks how full pools are");
    }
    pthread_detach(thread);
    *ret = space;
    return 0;
}
