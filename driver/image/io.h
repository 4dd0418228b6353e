/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"

/* Reading and writing an open image: a linear array of bytes cut into objects of 1 << order bytes.
 *
 * Requests are asynchronous. RADOS acknowledges a write when all replicas have it, so a completed
 * write is durable; a flush waits for the writes submitted before it. Who may write is the business
 * of ownership.h: nothing here checks the lock.
 *
 * A clone shows its parent's snapshot where it has no object of its own, and has one from the first
 * change on: the parent's bytes are copied up first, for the clone's snapshots too. Parents may be
 * clones. */

struct image_io;

/* Open the I/O side of an image whose header was read, and that of its parents. Copies what it
 * needs. CLUSTER's kind decides whether requests wait for ever or fail with -ETIMEDOUT; it must
 * outlive the result. 0, or negative errno with err set. Blocks for the headers of parents, at most
 * IMAGE_IO_OPEN_MS. */
#define IMAGE_IO_OPEN_MS 30000
int image_io_open(struct cluster *cluster, const struct image_header *header, struct image_io **ret,
                  struct error *err);

/* The same for what SNAP_ID, a snapshot of the image, holds: SNAP_SIZE bytes, that never change.
 * All requests but reads and flushes fail with -EROFS. Nobody needs to own the image for that. */
int image_io_open_snapshot(struct cluster *cluster, const struct image_header *header,
                           uint64_t snap_id, uint64_t snap_size, struct image_io **ret,
                           struct error *err);

/* From now on requests that need space fail with -ENOSPC or -EDQUOT while the pool is full, instead
 * of waiting until it is not. Before the first request. */
void image_io_fail_when_full(struct image_io *io);

/* Wait for all requests to end, then free. Accepts NULL. */
void image_io_close(struct image_io *io);

uint64_t image_io_size(const struct image_io *io);        /* bytes */
uint64_t image_io_object_size(const struct image_io *io); /* bytes */
unsigned image_io_in_flight(const struct image_io *io);   /* requests not done yet */

/* Take over size, snapshot context and overlap with the parent of a header that was read again.
 * Requests submitted before keep the old context. A context whose newest id ever is older than what
 * is in use is not taken over, nor is a larger overlap: someone read the header before a snapshot
 * was added, or before the image parted from its parent. Any thread. */
int image_io_refresh(struct image_io *io, const struct image_header *header, struct error *err);

/* Let no request past until image_io_resume: those submitted before are waited for, those submitted
 * from now on wait inside image_submit. One pause at a time. 0, or -ETIMEDOUT: the requests under
 * way did not end by the deadline, and nothing is paused. Any thread but those that librados calls
 * done() on. */
int image_io_pause(struct image_io *io, int64_t deadline);
void image_io_resume(struct image_io *io);

/* While paused: once resumed, write under the snapshot SNAP_ID, newer than all there are. */
int image_io_add_snapshot(struct image_io *io, uint64_t snap_id, struct error *err);

/* From now on every request fails with -ESHUTDOWN at once (this client was fenced). A request that
 * the cluster refuses for that reason does this by itself. */
void image_io_fence(struct image_io *io);
/* Wait until no request is under way: 0, or -ETIMEDOUT. Of use once new ones are refused. */
int image_io_drain(struct image_io *io, int64_t deadline);
bool image_io_is_fenced(const struct image_io *io);

enum image_io_kind {
    IMAGE_READ,
    IMAGE_WRITE,
    IMAGE_DISCARD,      /* afterwards the range reads as zeroes and its space is free */
    IMAGE_WRITE_ZEROES, /* the same; kept apart because a discard may round, this may not */
    IMAGE_COPY_UP, /* what a parent shows in the range becomes the image's own; nothing changes */
    IMAGE_FLUSH,   /* offset and length are ignored */
};

/* A request belongs to the caller, who fills the first part and leaves it alone until done() is
 * called: once, from a librados thread (or from image_submit itself when it fails at once), with 0
 * or a negative errno. done() must not block and may free the request.
 * A read's buffer must live until done(); a write's bytes are copied before image_submit returns.
 * The range must lie inside the image (done gets -EINVAL otherwise). */
struct image_request {
    enum image_io_kind kind;
    uint64_t offset; /* bytes */
    uint64_t length; /* bytes */
    void *buffer;    /* READ: filled, WRITE: taken */
    bool zeroed;     /* READ: the buffer is all zeroes already, and only the rest is filled in: no
                      * byte from data_end on is touched */
    void (*done)(struct image_request *request, int result);
    /* used by image_submit only */
    struct image_io *io;
    TAILQ_ENTRY(image_request) link;
    atomic_uint pending;
    atomic_int result;
    _Atomic uint64_t data_end; /* bytes; for READ and done() */
};

/* Start a request. May block while librados' in-flight limits are used up or the I/O is paused. Any
 * thread but librados' own. */
void image_submit(struct image_io *io, struct image_request *request);

/* Submit and wait. 0 or a negative errno. Not for librados' threads. */
int image_run(struct image_io *io, enum image_io_kind kind, uint64_t offset, uint64_t length,
              void *buffer);
