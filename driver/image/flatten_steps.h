/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/io.h"
#include "image/owner_work.h"
#include "rados/cluster.h"

/* The two steps of flatten.h, for whoever owns the image: its owner while it is in use
 * (owner_flatten.h), or who takes the lock for it alone. */

/* Is there anything to copy, and did nobody note that all of it is? Pure. */
bool flatten_must_copy(const struct image_header *header);

struct flatten_copy {
    unsigned parallel; /* objects at a time; how many are in memory is io_copyup.c's business */
    /* Called from the calling thread several times a second and at the end, with objects. Anything
     * but 0 ends the copying at once and is its result; what is under way then ends by itself. */
    int (*look)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

/* Copy up all objects of IO's first OVERLAP bytes that still show the parent's. 0 or a negative
 * errno. Blocks as long as the data path does; any thread but librados' own. */
int flatten_copy(struct image_io *io, uint64_t overlap, const struct flatten_copy *how);

/* After that: end the image's need for its parent, in HEADER and at the parent. With image->io, I/O
 * is paused meanwhile, and goes on without the parent. 0; -EBUSY (the lock was taken over);
 * -ETIMEDOUT; or another errno: repeating it does no harm. */
int flatten_part(const struct owned_image *image, const struct image_header *header,
                 int64_t deadline, struct error *err);
