/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/snapshot.h"
#include "rados/cluster.h"

/* Snapshots of several images at one point in time: nothing that was written after the snapshot of
 * one, and because of what was in it, is in that of another. All of them are made, or none.
 *
 *   step      of each image, all images at once                       when it fails for one
 *   prepare   is the name free, and who owns the image? A living      nothing has been done
 *             owner is asked from here on (owner_ask.h); where there
 *             is none we take the lock and keep it (owner_self.h)
 *   freeze    the owner freezes what is mounted                       thaw
 *   snap      the owner, or we, add the snapshot                      thaw, undo
 *   thaw      did the freeze hold until now?                          undo
 *   undo      the snapshot is removed again                           err says which one stays
 *
 * Each step ends for all images before the next one begins, and a freeze that its owner says to
 * have held until after the last snapshot makes that a point in time. A freeze ends by itself after
 * OWNERSHIP_FREEZE_MAX_MS, whatever becomes of us: then the thaw finds out, and all is undone.
 *
 * An owner that is not ours (librbd) freezes what its own user has told it to, which may be
 * nothing: of its image the snapshot is what a power cut would leave. krbd takes none. */

#define SNAPSHOT_GROUP_MAX 64

struct snapshot_member {
    char volume[IMAGE_NAME_MAX]; /* the image's name, for words */
    char id[IMAGE_ID_MAX];
    struct snapshot snapshot; /* out */
};

struct snapshot_group {
    struct snapshot_member *members;
    size_t count;     /* 1 to SNAPSHOT_GROUP_MAX, no image twice */
    const char *name; /* of each snapshot */
    const char *host; /* our own, for the lock's description */

    /* Called when a step begins, with words for it, from the calling thread. Optional. */
    void (*progress)(void *arg, const char *step);
    void *arg;
};

/* Take them. 0 with the members' snapshots; -EEXIST (one has a snapshot called so), -EBUSY,
 * -EOPNOTSUPP, -EROFS, -ETIMEDOUT and so on as for snapshot_create, with err naming the volume and
 * what to do. Blocks up to the deadline, of which SNAPSHOT_GROUP_RESERVE_MS are kept for what comes
 * after "prepare"; any thread but librados' own. */
#define SNAPSHOT_GROUP_RESERVE_MS 30000
int snapshot_group_create(struct cluster *cluster, const struct snapshot_group *group,
                          int64_t deadline, struct error *err);
