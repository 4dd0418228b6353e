/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "block/counters.h"
#include "block/io_pool.h"
#include "image/io.h"

/* Answering the kernel's requests on one NBD connection: each becomes a request to the image and is
 * answered when that is done, in any order.
 *
 * A write is answered when RADOS has it on all replicas, so there is never anything to flush, and
 * the kernel is not told of any cache. */

struct nbd_server {
    int socket; /* stream, blocking */
    struct image_io *io;
    struct io_pool *pool;
    uint32_t block_bytes; /* the device ends at a multiple of it */
    int read_only;
    struct backend_counters counters;
    pthread_mutex_t receiving; /* of one request with its data */
    pthread_mutex_t sending;   /* of one reply with its data */
};

/* Take one request from the socket and begin it. BUFFER: for the data of a write, NBD_WIRE_IO_MAX
 * bytes, not used any more on return. 0; -ECONNRESET at the end of the connection, or -EBADMSG
 * after something that is no request. Waits for a request, and while librados or the pool are at
 * their limits. Any thread but librados' own, several at a time. */
int nbd_serve(struct nbd_server *server, void *buffer);

uint64_t nbd_server_size(const struct nbd_server *server); /* of the device, bytes */
