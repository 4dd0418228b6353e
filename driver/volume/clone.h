/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "rados/cluster.h"
#include "volume/options.h"

/* New volumes that begin as what another one held, at once and without a copy: they share its data
 * until they write (image/clone.h). Both are volumes like any other from then on. What is cloned is
 * a snapshot; its volume, and the snapshot, stay as long as a clone needs them. */

/* Make volume NAME out of SNAPSHOT of volume SOURCE; NULL: of what SOURCE holds now, that is, of a
 * snapshot that is taken for it (frozen, by its owner, where it is mounted) and goes with the clone
 * or its need for it.
 *
 * File system, root directory, mount options, size, object size and data pool are the source's
 * unless OPTIONS->given says otherwise: the size may be larger, the mount options and where the
 * data go may differ. Labels, owner and protection are OPTIONS' alone.
 *
 * With access=ro it is a volume that nobody ever writes, so that any number of hosts may have it
 * mounted (image/reader.h): the snapshot to look at.
 *
 * Crash-safe like volume_create: there is a whole volume or none. 0; -EEXIST (NAME exists);
 * -ENOENT (no such volume or snapshot: err names it); -EINVAL (an option that a clone cannot have:
 * err has both values); -EUCLEAN (the source is half restored); -EOPNOTSUPP (the source has
 * features that this driver does not read); -ETIMEDOUT; or another errno. */
int volume_clone(struct cluster *cluster, const char *source, const char *snapshot,
                 const char *name, const struct volume_options *options, int64_t deadline,
                 struct error *err);

/* The same for OPTIONS->from, "source" or "source@snapshot". */
int volume_clone_from(struct cluster *cluster, const char *name,
                      const struct volume_options *options, int64_t deadline, struct error *err);

/* Copy what a clone still shares, so that it needs its source no more: by its owner where it is
 * mounted, beside its I/O, and by ourselves otherwise (image/flatten.h). PROGRESS (may be NULL)
 * counts objects and is called from this thread. Cut off, it goes on where it was when called
 * again. 0, also for what is no clone; -ESHUTDOWN (unmounted or taken over meanwhile); -EBUSY (err
 * names the holder); -EROFS (access=ro, or a foreign owner); -ENOENT; -ETIMEDOUT; ... */
int volume_flatten(struct cluster *cluster, const char *name,
                   void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   int64_t deadline, struct error *err);
