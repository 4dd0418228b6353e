/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "image/io.h"

/* The memory of requests in flight: a fixed number of calls, and page-aligned buffers for reads in
 * two sizes of which a bounded number stays allocated while idle. Nothing is allocated per request
 * as long as the load does not grow, and a request never fails for want of memory: it waits until
 * an earlier one has ended. Any thread. */

struct fuse_server;
struct fuse_pool;

/* One request on its way through the image. */
struct fuse_call {
    struct image_request image;
    struct fuse_server *server;
    uint64_t unique;
    int64_t started;        /* CLOCK_MONOTONIC ns: when it was read */
    void *buffer;           /* of a read, else NULL */
    int large;              /* which size of buffer */
    struct fuse_call *next; /* used by the pool only */
};

/* A pool of CALLS calls. 0 or -ENOMEM. */
int fuse_pool_open(unsigned calls, struct fuse_pool **ret);

/* A call with a buffer of at least BUFFER_BYTES (0: none; at most FUSE_WIRE_IO_MAX). Waits for one
 * to come back when all are in use; never NULL. */
struct fuse_call *fuse_pool_get(struct fuse_pool *pool, size_t buffer_bytes);
void fuse_pool_put(struct fuse_pool *pool, struct fuse_call *call);

unsigned fuse_pool_busy(struct fuse_pool *pool); /* calls that have not come back */

void fuse_pool_free(struct fuse_pool *pool); /* waits for all calls to come back; accepts NULL */
