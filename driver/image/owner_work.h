/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/io.h"
#include "rados/cluster.h"

/* What an owner does to its image's header. Each changes it in one operation that fails with -EBUSY
 * when the lock is not COOKIE's any more, so a client that was displaced changes nothing. COOKIE:
 * that of our lock. Calls block up to the deadline; any thread but librados' own. */

struct owned_image {
    struct cluster *cluster;
    const char *id;
    const char *cookie;
    struct image_io *io; /* paused when snapshots are added; NULL: nobody writes */
};

/* A fresh id, the snapshot NAME in the header, and (io) further writes under it. 0 with the id;
 * -EEXIST; -EDQUOT; -EBUSY; -ETIMEDOUT (see ownership.h); ... */
int owned_snapshot_add(const struct owned_image *image, const char *name, int64_t deadline,
                       uint64_t *ret_id, struct error *err);

/* Remove, or move to the image's trash namespace when it has clones. 0, -ENOENT, -EBUSY
 * (protected), ... */
int owned_snapshot_remove(const struct owned_image *image, const char *name, int64_t deadline,
                          struct error *err);

/* Remove the snapshots that were removed before while they had clones, and have none any more. What
 * fails is left to the next one. */
void owned_drop_unneeded(const struct owned_image *image, const struct image_header *header,
                         int64_t deadline);

int owned_set_metadata(const struct owned_image *image, const char *key, const char *value,
                       int64_t deadline, struct error *err);

/* Part from the parent, of which nothing shows any more: snapshots too, if the image has the
 * feature deep-flatten. The metadata NOTE goes with it. 0, or a negative errno. */
int owned_part(const struct owned_image *image, const char *note, int64_t deadline,
               struct error *err);

/* Set a size that is not smaller. 0, -EINVAL, ... */
int owned_resize(const struct owned_image *image, uint64_t size, int64_t deadline,
                 struct error *err);

/* Remove all snapshots of an image that has no name, and so no owner either. 0; -EBUSY: one of them
 * is protected or has clones. What was done until then stays done. */
int owned_forget_snapshots(struct cluster *cluster, const struct image_header *header,
                           int64_t deadline);

/* Are there notes that removals left? */
bool owned_has_unreleased(const struct image_header *header);

/* Work off the notes that removals left (snapshot.h). What fails is left to the next one. */
void owned_release_ids(struct cluster *cluster, const struct image_header *header,
                       int64_t deadline);
