/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"

/* Clones (v2) of an image's snapshots: images that read through to it until they have an object of
 * their own. The snapshot counts its children; `rbd children` lists them. */

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

/* The clones (v2) of a snapshot. Those whose name cannot be read are in it with what is known. 0,
 * also when there is no such snapshot; -ETIMEDOUT, or another errno. Blocks up to the deadline; any
 * thread but librados' own. */
int clone_children(struct cluster *cluster, const char *id, uint64_t snap_id, int64_t deadline,
                   struct children *ret, struct error *err);
