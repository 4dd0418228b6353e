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
#include "image/io_parts.h"

/* A request becomes an `extent` for each object it touches (io_extent.c); it is done when the last
 * one is. request->pending counts those under way, and image_submit itself while it is still making
 * some.
 *
 * Changes are in a list in the order they were submitted. A flush has nothing to send, because an
 * acknowledged change is durable: it is in the list too, and over once nothing is before it. */

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
    const uint64_t overlap = header->shows_parent ? header->parent_overlap : 0;
    struct rbd_snap_context snapc = {0};
    int r = copy_context(&header->snapc, 0, &snapc);

    pthread_rwlock_wrlock(&io->context);
    if (r == 0 && snapc.seq >= io->snapc.seq)
        r = use_context(io, &snapc);
    /* Never more: a header that was read before the image parted must not let objects that were
     * taken away since show the parent again. */
    if (r == 0 && overlap < atomic_load(&io->overlap))
        atomic_store(&io->overlap, overlap);
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

/* A change is over: take it, and the flushes that waited for it alone, off the list. */
static void leave_changes(struct image_io *io, struct image_request *request,
                          struct request_queue *flushes)
{
    struct image_request *first;
    WITH_LOCK(&io->idle_lock);

    TAILQ_REMOVE(&io->changes, request, link);
    while ((first = TAILQ_FIRST(&io->changes)) && first->kind == IMAGE_FLUSH) {
        TAILQ_REMOVE(&io->changes, first, link);
        TAILQ_INSERT_TAIL(flushes, first, link);
    }
}

/* All parts of the request are over. */
static void request_end(struct image_request *request)
{
    struct request_queue flushes = TAILQ_HEAD_INITIALIZER(flushes);
    struct image_io *io = request->io;
    struct image_request *flush;
    unsigned ended = 1;

    if (request->kind != IMAGE_READ)
        leave_changes(io, request, &flushes);
    request->done(request, atomic_load(&request->result)); /* may free the request */
    while ((flush = TAILQ_FIRST(&flushes))) {
        TAILQ_REMOVE(&flushes, flush, link);
        flush->done(flush, image_io_is_fenced(io) ? -ESHUTDOWN : 0);
        ended++;
    }

    WITH_LOCK(&io->idle_lock);
    io->in_flight -= ended;
    if (io->in_flight == 0)
        pthread_cond_broadcast(&io->idle);
}

void request_drop(struct image_request *request, int result)
{
    if (result == -ESHUTDOWN) /* blocklisted: nothing of ours may reach the cluster any more */
        image_io_fence(request->io);
    if (result < 0)
        request_fail(request, result);
    if (atomic_fetch_sub(&request->pending, 1) == 1)
        request_end(request);
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
        return -EROFS;
    if (offset > size || request->length > size - offset)
        return -EINVAL;
    if (request->kind == IMAGE_COPY_UP && !io->parent)
        return 0;
    while (offset < end && r == 0) {
        uint64_t object_end = ((offset >> io->order) + 1) << io->order;
        uint64_t length = (end < object_end ? end : object_end) - offset;

        r = extent_start(io, request, offset, length);
        offset += length;
    }
    return r;
}

/* Count the request in; true when there is nothing more to it: a flush that has changes to wait
 * for. */
static bool request_enter(struct image_io *io, struct image_request *request)
{
    WITH_LOCK(&io->idle_lock);

    while (io->paused)
        pthread_cond_wait(&io->idle, &io->idle_lock);
    io->in_flight++;
    if (request->kind != IMAGE_READ) {
        bool waits = request->kind == IMAGE_FLUSH && !TAILQ_EMPTY(&io->changes);

        TAILQ_INSERT_TAIL(&io->changes, request, link);
        return waits;
    }
    return false;
}

void image_submit(struct image_io *io, struct image_request *request)
{
    int r = 0;

    request->io = io;
    atomic_init(&request->pending, 1);
    atomic_init(&request->result, 0);
    atomic_init(&request->data_end, 0);
    if (request_enter(io, request))
        return;
    if (request->kind != IMAGE_FLUSH) {
        pthread_rwlock_rdlock(&io->context);
        r = request_start(io, request);
        pthread_rwlock_unlock(&io->context);
    } else if (image_io_is_fenced(io)) {
        r = -ESHUTDOWN;
    }
    request_drop(request, r);
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
