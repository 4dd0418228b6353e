/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/metrics.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "plugin/server/metrics_data.h"
#include "plugin/server/metrics_measure.h"

#define SCRAPE_WAIT_MS 250
#define FACTS_LIFE_MS  30000

struct metrics {
    struct attach attach;
    struct mounts *mounts;
    struct calls *calls;

    pthread_mutex_t lock; /* everything below; a leaf, never held over a call that may block */
    pthread_cond_t wanted;
    pthread_cond_t measured;
    uint64_t scrapes; /* until now */
    uint64_t served;  /* scrapes that were there when the last measurement began */

    struct metrics_locals locals;
    struct metrics_host host;
    struct metrics_facts_list facts;
    int64_t facts_due; /* when they may be read again */
    int64_t pool_read;
    struct pool_usage pool;
};

/* The threads: of this host, and of the cluster. Each works on copies of its own and hands over
 * what came out. */

static void *local_main(void *arg)
{
    struct metrics *metrics = arg;
    struct metrics_locals old = {0};

    pthread_setname_np(pthread_self(), "metrics-host");
    for (;;) {
        struct metrics_locals locals = {0};
        struct metrics_host host = {0};
        uint64_t scrapes;

        pthread_mutex_lock(&metrics->lock);
        while (metrics->scrapes == metrics->served)
            pthread_cond_wait(&metrics->wanted, &metrics->lock);
        scrapes = metrics->scrapes;
        pthread_mutex_unlock(&metrics->lock);

        metrics_measure_host(&metrics->attach, &host);
        metrics_measure_volumes(&metrics->attach, metrics->mounts, &old, &locals);

        pthread_mutex_lock(&metrics->lock);
        /* The old ones stay until the next round: that is where what does not answer comes from. */
        free(old.items);
        old = locals;
        metrics->locals = locals;
        metrics->host = host;
        metrics->served = scrapes;
        pthread_cond_broadcast(&metrics->measured);
        pthread_mutex_unlock(&metrics->lock);
    }
    return NULL;
}

static void wait_until_facts_are_wanted(struct metrics *metrics)
{
    uint64_t seen;
    WITH_LOCK(&metrics->lock);

    for (seen = metrics->scrapes; metrics->scrapes == seen || clock_now() < metrics->facts_due;)
        pthread_cond_wait(&metrics->wanted, &metrics->lock);
}

static void *facts_main(void *arg)
{
    struct metrics *metrics = arg;
    struct metrics_facts_list old = {0};

    pthread_setname_np(pthread_self(), "metrics-facts");
    for (;;) {
        struct metrics_facts_list facts = {0};
        struct pool_usage pool;
        bool has_facts;
        bool has_pool;

        wait_until_facts_are_wanted(metrics);
        has_facts = metrics_read_facts(&metrics->attach, metrics->mounts, &old, &facts) == 0;
        has_pool = metrics_read_pool(&metrics->attach, &pool) == 0;

        pthread_mutex_lock(&metrics->lock);
        if (has_facts) {
            free(old.items);
            old = facts;
            metrics->facts = facts;
        }
        if (has_pool) {
            metrics->pool = pool;
            metrics->pool_read = clock_now();
        }
        metrics->facts_due = deadline_in_ms(FACTS_LIFE_MS);
        pthread_mutex_unlock(&metrics->lock);
    }
    return NULL;
}

/* Ask for a measurement, and wait a moment for it. Called with the lock held. */
static void wait_for_news(struct metrics *metrics)
{
    const struct timespec until = deadline_timespec(deadline_in_ms(SCRAPE_WAIT_MS));
    const uint64_t mine = ++metrics->scrapes;

    pthread_cond_broadcast(&metrics->wanted);
    while (metrics->served < mine) {
        if (pthread_cond_timedwait(&metrics->measured, &metrics->lock, &until) == ETIMEDOUT)
            break;
    }
}

void metrics_answer(struct metrics *metrics, struct reply *reply)
{
    struct metrics_data data = {.settings = metrics->attach.settings};
    struct metrics_text text;
    struct rlimit files;

    metrics_text_init(&text, METRICS_TEXT_MAX);
    calls_look(metrics->calls, data.workers);
    cluster_link_look(metrics->attach.link, &data.link);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        data.max_fds = files.rlim_cur;
    {
        WITH_LOCK(&metrics->lock);

        wait_for_news(metrics);
        data.now = clock_now();
        data.facts = metrics->facts.items;
        data.facts_count = metrics->facts.count;
        data.volumes = metrics->facts.volumes;
        data.volumes_left_out = metrics->facts.left_out;
        data.locals = metrics->locals.items;
        data.local_count = metrics->locals.count;
        data.host = metrics->host;
        data.pool = metrics->pool;
        data.pool_read = metrics->pool_read;
        metrics_print(&text, &data);
    }
    reply->type = METRICS_TYPE;
    reply->body = steal_pointer(&text.bytes);
}

static int start_thread(void *(*main)(void *), void *arg, struct error *err)
{
    pthread_t thread;
    int r = -pthread_create(&thread, NULL, main, arg);

    if (r < 0)
        return error_errno(err, r, "cannot start a thread for the metrics");
    pthread_detach(thread);
    return 0;
}

int metrics_start(const struct attach *attach, struct mounts *mounts, struct calls *calls,
                  struct metrics **ret, struct error *err)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics));
    int r;

    if (!metrics)
        return error_errno(err, -ENOMEM, "cannot start the metrics");
    metrics->attach = *attach;
    metrics->mounts = mounts;
    metrics->calls = calls;
    pthread_mutex_init(&metrics->lock, NULL);
    clock_init_cond(&metrics->wanted);
    clock_init_cond(&metrics->measured);
    r = start_thread(local_main, metrics, err);
    if (r == 0)
        r = start_thread(facts_main, metrics, err);
    *ret = metrics;
    return r;
}
