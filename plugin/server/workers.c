/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/workers.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define IDLE_MS (10 * 1000)

struct job {
    void (*work)(void *arg);
    void *arg;
    STAILQ_ENTRY(job) next;
};

struct workers {
    const char *name;
    size_t limit;
    pthread_mutex_t lock; /* everything below; a leaf: nothing else is taken inside */
    pthread_cond_t work;  /* a job was queued, or the pool is ending */
    pthread_cond_t ended; /* a thread ended */
    STAILQ_HEAD(job_queue, job) queue;
    size_t queued;
    size_t threads;
    size_t idle;
    bool ending;
};

struct workers *workers_new(const char *name, size_t limit)
{
    struct workers *workers = calloc(1, sizeof(*workers));

    if (!workers)
        return NULL;
    workers->name = name;
    workers->limit = limit;
    STAILQ_INIT(&workers->queue);
    pthread_mutex_init(&workers->lock, NULL);
    clock_init_cond(&workers->work);
    clock_init_cond(&workers->ended);
    return workers;
}

/* The next job, or NULL when this thread has idled long enough. Called with the lock held. */
static struct job *next_job(struct workers *workers)
{
    struct timespec until = deadline_timespec(deadline_in_ms(IDLE_MS));
    struct job *job;
    int r = 0;

    workers->idle++;
    while (STAILQ_EMPTY(&workers->queue) && !workers->ending && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&workers->work, &workers->lock, &until);
    workers->idle--;
    job = STAILQ_FIRST(&workers->queue);
    if (job) {
        STAILQ_REMOVE_HEAD(&workers->queue, next);
        workers->queued--;
    }
    return job;
}

static void *worker_main(void *arg)
{
    struct workers *workers = arg;

    pthread_setname_np(pthread_self(), workers->name);
    pthread_mutex_lock(&workers->lock);
    for (struct job *job; (job = next_job(workers));) {
        pthread_mutex_unlock(&workers->lock);
        job->work(job->arg);
        free(job);
        pthread_mutex_lock(&workers->lock);
    }
    workers->threads--;
    pthread_cond_signal(&workers->ended);
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

/* Called with the lock held. */
static int start_thread(struct workers *workers)
{
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    r = pthread_create(&thread, &attr, worker_main, workers);
    pthread_attr_destroy(&attr);
    if (r == 0)
        workers->threads++;
    return -r;
}

int workers_run(struct workers *workers, void (*work)(void *arg), void *arg)
{
    struct job *job = malloc(sizeof(*job));
    WITH_LOCK(&workers->lock);

    if (!job)
        return -ENOMEM;
    /* An idle thread that was signalled still counts as idle until it runs, hence `queued`. */
    if (workers->idle <= workers->queued && workers->threads < workers->limit &&
        start_thread(workers) < 0 && workers->threads == 0) {
        free(job);
        return -EAGAIN;
    }
    *job = (struct job){.work = work, .arg = arg};
    STAILQ_INSERT_TAIL(&workers->queue, job, next);
    workers->queued++;
    pthread_cond_signal(&workers->work);
    return 0;
}

void workers_look(struct workers *workers, struct workers_view *ret)
{
    WITH_LOCK(&workers->lock);

    *ret = (struct workers_view){
        .name = workers->name,
        .busy = workers->threads - workers->idle,
        .queued = workers->queued,
        .limit = workers->limit,
    };
}

void workers_free(struct workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->ending = true;
    pthread_cond_broadcast(&workers->work);
    while (workers->threads > 0)
        pthread_cond_wait(&workers->ended, &workers->lock);
    pthread_mutex_unlock(&workers->lock);
    pthread_cond_destroy(&workers->work);
    pthread_cond_destroy(&workers->ended);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}
