/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/owner_work.h"
#include "image/ownership.h"
#include "rados/cluster.h"

/* Be the owner of an image that has no living one, without I/O, for as long as some work takes. */

struct owner_self {
    struct ownership *ownership;
    struct owned_image image; /* borrows the id */
};

/* Take the lock, as ownership_acquire does, and do what former owners left to be done. HOST goes
 * into the lock; ID is borrowed until the end. 0; -EBUSY (err names the holder); -ENOENT;
 * -ETIMEDOUT; ... Blocks up to the deadline. */
int owner_self_begin(struct cluster *cluster, const char *id, const char *host, int64_t deadline,
                     struct owner_self *ret, struct error *err);

void owner_self_end(struct owner_self *self);
