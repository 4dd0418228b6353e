/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "block/counters.h"
#include "block/io_pool.h"
#include "image/io.h"

/* Answering the kernel's requests for the one file: what needs no data is answered at once, the
 * rest becomes a request to the image and is answered when that is done, in any order.
 *
 * A write is answered when RADOS has it on all replicas, so there is never anything to flush. The
 * kernel is told so (FSYNC is not implemented), and a flush of the device, which covers the writes
 * that were answered before it, ends in the kernel. */

struct fuse_server {
    int fd; /* /dev/fuse, or a socket in tests */
    struct image_io *io;
    struct io_pool *pool;
    const char *name;     /* of the file */
    uint32_t block_bytes; /* the file ends at a multiple of it */
    int read_only;
    struct backend_counters counters;
};

/* Serve one packet. Its bytes are no longer used on return. Waits while librados or the pool are at
 * their limits. Any thread but librados' own. */
void fuse_serve(struct fuse_server *server, const void *packet, size_t len);

uint64_t fuse_server_size(const struct fuse_server *server); /* of the file, bytes */
