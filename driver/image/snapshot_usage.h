/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/snapshot.h"

/* How much space each snapshot keeps all by itself: the objects, at their full length, whose state
 * then is neither that of the snapshot before nor that of the one after (or of now). It is what the
 * cluster can drop once the snapshot is removed, before replication; what two snapshots share is
 * counted for neither.
 *
 * The cluster keeps no account of it: every object is looked at in every state, which takes a
 * round trip but no data. */

struct snapshot_usage {
    /* Called from the calling thread several times a second; may be NULL. Anything but 0 ends the
     * work (-ECANCELED). */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

/* Of all of the image's snapshots, trashed ones too, the oldest first, as snapshot_list gives them:
 * RET_BYTES[i] is that of LIST->items[i]. One that is made or removed meanwhile can make its
 * neighbours' wrong. 0; -ENOENT; -ETIMEDOUT; ... Blocks up to the deadline; any thread but
 * librados' own. CLUSTER must be of the CONTROL kind. */
int snapshot_usage(struct cluster *cluster, const char *id, const struct snapshots *list,
                   const struct snapshot_usage *options, int64_t deadline, uint64_t *ret_bytes,
                   struct error *err);
