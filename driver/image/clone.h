/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"

/* Clones (v2) of an image's snapshots: images that read through to it until they have an object of
 * their own (io.h). The snapshot counts its children; `rbd children` lists them.
 *
 * How a clone comes and goes (lifecycle.h has the rest):
 *
 *   step                                         after a crash here
 *   its header is made                           deleted by the sweep
 *   its header names the parent                  likewise; the parent does not know it yet
 *   the parent's header names it                 likewise, and struck off there
 *   image_publish                                (a clone)
 *   ...
 *   image_delete: its data, then it is struck    goes on; striking off twice does no harm
 *     off at the parent, then its header
 *
 * A snapshot that was removed while it had clones goes with the last of them: at once, if nobody
 * has the parent open, and otherwise when its owner next creates or removes a snapshot. */

/* Name PARENT in the header of image ID, of which OVERLAP bytes are to show, and the image in the
 * parent's. 0; -ENOENT (the snapshot is gone); or another errno. Repeating it does no harm. */
int clone_attach(struct cluster *cluster, const char *id, const struct rbd_parent *parent,
                 uint64_t overlap, int64_t deadline, struct error *err);

/* Strike an image that has a parent off there, once nothing of it needs the parent any more. 0,
 * also when it is not listed; or a negative errno. Repeating it does no harm. */
int clone_strike_off(struct cluster *cluster, const struct image_header *header, int64_t deadline,
                     struct error *err);

/* After that: the parent's snapshot may have been kept for this clone alone. What fails is done by
 * the next one. */
void clone_drop_unneeded(struct cluster *cluster, const struct image_header *header,
                         int64_t deadline);

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

static inline void cleanup_childrenp(struct children *children)
{
    children_free(children);
}
#define cleanup_children __attribute__((cleanup(cleanup_childrenp)))

/* The clones (v2) of a snapshot. Those whose name cannot be read are in it with what is known. 0,
 * also when there is no such snapshot; -ETIMEDOUT, or another errno. Blocks up to the deadline; any
 * thread but librados' own. */
int clone_children(struct cluster *cluster, const char *id, uint64_t snap_id, int64_t deadline,
                   struct children *ret, struct error *err);

/* The clones of all snapshots of an image in words, "pool/name, pool/name": as many as fit into
 * TEXT, and how many more. Returns their number, 0 with "" when there is none, or a negative errno.
 */
int clone_list_children(struct cluster *cluster, const struct image_header *header,
                        int64_t deadline, char *text, size_t size, struct error *err);
