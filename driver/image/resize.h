/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "rados/cluster.h"

/* Make image ID larger. The owner is asked if there is one (`rbd resize` asks it the same way);
 * otherwise we take the lock for the moment. One operation on the header: a crash leaves the old
 * size or the new one. The block device of an owner follows before it answers; growing the file
 * system on it is the business of whoever has it mounted.
 *
 * SIZE in bytes. 0, also when it has that size; -EINVAL (smaller than it is: refused, because a
 * file system cannot be cut; err has both sizes); -ENOENT; -EOPNOTSUPP or -EROFS (a foreign owner
 * refuses); -ETIMEDOUT (unknown yet; asking again is safe). Blocks up to the deadline; any thread
 * but librados' own. */
int image_resize(struct cluster *cluster, const char *id, uint64_t size, const char *host,
                 int64_t deadline, struct error *err);
