/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "image/io.h"

/* The memory of requests in flight, whichever way they come from the kernel: a fixed number of
 * calls, and page-aligned buffers for reads in a few sizes of which a bounded number stays
 * allocated while idle. Nothing is allocated per request as long as the load does not grow, and a
 * request never fails for want of memory: it waits until an earlier one has ended. Any thread. */

struct io_pool;

/* One request on its way through the image. */
struct io_call {
    struct image_request image;
    void *server;         /* the back end's */
    uint64_t unique;      /* the kernel's name of the request */
    int64_t started;      /* CLOCK_MONOTONIC ns: when it was read */
    void *buffer;         /* of a read, else NULL */
    int size;             /* which size of buffer */
    struct io_call *next; /* used by the pool only */
};

/* A pool of CALLS calls, with buffers of up to BUFFER_MAX bytes, which is at most IO_POOL_MAX. 0 or
 * -ENOMEM. */
#define IO_POOL_MAX (32u * 1024 * 1024)
int io_pool_open(unsigned calls, size_t buffer_max, struct io_pool **ret);

/* A call with a buffer of at least BUFFER_BYTES (0: none). Waits for one to come back when all are
 * in use; never NULL. */
struct io_call *io_pool_get(struct io_pool *pool, size_t buffer_bytes);
void io_pool_put(struct io_pool *pool, struct io_call *call);

unsigned io_pool_busy(struct io_pool *pool); /* calls that have not come back */

void io_pool_free(struct io_pool *pool); /* waits for all calls to come back; accepts NULL */
