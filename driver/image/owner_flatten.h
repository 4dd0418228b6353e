/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "image/io.h"

/* A thread that copies up all objects of an image for its owner, beside the I/O: hours, perhaps,
 * which other requests are not to wait for. Few objects at a time, because the first writes to
 * others wait for their turn among them (io_copyup.c). */

struct owner_flatten;

/* What becomes of it; called from the thread. */
struct owner_flatten_hooks {
    /* Several times a second, with objects. Anything but 0 ends it, and is its result. */
    int (*look)(void *arg, uint64_t done, uint64_t total);
    /* Once, the last of all: 0 when all objects are copied, or a negative errno. */
    void (*ended)(void *arg, int result);
    void *arg;
};

/* Begin with the first OVERLAP bytes of IO, which is borrowed until the end was waited for. 0 or a
 * negative errno. */
int owner_flatten_start(struct image_io *io, uint64_t overlap,
                        const struct owner_flatten_hooks *hooks, struct owner_flatten **ret);

/* Wait until it has ended, and free. Accepts NULL. */
void owner_flatten_join(struct owner_flatten *flatten);
