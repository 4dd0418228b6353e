/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "rados/cls_lock.h"
#include "rados/cls_rbd.h"
#include "rados/cluster.h"

/* RBD v2 images as control-plane objects: find, read, list, create, publish, remove.
 *
 * Everything an image says of itself is read in one round trip from its header object. All calls
 * block up to their deadline and are for any thread but librados' own. */

#define IMAGE_ID_MAX     RBD_ID_MAX
#define IMAGE_NAME_MAX   RBD_NAME_MAX
#define IMAGE_PREFIX_MAX 96

struct image_header {
    char id[IMAGE_ID_MAX];
    uint64_t size; /* bytes */
    uint8_t order; /* log2 of the object size */
    uint64_t features;
    uint64_t op_features;
    uint64_t flags;
    char object_prefix[IMAGE_PREFIX_MAX];
    int64_t data_pool_id; /* -1: same pool as the header */
    uint64_t stripe_unit; /* bytes; the object size unless STRIPINGV2 */
    uint64_t stripe_count;
    struct rbd_snap_context snapc;
    struct rbd_parent parent; /* pool_id -1: none */
    bool shows_parent;        /* false with a parent: only snapshots of the image need it */
    uint64_t parent_overlap;  /* bytes of it that show where the image has no object of its own */
    struct timespec created;
    struct rbd_pairs metadata;
    struct lock_info lock; /* the exclusive lock "rbd_lock" */
};
void image_header_free(struct image_header *header); /* leaves it empty */

static inline void cleanup_image_headerp(struct image_header *header)
{
    image_header_free(header);
}
#define cleanup_image_header __attribute__((cleanup(cleanup_image_headerp)))

/* NULL when there is no such key. */
const char *image_header_metadata(const struct image_header *header, const char *key);

/* Why an image with this header must not be written by us: 0 when it may be, or -EOPNOTSUPP with
 * err naming the feature and what to do. Object map and fast-diff are allowed: the owner marks them
 * invalid before it writes. */
int image_check_writable(const struct image_header *header, struct error *err);

/* Why we do not know all of an image's parts, so can neither write nor remove it: 0 when we do, or
 * -EOPNOTSUPP with err. */
int image_check_understood(const struct image_header *header, struct error *err);

/* The same for reading one of its snapshots, which never changes, so that more is allowed. */
int image_check_readable(const struct image_header *header, struct error *err);

/* Is it a clone of before Mimic (v1), which only its own pool knows as such? */
static inline bool image_is_old_clone(const struct image_header *header)
{
    return header->parent.pool_id >= 0 && !(header->op_features & RBD_OPERATION_CLONE_CHILD);
}

/* The id of image NAME. 0, -ENOENT (no such image), -ETIMEDOUT, or another errno. */
int image_find(struct cluster *cluster, const char *name, int64_t deadline,
               char ret_id[IMAGE_ID_MAX], struct error *err);

/* All of the header of image ID. 0, -ENOENT, -ETIMEDOUT, -EBADMSG, or another errno. */
int image_read_header(struct cluster *cluster, const char *id, int64_t deadline,
                      struct image_header *ret, struct error *err);

/* Names and ids of all images, sorted by name: *ret holds name (key) and id (value, as the class
 * encodes it: u32 length and bytes decoded to text). rbd_pairs_free. */
int image_list(struct cluster *cluster, int64_t deadline, struct rbd_pairs *ret, struct error *err);

/* Set or (value NULL) remove metadata of image ID. */
int image_set_metadata(struct cluster *cluster, const char *id, const char *key, const char *value,
                       int64_t deadline, struct error *err);

/* The header of image ID has changed: tell all who have it open. Waits for their answers, a few
 * seconds for those who are silent: they find it changed when they come back. */
void image_announce(struct cluster *cluster, const char *id, int64_t deadline);

/* One snapshot's facts. 0, -ENOENT, ... */
int image_snapshot(struct cluster *cluster, const char *id, uint64_t snap_id, int64_t deadline,
                   struct rbd_snapshot *ret, struct error *err);

/* Does snapshot SNAP_ID (RBD_HEAD: the image itself) show the image's parent, and how many bytes of
 * it? 0, -ENOENT, ... */
int image_parent_overlap(struct cluster *cluster, const char *id, uint64_t snap_id,
                         int64_t deadline, bool *ret_shows, uint64_t *ret, struct error *err);
