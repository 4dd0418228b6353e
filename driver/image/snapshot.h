/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"

/* Snapshots of an image, as `rbd snap` makes and shows them.
 *
 * Creation and removal are the owner's business, because what it writes must go out under the new
 * snapshot context. So each call looks for the owner first:
 *
 *   lock           who does it
 *   free           we do, holding the lock for the time it takes
 *   held, alive    the owner, asked by a notify on the header as librbd asks it (owner_call.h)
 *   held, dead     we do; its lock is broken and the takeover recorded (ownership.h)
 *   held, silent   nobody: -ETIMEDOUT at the deadline, err names the holder
 *
 * An owner that serves a mounted file system freezes it meanwhile (ownership.h, "freeze"), so the
 * snapshot is what a clean unmount would leave; of an owner without (librbd, krbd) it is what a
 * power cut would leave, and of an image nobody has open simply what it holds.
 *
 * What others see changes in one operation on the header, so a crash leaves the old state or the
 * new one, and only the cluster's own bookkeeping may be left for later:
 *
 *   create: step              after a crash here
 *   take an id                an unused id, which costs nothing
 *   add it to the header      (a snapshot)
 *
 *   remove: step              after a crash here
 *   drop it from the header,  gone; its data stay until the note is worked off
 *     and note the id
 *   remove its object map,    gone, and the note is one too many
 *     release the id
 *   drop the note             (gone)
 *
 * The notes (metadata, SNAPSHOT_RELEASE_KEY) are worked off by whoever creates or removes a
 * snapshot of the image next, or deletes it; releasing an id twice does no harm.
 *
 * HOST is our own name, for the lock's description. Names are 1 to SNAPSHOT_NAME_MAX - 1 bytes of
 * printable ASCII without '/', '@' and blanks, and do not begin with '.'. Calls block up to the
 * deadline; any thread but librados' own. */

#define SNAPSHOT_NAME_MAX RBD_NAME_MAX

#define SNAPSHOT_RELEASE_KEY "docker-volume-rados.release." /* + the id, decimal */

struct snapshot {
    uint64_t id;
    char name[SNAPSHOT_NAME_MAX];
    uint64_t size;           /* bytes: the image's then */
    struct timespec created; /* the OSD's clock */
    bool protected;
    uint32_t child_count; /* clones (v2) that need it */
    bool trashed; /* removed while it had clones: goes with the last of them, `rbd snap ls --all`
                   * shows it, and NAME is what it was called */
};

struct snapshots {
    struct snapshot *items; /* oldest first */
    size_t count;
};
void snapshots_free(struct snapshots *snapshots); /* leaves it empty */

static inline void cleanup_snapshotsp(struct snapshots *snapshots)
{
    snapshots_free(snapshots);
}
#define cleanup_snapshots __attribute__((cleanup(cleanup_snapshotsp)))

/* May a snapshot have this name? 0, or -EINVAL with err naming what is allowed. Pure. */
int snapshot_check_name(const char *name, struct error *err);

/* "20261124-101530.123Z": the UTC time WHEN to the millisecond, a name for one that was given
 * none. Pure. */
void snapshot_default_name(struct timespec when, char ret[SNAPSHOT_NAME_MAX]);

/* All snapshots of image ID, those in the trash namespace only with WITH_TRASHED. Snapshots of
 * groups and mirroring are left out, as `rbd snap ls` does. 0, -ENOENT (no such image),
 * -ETIMEDOUT, -EBADMSG, or another errno. */
int snapshot_list(struct cluster *cluster, const char *id, bool with_trashed, int64_t deadline,
                  struct snapshots *ret, struct error *err);

/* The same of the newest MAX at most; those of groups and the trash count among them. */
int snapshot_list_newest(struct cluster *cluster, const char *id, size_t max, int64_t deadline,
                         struct snapshots *ret, struct error *err);

/* The one called NAME: 0, -ENOENT (err names it), or as snapshot_list. */
int snapshot_find(struct cluster *cluster, const char *id, const char *name, int64_t deadline,
                  struct snapshot *ret, struct error *err);

/* Take a snapshot: see above. 0 with its facts; -EEXIST (name taken: nothing changed), -EINVAL
 * (name), -ENOENT (no such image), -EDQUOT (the image's snapshot limit, or 4096), -EUCLEAN (a
 * restore was cut off: rollback.h), -EIO or -ETIMEDOUT from the freeze (nothing changed),
 * -EOPNOTSUPP or -EROFS (a foreign owner refuses), -ETIMEDOUT (nobody can tell yet whether it was
 * made: list them; if it appears it is whole). */
int snapshot_create(struct cluster *cluster, const char *id, const char *name, const char *host,
                    int64_t deadline, struct snapshot *ret, struct error *err);

/* Remove a snapshot. One with clones goes to the trash namespace of the image, as `rbd` does, and
 * with its last clone. 0 (*ret_trashed: whether it still has clones); -ENOENT; -EBUSY (protected:
 * err says so); -ETIMEDOUT (unknown yet; asking again is safe and then -ENOENT or 0). */
int snapshot_remove(struct cluster *cluster, const char *id, const char *name, const char *host,
                    int64_t deadline, bool *ret_trashed, struct error *err);

/* Protect from removal, or no longer. Needs no owner: only the header changes, and its watchers are
 * told. Clones that do not count as children (v1, of before Mimic) are not looked for: use
 * `rbd snap unprotect` where there may be some. 0 also when it is so already; -ENOENT; -EOPNOTSUPP
 * (the image lacks the feature layering). */
int snapshot_protect(struct cluster *cluster, const char *id, const char *name, bool protect,
                     int64_t deadline, struct error *err);

/* Rename. Needs no owner. 0, -ENOENT, -EEXIST, -EINVAL. */
int snapshot_rename(struct cluster *cluster, const char *id, const char *from, const char *to,
                    int64_t deadline, struct error *err);
