/* SPDX-License-Identifier: Apache-2.0 */
#include "image/io.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* A request becomes one RADOS operation per object it touches. Each is an `extent` with a
 * completion of its own; the request is done when the last one is. request->pending counts the
 * extents under way, and image_submit itself while it is still making some. */

#define DATA_OBJECT_NAME_MAX (IMAGE_PREFIX_MAX + 20)

struct image_io {
    rados_ioctx_t io;
    uint8_t order;
    char prefix[IMAGE_PREFIX_MAX];
    _Atomic uint64_t size;
    atomic_bool fenced;
    bool is_snapshot; /* what it holds never changes */

    /* An ioctx has one snapshot context for all that is submitted on it, read at submission:
     * submitters share the lock, a change of the context takes it alone. */
    pthread_rwlock_t context;
    struct rbd_snap_context snapc; /* the same, for adding to it */

    pthread_mutex_t idle_lock; /* in_flight, paused */
    pthread_cond_t idle;       /* in_flight fell to 0, or paused to false */
    unsigned in_flight;
    bool paused;
};

struct extent {
    struct image_request *request;
    rados_completion_t completion;
    rados_write_op_t write_op; /* or NULL */
    char *buffer;              /* reads: where it goes */
    size_t length;
};

int image_io_open(struct cluster *cluster, const struct image_header *header, struct image_io **ret,
                  struct error *err)
{
    cleanup_free struct image_io *io = calloc(1, sizeof(*io));
    int64_t pool = header->data_pool_id >= 0 ? header->data_pool_id : cluster_pool_id(cluster);
    pthread_condattr_t monotonic;
    int r;

    if (!io)
        return error_set(err, -ENOMEM, "out of memory");
    r = cluster_open_pool(cluster, pool, &io->io, err);
    if (r < 0)
        return r;
    io->order = header->order;
    snprintf(io->prefix, sizeof(io->prefix), "%s", header->object_prefix);
    pthread_rwlock_init(&io->context, NULL);
    pthread_mutex_init(&io->idle_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&io->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    r = image_io_refresh(io, header, err);
    if (r < 0) {
        image_io_close(steal_pointer(&io));
        return r;
    }
    *ret = steal_pointer(&io);
    return 0;
}

int image_io_open_snapshot(struct cluster *cluster, const struct image_header *header,
                           uint64_t snap_id, uint64_t snap_size, struct image_io **ret,
                           struct error *err)
{
    int r = image_io_open(cluster, header, ret, err);

    if (r < 0)
        return r;
    rados_ioctx_snap_set_read((*ret)->io, snap_id);
    (*ret)->is_snapshot = true;
    atomic_store(&(*ret)->size, snap_size);
    return 0;
}

void image_io_fail_when_full(struct image_io *io)
{
    rados_set_pool_full_try(io->io);
}

void image_io_close(struct image_io *io)
{
    if (!io)
        return;
    {
        WITH_LOCK(&io->idle_lock);
        while (io->in_flight > 0)
            pthread_cond_wait(&io->idle, &io->idle_lock);
    }
    rados_ioctx_destroy(io->io);
    pthread_cond_destroy(&io->idle);
    pthread_mutex_destroy(&io->idle_lock);
    pthread_rwlock_destroy(&io->context);
    free(io->snapc.snaps);
    free(io);
}

uint64_t image_io_size(const struct image_io *io)
{
    return atomic_load(&io->size);
}

uint64_t image_io_object_size(const struct image_io *io)
{
    return UINT64_C(1) << io->order;
}

unsigned image_io_in_flight(const struct image_io *io)
{
    WITH_LOCK((pthread_mutex_t *)&io->idle_lock);
    return io->in_flight;
}

/* Write under SNAPC from now on, and take over its list. Called with the context locked alone. */
static int use_context(struct image_io *io, struct rbd_snap_context *snapc)
{
    int r = rados_ioctx_selfmanaged_snap_set_write_ctx(io->io, snapc->seq, snapc->snaps,
                                                       (int)snapc->count);

    if (r < 0)
        return r;
    free(io->snapc.snaps);
    io->snapc = *snapc;
    snapc->snaps = NULL;
    return 0;
}

/* A copy of SNAPC with room for, and beginning with, SNAP_ID unless that is 0. */
static int copy_context(const struct rbd_snap_context *snapc, uint64_t snap_id,
                        struct rbd_snap_context *ret)
{
    size_t added = snap_id ? 1 : 0;
    uint64_t *snaps = calloc(snapc->count + added + 1, sizeof(*snaps));

    if (!snaps)
        return -ENOMEM;
    if (added)
        snaps[0] = snap_id;
    if (snapc->count > 0)
        memcpy(snaps + added, snapc->snaps, snapc->count * sizeof(*snaps));
    *ret = (struct rbd_snap_context){
        .seq = added ? snap_id : snapc->seq, .snaps = snaps, .count = snapc->count + added};
    return 0;
}

int image_io_refresh(struct image_io *io, const struct image_header *header, struct error *err)
{
    struct rbd_snap_context snapc = {0};
    int r = copy_context(&header->snapc, 0, &snapc);

    pthread_rwlock_wrlock(&io->context);
    if (r == 0 && snapc.seq >= io->snapc.seq)
        r = use_context(io, &snapc);
    pthread_rwlock_unlock(&io->context);
    free(snapc.snaps);
    if (r < 0)
        return error_errno(err, r, "cannot take over the snapshots of image %s", header->id);
    atomic_store(&io->size, header->size);
    return 0;
}

int image_io_add_snapshot(struct image_io *io, uint64_t snap_id, struct error *err)
{
    struct rbd_snap_context snapc = {0};
    int r;

    pthread_rwlock_wrlock(&io->context);
    r = copy_context(&io->snapc, snap_id, &snapc);
    if (r == 0)
        r = use_context(io, &snapc);
    pthread_rwlock_unlock(&io->context);
    free(snapc.snaps);
    return r < 0 ? error_errno(err, r, "cannot write under the new snapshot") : 0;
}

/* With idle_lock held. */
static int wait_until_idle(struct image_io *io, int64_t deadline)
{
    const struct timespec until = deadline_timespec(deadline);

    while (io->in_flight > 0) {
        if (pthread_cond_timedwait(&io->idle, &io->idle_lock, &until) == ETIMEDOUT)
            return io->in_flight > 0 ? -ETIMEDOUT : 0;
    }
    return 0;
}

int image_io_pause(struct image_io *io, int64_t deadline)
{
    int r;
    WITH_LOCK(&io->idle_lock);

    assert(!io->paused);
    io->paused = true;
    r = wait_until_idle(io, deadline);
    if (r < 0) {
        io->paused = false;
        pthread_cond_broadcast(&io->idle);
    }
    return r;
}

void image_io_resume(struct image_io *io)
{
    WITH_LOCK(&io->idle_lock);
    io->paused = false;
    pthread_cond_broadcast(&io->idle);
}

void image_io_fence(struct image_io *io)
{
    atomic_store(&io->fenced, true);
}

int image_io_drain(struct image_io *io, int64_t deadline)
{
    WITH_LOCK(&io->idle_lock);

    return wait_until_idle(io, deadline);
}

bool image_io_is_fenced(const struct image_io *io)
{
    return atomic_load(&io->fenced);
}

static void request_fail(struct image_request *request, int result)
{
    int none = 0;

    atomic_compare_exchange_strong(&request->result, &none, result);
}

/* One part of the request is over; the last one reports. */
static void request_drop(struct image_request *request)
{
    struct image_io *io = request->io;
    int result;

    if (atomic_fetch_sub(&request->pending, 1) > 1)
        return;
    result = atomic_load(&request->result);
    request->done(request, result); /* may free the request */

    WITH_LOCK(&io->idle_lock);
    if (--io->in_flight == 0)
        pthread_cond_broadcast(&io->idle);
}

/* What an extent's result means to the request: 0 or a negative errno. A missing object is zeroes
 * to a reader and nothing to do for a discard. */
static int extent_result(const struct extent *extent, int r)
{
    if (extent->request->kind == IMAGE_READ && (r >= 0 || r == -ENOENT)) {
        size_t got = r > 0 ? (size_t)r : 0;

        if (got < extent->length)
            memset(extent->buffer + got, 0, extent->length - got);
        return 0;
    }
    if (extent->request->kind != IMAGE_WRITE && r == -ENOENT)
        return 0;
    return r < 0 ? r : 0;
}

static void extent_free(struct extent *extent)
{
    if (extent->write_op)
        rados_release_write_op(extent->write_op);
    if (extent->completion)
        rados_aio_release(extent->completion);
    free(extent);
}

/* Runs on a librados thread. */
static void extent_complete(rados_completion_t completion, void *arg)
{
    struct extent *extent = arg;
    struct image_request *request = extent->request;
    int r = extent_result(extent, rados_aio_get_return_value(completion));

    if (r == -ESHUTDOWN) /* blocklisted: nothing of ours may reach the cluster any more */
        image_io_fence(request->io);
    if (r < 0)
        request_fail(request, r);
    extent_free(extent);
    request_drop(request);
}

/* Discard or zero [from, from + length) of an object: as much as possible by taking space away. */
static int extent_start_zeroes(struct image_io *io, struct extent *extent, const char *object,
                               uint64_t from, uint64_t object_end)
{
    if (from == 0 && extent->length >= object_end)
        return rados_aio_remove(io->io, object, extent->completion);
    extent->write_op = rados_create_write_op();
    if (!extent->write_op)
        return -ENOMEM;
    if (from + extent->length >= object_end)
        rados_write_op_truncate(extent->write_op, from);
    else
        rados_write_op_zero(extent->write_op, from, extent->length);
    return rados_aio_write_op_operate(extent->write_op, io->io, extent->completion, object, NULL,
                                      0);
}

/* Start the part of REQUEST that lies in one object: LENGTH bytes from image offset OFFSET. */
static int extent_start(struct image_io *io, struct image_request *request, uint64_t offset,
                        uint64_t length)
{
    struct extent *extent = calloc(1, sizeof(*extent));
    uint64_t number = offset >> io->order;
    uint64_t from = offset - (number << io->order);
    uint64_t left = image_io_size(io) - (number << io->order);
    uint64_t object_end = left < image_io_object_size(io) ? left : image_io_object_size(io);
    char object[DATA_OBJECT_NAME_MAX];
    int r;

    if (!extent)
        return -ENOMEM;
    extent->request = request;
    extent->length = length;
    snprintf(object, sizeof(object), "%s.%016llx", io->prefix, (unsigned long long)number);
    r = rados_aio_create_completion2(extent, extent_complete, &extent->completion);
    if (r < 0) {
        extent->completion = NULL;
        extent_free(extent);
        return r;
    }

    atomic_fetch_add(&request->pending, 1);
    if (request->buffer)
        extent->buffer = (char *)request->buffer + (offset - request->offset);
    switch (request->kind) {
    case IMAGE_READ:
        r = rados_aio_read(io->io, object, extent->completion, extent->buffer, length, from);
        break;
    case IMAGE_WRITE:
        r = rados_aio_write(io->io, object, extent->completion, extent->buffer, length, from);
        break;
    case IMAGE_DISCARD:
    case IMAGE_WRITE_ZEROES:
        r = extent_start_zeroes(io, extent, object, from, object_end);
        break;
    case IMAGE_FLUSH:
        r = rados_aio_flush_async(io->io, extent->completion);
        break;
    }
    if (r < 0) { /* librados did not take it: its completion will not run */
        extent_free(extent);
        atomic_fetch_sub(&request->pending, 1);
    }
    return r;
}

static int request_start(struct image_io *io, struct image_request *request)
{
    uint64_t size = image_io_size(io);
    uint64_t offset = request->offset;
    uint64_t end = offset + request->length;
    int r = 0;

    if (atomic_load(&io->fenced))
        return -ESHUTDOWN;
    if (io->is_snapshot && request->kind != IMAGE_READ)
        return request->kind == IMAGE_FLUSH ? 0 : -EROFS;
    if (request->kind == IMAGE_FLUSH)
        return extent_start(io, request, 0, 0);
    if (offset > size || request->length > size - offset)
        return -EINVAL;
    while (offset < end && r == 0) {
        uint64_t object_end = ((offset >> io->order) + 1) << io->order;
        uint64_t length = (end < object_end ? end : object_end) - offset;

        r = extent_start(io, request, offset, length);
        offset += length;
    }
    return r;
}

void image_submit(struct image_io *io, struct image_request *request)
{
    int r;

    request->io = io;
    atomic_init(&request->pending, 1);
    atomic_init(&request->result, 0);
    {
        WITH_LOCK(&io->idle_lock);
        while (io->paused)
            pthread_cond_wait(&io->idle, &io->idle_lock);
        io->in_flight++;
    }
    pthread_rwlock_rdlock(&io->context);
    r = request_start(io, request);
    pthread_rwlock_unlock(&io->context);
    if (r < 0)
        request_fail(request, r);
    request_drop(request);
}

struct waiting_request {
    struct image_request request;
    pthread_mutex_t lock; /* done, result */
    pthread_cond_t wake;
    bool done;
    int result;
};

static void waiting_done(struct image_request *request, int result)
{
    struct waiting_request *waiting = (struct waiting_request *)request;

    WITH_LOCK(&waiting->lock);
    waiting->done = true;
    waiting->result = result;
    pthread_cond_signal(&waiting->wake);
}

int image_run(struct image_io *io, enum image_io_kind kind, uint64_t offset, uint64_t length,
              void *buffer)
{
    struct waiting_request waiting = {
        .request = {.kind = kind,
                    .offset = offset,
                    .length = length,
                    .buffer = buffer,
                    .done = waiting_done},
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .wake = PTHREAD_COND_INITIALIZER,
    };

    image_submit(io, &waiting.request);
    WITH_LOCK(&waiting.lock);
    while (!waiting.done)
        pthread_cond_wait(&waiting.wake, &waiting.lock);
    return waiting.result;
}
