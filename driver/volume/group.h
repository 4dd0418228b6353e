/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/snapshot_group.h"
#include "rados/cluster.h"

/* Several volumes that are worth something together only: a database and its log, all of one
 * application. Calls block up to the deadline; any thread but librados' own. */

struct volume_group {
    struct snapshot_member *members; /* sorted by name */
    size_t count;
};
void volume_group_free(struct volume_group *group); /* leaves it empty */

static inline void cleanup_volume_groupp(struct volume_group *group)
{
    volume_group_free(group);
}
#define cleanup_volume_group __attribute__((cleanup(cleanup_volume_groupp)))

/* Does a volume with LABELS have WANTED, "key" or "key=value"? Pure. */
bool volume_has_label(const struct rbd_pairs *labels, const char *wanted);

/* The COUNT volumes called NAMES. 0; -EINVAL (none, more than SNAPSHOT_GROUP_MAX, or one twice);
 * -ENOENT (err names the one that there is not); -ETIMEDOUT; ... */
int volume_group_by_names(struct cluster *cluster, const char *const names[], size_t count,
                          int64_t deadline, struct volume_group *ret, struct error *err);

/* Those with LABEL, "key" or "key=value". 0; -EINVAL (LABEL is neither, or too many have it);
 * -ENOENT (none has it); or a negative errno with err naming a volume whose labels cannot be read:
 * it might be one of them. */
int volume_group_by_label(struct cluster *cluster, const char *label, int64_t deadline,
                          struct volume_group *ret, struct error *err);

/* Take a snapshot of each, of all of them or of none, at one point in time: snapshot_group_create,
 * also for the errors. SNAPSHOT NULL: the UTC time is the name of each. PROGRESS (may be NULL) is
 * given words for each step. */
int volume_group_snapshot(struct cluster *cluster, const struct volume_group *group,
                          const char *snapshot, const char *host,
                          void (*progress)(void *arg, const char *step), void *arg,
                          int64_t deadline, struct error *err);
