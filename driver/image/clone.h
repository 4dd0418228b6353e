/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/lifecycle.h"
#include "image/snapshot.h"
#include "rados/cluster.h"

/* Clones (v2): images that begin as the contents of another's snapshot and read through to it
 * until they have an object of their own. The snapshot counts its children and cannot go while it
 * has any; `rbd children` lists them.
 *
 * A clone is made like any image (lifecycle.h): prepared unseen, published last. Between the two
 * it is tied to its parent:
 *
 *   step                  after a crash here
 *   image_prepare         deleted by the sweep
 *   attach to the parent  deleted by the sweep
 *   parent counts it      deleted by the sweep, which takes it out of the parent's count first
 *   image_publish         (a clone)
 *
 * Flattening copies what is still the parent's, object by object, and then cuts the tie:
 *
 *   copy up objects       a clone with more objects of its own; the next flatten goes on
 *   parent forgets it     a clone whose tie the parent does not count: the next flatten ends it
 *   detach                (an image of its own)
 */

struct child {
    int64_t pool_id;
    char pool[RBD_NAME_MAX]; /* "" when the pool is gone */
    char namespace[RBD_NAME_MAX];
    char id[IMAGE_ID_MAX];
    char name[IMAGE_NAME_MAX]; /* "" while it is being made or removed */
};

struct children {
    struct child *items; /* children_free */
    size_t count;
};
void children_free(struct children *children); /* leaves it empty */

/* The clones (v2) of a snapshot. 0, -ENOENT, -ETIMEDOUT, ... */
int clone_children(struct cluster *cluster, const char *id, uint64_t snap_id, int64_t deadline,
                   struct children *ret, struct error *err);

/* Prepare a clone of snapshot SNAPSHOT of image PARENT_ID: as image_prepare, and tied to its
 * parent. The size is the snapshot's, the object size the parent's; SPEC's size is ignored. Publish
 * it with image_publish. 0, -ENOENT (no such snapshot), or as image_prepare. */
int clone_prepare(struct cluster *cluster, const char *name, const char *parent_id,
                  const struct snapshot *snapshot, const struct image_spec *spec, int64_t deadline,
                  struct image_header *ret, struct error *err);

/* Make a clone an image of its own. Under the lock, so only while nobody has it open. PROGRESS is
 * called from the calling thread (may be NULL); anything but 0 stops (-ECANCELED), and the next
 * call goes on. 0 (also when it is no clone), -EBUSY, -ETIMEDOUT (call again), ... */
int clone_flatten(struct cluster *cluster, const char *id, const char *host,
                  int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                  int64_t deadline, struct error *err);
