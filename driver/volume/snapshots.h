/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/rollback.h"
#include "image/snapshot.h"
#include "image/snapshot_usage.h"
#include "rados/cluster.h"
#include "volume/options.h"

/* A volume's snapshots, for callers who know it by its name: image/snapshot.h and image/rollback.h
 * with words about volumes. -ENOENT says whether the volume or the snapshot is missing. Calls block
 * up to the deadline; any thread but librados' own. */

/* "db@monday" to its two names, which are checked. 0, or -EINVAL with err. Pure. */
int volume_parse_snapshot(const char *text, char ret_volume[RBD_NAME_MAX],
                          char ret_snapshot[SNAPSHOT_NAME_MAX], struct error *err);

/* Take a snapshot, frozen and consistent where the volume is mounted, by us or by its owner (see
 * snapshot_create, also for the errors). SNAPSHOT NULL: its name is the UTC time. */
int volume_snapshot_create(struct cluster *cluster, const char *volume, const char *snapshot,
                           const char *host, int64_t deadline, struct snapshot *ret,
                           struct error *err);

/* As snapshot_list. */
int volume_snapshot_list(struct cluster *cluster, const char *volume, bool with_trashed,
                         int64_t deadline, struct snapshots *ret, struct error *err);

/* All of them, trashed ones too, and what space each keeps by itself (snapshot_usage.h): *ret_used
 * is one allocation, free(). */
int volume_snapshot_usage(struct cluster *cluster, const char *volume,
                          const struct snapshot_usage *options, int64_t deadline,
                          struct snapshots *ret, uint64_t **ret_used, struct error *err);

/* Remove one. *ret_trashed: clones still need its data, which go with the last of them. */
int volume_snapshot_remove(struct cluster *cluster, const char *volume, const char *snapshot,
                           const char *host, int64_t deadline, bool *ret_trashed,
                           struct error *err);

int volume_snapshot_protect(struct cluster *cluster, const char *volume, const char *snapshot,
                            bool protect, int64_t deadline, struct error *err);

/* Call one TO from now on; as snapshot_rename. Its id, what it holds and its clones stay. */
int volume_snapshot_rename(struct cluster *cluster, const char *volume, const char *snapshot,
                           const char *to, int64_t deadline, struct error *err);

/* Bring the volume's contents and size back to those of one of its snapshots, in place, after a
 * snapshot of what there is now. Refused with -EBUSY while any client has the volume open (err
 * names it), and with -EROFS for one with access=ro. What was cut off is gone on with by the next
 * call; the volume cannot be mounted until then. See image_rollback. */
int volume_restore(struct cluster *cluster, const char *volume, const struct rollback *rollback,
                   int64_t deadline, struct rollback_result *ret, struct error *err);
