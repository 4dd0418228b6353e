/* SPDX-License-Identifier: Apache-2.0 */
#include "image/rollback_objects.h"

#include <errno.h>
#include <pthread.h>
#include <rados/librados.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* librados has no asynchronous rollback for C, so a few threads take object after object:
 *
 *   look     the object's version now and at the snapshot, asked for together; the same version
 *            (or no object at both): unchanged, next
 *   change   the OSD rolls the object back, or removes what was not there
 *
 * A look moves no data and takes one round trip; the change is made on the OSD. A version names one
 * state of one object: a write, also one of the same bytes, makes a new one, and a snapshot keeps
 * that of its copy. */

#define PARALLEL     16
#define PARALLEL_MAX 256

/* The calling thread reports so often. */
#define REPORT_MS 200

#define DATA_OBJECT_NAME_MAX (IMAGE_PREFIX_MAX + 20)

struct work {
    const struct rollback_objects *what;
    rados_ioctx_t head; /* writes under the image's snapshot context */
    rados_ioctx_t snap; /* reads at the snapshot */
    uint64_t snap_objects;
    uint64_t total;

    _Atomic uint64_t next;
    _Atomic uint64_t done;
    _Atomic uint64_t changed;
    atomic_int result; /* the first failure: everyone ends */

    pthread_mutex_t lock; /* running */
    pthread_cond_t ended;
    unsigned running;
};

struct look {
    rados_completion_t completion;
    uint64_t size;
    time_t modified;
};

static int look_begin(struct look *look, rados_ioctx_t io, const char *object)
{
    int r = rados_aio_create_completion2(NULL, NULL, &look->completion);

    if (r < 0)
        return r;
    r = rados_aio_stat(io, object, look->completion, &look->size, &look->modified);
    if (r < 0)
        rados_aio_release(look->completion);
    return r;
}

/* 0 with the object's version, 0 when there is none; or negative errno. */
static int look_end(struct look *look, uint64_t *ret_version)
{
    int r;

    rados_aio_wait_for_complete(look->completion);
    r = rados_aio_get_return_value(look->completion);
    *ret_version = r == 0 ? rados_aio_get_version(look->completion) : 0;
    rados_aio_release(look->completion);
    return r == -ENOENT ? 0 : r;
}

/* 1: the object is not what it was at the snapshot; 0; or negative errno. */
static int has_changed(struct work *work, const char *object)
{
    struct look now, then;
    uint64_t version_now = 0, version_then = 0;
    int r = look_begin(&now, work->head, object);
    int second;

    if (r < 0)
        return r;
    second = look_begin(&then, work->snap, object);
    r = look_end(&now, &version_now);
    if (second == 0)
        second = look_end(&then, &version_then);
    if (r < 0 || second < 0)
        return r < 0 ? r : second;
    return version_now != version_then;
}

static int change(struct work *work, const char *object, bool is_in_snapshot)
{
    int r = is_in_snapshot
                ? rados_ioctx_selfmanaged_snap_rollback(work->head, object, work->what->snap_id)
                : rados_remove(work->head, object);

    return r == -ENOENT ? 0 : r;
}

static int do_object(struct work *work, uint64_t number)
{
    char object[DATA_OBJECT_NAME_MAX];
    bool is_in_snapshot = number < work->snap_objects;
    int r;

    snprintf(object, sizeof(object), "%s.%016llx", work->what->header->object_prefix,
             (unsigned long long)number);
    r = is_in_snapshot ? has_changed(work, object) : 1;
    if (r == 1) {
        r = change(work, object, is_in_snapshot);
        if (r == 0)
            atomic_fetch_add(&work->changed, 1);
    }
    return r;
}

static void *do_objects(void *arg)
{
    struct work *work = arg;
    uint64_t number;

    while (atomic_load(&work->result) == 0 &&
           (number = atomic_fetch_add(&work->next, 1)) < work->total) {
        int none = 0;
        int r = do_object(work, number);

        if (r < 0)
            atomic_compare_exchange_strong(&work->result, &none, r);
        else
            atomic_fetch_add(&work->done, 1);
    }
    {
        WITH_LOCK(&work->lock);
        work->running--;
        pthread_cond_signal(&work->ended);
    }
    return NULL;
}

static struct rollback_progress progress_of(struct work *work)
{
    return (struct rollback_progress){.done = atomic_load(&work->done),
                                      .total = work->total,
                                      .changed = atomic_load(&work->changed)};
}

/* Wait a moment for the threads: true when all have ended. */
static bool wait_a_moment(struct work *work)
{
    const struct timespec until = deadline_timespec(deadline_in_ms(REPORT_MS));
    WITH_LOCK(&work->lock);

    while (work->running > 0 &&
           pthread_cond_timedwait(&work->ended, &work->lock, &until) != ETIMEDOUT)
        ;
    return work->running == 0;
}

/* Report until all is done; a report that asks for it stops the threads. */
static void look_after(struct work *work)
{
    bool ended = false;

    while (!ended) {
        struct rollback_progress progress;
        int none = 0;
        int r;

        ended = wait_a_moment(work);
        progress = progress_of(work);
        r = work->what->progress(work->what->arg, &progress);
        if (r != 0)
            atomic_compare_exchange_strong(&work->result, &none, r);
    }
}

static int run(struct work *work, struct error *err)
{
    unsigned wanted = work->what->parallel ? work->what->parallel : PARALLEL;
    pthread_t threads[PARALLEL_MAX];
    sigset_t all, before;
    unsigned count;
    int r = 0;

    if (wanted > PARALLEL_MAX)
        wanted = PARALLEL_MAX;
    if (wanted > work->total)
        wanted = (unsigned)work->total;
    work->running = wanted;
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (count = 0; count < wanted && r == 0; count++)
        r = -pthread_create(&threads[count], NULL, do_objects, work);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r < 0) {
        WITH_LOCK(&work->lock);
        work->running -= wanted - --count;
        atomic_store(&work->result, r);
    }
    look_after(work);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    r = atomic_load(&work->result);
    return r < 0 ? error_errno(err, r,
                               "cannot roll image %s back to a snapshot (%llu of %llu "
                               "objects are done)",
                               work->what->header->id, (unsigned long long)atomic_load(&work->done),
                               (unsigned long long)work->total)
                 : 0;
}

static int open_ioctxs(struct work *work, struct error *err)
{
    const struct image_header *header = work->what->header;
    struct cluster *cluster = work->what->cluster;
    int64_t pool = header->data_pool_id >= 0 ? header->data_pool_id : cluster_pool_id(cluster);
    int r = cluster_open_pool(cluster, pool, &work->head, err);

    if (r < 0)
        return r;
    r = cluster_open_pool(cluster, pool, &work->snap, err);
    if (r < 0)
        return r;
    rados_ioctx_snap_set_read(work->snap, work->what->snap_id);
    r = rados_ioctx_selfmanaged_snap_set_write_ctx(work->head, header->snapc.seq,
                                                   header->snapc.snaps, (int)header->snapc.count);
    return r < 0 ? error_errno(err, r, "cannot write under the snapshots of image %s", header->id)
                 : 0;
}

static uint64_t objects_of(const struct image_header *header, uint64_t size)
{
    return (size >> header->order) + ((size & ((UINT64_C(1) << header->order) - 1)) != 0);
}

int rollback_objects(const struct rollback_objects *what, struct rollback_progress *ret,
                     struct error *err)
{
    struct work work = {.what = what};
    uint64_t now = objects_of(what->header, what->header->size);
    int r;

    work.snap_objects = objects_of(what->header, what->snap_size);
    work.total = now > work.snap_objects ? now : work.snap_objects;
    pthread_mutex_init(&work.lock, NULL);
    clock_init_cond(&work.ended);
    r = open_ioctxs(&work, err);
    if (r == 0)
        r = run(&work, err);
    *ret = progress_of(&work);
    if (work.head)
        rados_ioctx_destroy(work.head);
    if (work.snap)
        rados_ioctx_destroy(work.snap);
    pthread_cond_destroy(&work.ended);
    pthread_mutex_destroy(&work.lock);
    return r;
}
