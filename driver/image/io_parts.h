/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <rados/librados.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "image/image.h"
#include "image/io.h"

/* What the files of an open image's I/O share (io.h is for everyone else):
 *
 *   io_open.c    opening, with the parents; closing
 *   io.c         the snapshot context, pausing; requests
 *   io_extent.c  a request's part on one object
 *   io_copyup.c  giving a clone an object of its own
 *
 * Locks, in this order: context, then idle_lock or copyups.lock. None is held while a request's
 * done() is called. */

struct copyup;
TAILQ_HEAD(copyup_list, copyup);
TAILQ_HEAD(request_queue, image_request);

struct extent;
STAILQ_HEAD(extent_list, extent);

struct image_io {
    rados_ioctx_t io;
    uint8_t order;
    char prefix[IMAGE_PREFIX_MAX];
    _Atomic uint64_t size;
    atomic_bool fenced;
    bool is_snapshot; /* what it holds never changes */

    /* A clone: what it shows where it has no object. NULL: it is none. */
    struct cluster *parent_cluster;
    struct image_io *parent;
    _Atomic uint64_t overlap; /* bytes of the parent that show */
    rados_ioctx_t bare;       /* as io, without a snapshot context: for copying up */
    struct {
        pthread_mutex_t lock; /* these, and the extents waiting for each */
        struct copyup_list running;
        struct copyup_list queued;
        unsigned count; /* running */
        unsigned most;
    } copyups;

    /* An ioctx has one snapshot context for all that is submitted on it, read at submission:
     * submitters share the lock, a change of the context takes it alone. */
    pthread_rwlock_t context;
    struct rbd_snap_context snapc; /* the same, for adding to it */

    pthread_mutex_t idle_lock; /* from here on */
    pthread_cond_t idle;       /* in_flight fell to 0, or paused to false */
    unsigned in_flight;
    bool paused;
    struct request_queue
        changes; /* under way, oldest first; a flush is over when it is the first */
};

/* A request's part on one object: one operation, or on a clone several (io_extent.c). */
struct extent {
    struct image_request *request;
    uint64_t number; /* of the object */
    uint64_t from;   /* in the object, bytes */
    uint64_t length;
    char *buffer; /* READ: where it goes; WRITE: the bytes */
    char *kept;   /* WRITE that may have to be done again: a copy of the bytes */

    bool guarded;        /* the operation under way fails when the object does not exist */
    bool parent_is_zero; /* all that the parent has of the object is zeroes */
    unsigned tries;
    rados_completion_t completion;
    rados_write_op_t write_op; /* or NULL */
    uint64_t stat_size;
    time_t stat_time;
    struct image_request parent_read;
    STAILQ_ENTRY(extent) waiting;
};

/* Start the part of REQUEST that lies in one object: LENGTH bytes from image offset OFFSET. Called
 * with the context locked. */
int extent_start(struct image_io *io, struct image_request *request, uint64_t offset,
                 uint64_t length);

/* Go on after its object was copied up. RESULT: 0; COPYUP_NOTHING; or a negative errno. */
void extent_resume(struct extent *extent, int result);

/* One part of the request is over, with a negative errno or 0; the last one reports. */
void request_drop(struct image_request *request, int result);

/* How many bytes of object NUMBER show the parent's. */
uint64_t copyup_overlap(const struct image_io *io, uint64_t number);

/* EXTENT needs its object, which does not exist: have it copied up, then extent_resume. */
#define COPYUP_NOTHING 1 /* the parent has nothing but zeroes there, and none was made */
void copyup_wait(struct image_io *io, struct extent *extent);

void copyup_init(struct image_io *io);
void copyup_destroy(struct image_io *io);
