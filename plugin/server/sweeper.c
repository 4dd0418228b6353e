/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/sweeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "volume/volume.h"

#define PERIOD_MS  (10 * 60 * 1000)
#define AGAIN_MS   (30 * 1000) /* something had to be left for later, or failed */
#define CONNECT_MS (60 * 1000)
#define SWEEP_MS   (60 * 1000) /* one go; the work is cut into pieces that each may end it */

struct sweeper {
    struct cluster_link *link;
    pthread_mutex_t lock; /* woken */
    pthread_cond_t wake;
    bool woken;
};

/* 0 when all is done, -EAGAIN or another errno when it has to be done again. */
static int sweep(struct sweeper *sweeper)
{
    struct cluster *cluster;
    struct error err = {0};
    int r = cluster_link_get(sweeper->link, deadline_in_ms(CONNECT_MS), &cluster, &err);

    if (r < 0)
        return r; /* the link has said so */
    r = volume_sweep(cluster, deadline_in_ms(SWEEP_MS), &err);
    /* Running out of time on a large volume is no sign of a silent cluster. */
    cluster_link_put(sweeper->link, cluster, r == -ETIMEDOUT ? 0 : r);
    if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT)
        log_warning("removed volumes are not cleaned up yet: %s", err.text);
    return r;
}

static __attribute__((noreturn)) void *sweeper_main(void *arg)
{
    struct sweeper *sweeper = arg;

    pthread_setname_np(pthread_self(), "sweeper");
    for (;;) {
        int64_t pause = sweep(sweeper) == 0 ? PERIOD_MS : AGAIN_MS;
        struct timespec until = deadline_timespec(deadline_in_ms(pause));

        pthread_mutex_lock(&sweeper->lock);
        while (!sweeper->woken) {
            if (pthread_cond_timedwait(&sweeper->wake, &sweeper->lock, &until) == ETIMEDOUT)
                break;
        }
        sweeper->woken = false;
        pthread_mutex_unlock(&sweeper->lock);
    }
}

int sweeper_start(struct cluster_link *link, struct sweeper **ret, struct error *err)
{
    struct sweeper *sweeper = calloc(1, sizeof(*sweeper));
    pthread_t thread;
    int r;

    if (!sweeper)
        return error_errno(err, -ENOMEM, "cannot start the sweeper");
    sweeper->link = link;
    pthread_mutex_init(&sweeper->lock, NULL);
    clock_init_cond(&sweeper->wake);
    r = pthread_create(&thread, NULL, sweeper_main, sweeper);
    if (r != 0) {
        free(sweeper);
        return error_errno(err, -r, "cannot start the sweeper");
    }
    pthread_detach(thread);
    *ret = sweeper;
    return 0;
}

void sweeper_wake(struct sweeper *sweeper)
{
    WITH_LOCK(&sweeper->lock);

    sweeper->woken = true;
    pthread_cond_signal(&sweeper->wake);
}
