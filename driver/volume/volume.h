/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"
#include "volume/options.h"

/* Volumes: images with a file system and facts of their own, kept as image metadata under
 * "docker-volume-rados.". Any image in the pool is a volume; those not made by us just have fewer
 * facts.
 *
 * Creation and removal are crash-safe through the RBD trash: a new image lives there, marked as
 * being made, until its name is claimed as the last step; a removed one goes there first and its
 * name goes before its data. So a name always leads to a whole volume or to none, and
 * volume_sweep finishes whatever a dead client left half-done.
 *
 * Calls block up to their deadline; any thread. */

/* What is known of a volume, in one flat piece that can be cached while the cluster is away. */
struct volume_facts {
    char name[VOLUME_NAME_MAX];
    char id[IMAGE_ID_MAX];
    uint64_t size;        /* bytes */
    uint64_t used;        /* bytes in the file system at its last unmount; UINT64_MAX: unknown */
    uint64_t object_size; /* bytes */
    uint64_t features;
    uint32_t snapshot_count;
    bool formatted; /* fs, and 4096-byte logical blocks, are known from our metadata */
    enum filesystem fs;
    char mount_options[MOUNT_OPTIONS_MAX];
    bool protect;
    char owner[OWNER_MAX];
    char data_pool[POOL_NAME_MAX];
    char from[FROM_MAX];            /* what it was cloned from; "" when it was not */
    bool read_only;                 /* access=ro */
    char uid[12], gid[12], mode[8]; /* as asked for at creation; "" when unknown */
    struct timespec created;
    struct rbd_pairs labels;    /* volume_facts_free */
    struct rbd_pairs takeovers; /* when (RFC 3339) and what happened; see image/takeover.h */
    struct rbd_pairs restores;  /* likewise; see image/rollback.h */
    struct lock_info lock;      /* holder: count > 0 */
    char unwritable[256];       /* why it cannot be mounted for writing; "" when it can */
};
void volume_facts_free(struct volume_facts *facts);

static inline void cleanup_volume_factsp(struct volume_facts *facts)
{
    volume_facts_free(facts);
}
#define cleanup_volume_facts __attribute__((cleanup(cleanup_volume_factsp)))

/* Make a volume, empty or a clone (options->from). An existing one is success when every option
 * asked for (options->given, labels) is what the volume has, and -EEXIST with err naming the first
 * different option and both values otherwise. SCRATCH_DIR: a local directory for the sparse file in
 * which xfs is made. On failure there is no volume and no debris (or, when the cluster went away
 * meanwhile, debris that volume_sweep removes and nobody sees). */
int volume_create(struct cluster *cluster, const char *name, const struct volume_options *options,
                  const char *scratch_dir, int64_t deadline, struct error *err);

/* Read NAME's facts: two round trips. 0, -ENOENT, -ETIMEDOUT, ... */
int volume_read(struct cluster *cluster, const char *name, int64_t deadline,
                struct volume_facts *ret, struct error *err);

/* May the volume be changed? 0, or -EROFS with err: it has access=ro and is not DOING ("resized").
 * Pure. */
int volume_check_changeable(const struct volume_facts *facts, const char *doing, struct error *err);

/* Where the volume's data are: borrowed from either. */
const char *volume_data_pool(const struct cluster *cluster, const struct volume_facts *facts);

/* Is there room for more in POOL? 0; -ENOSPC or -EDQUOT with words for "health": writes wait then,
 * as on a disk that is slow; or another errno, without words: nobody can tell now. Blocks for up to
 * the monitors' own time limit. */
int volume_check_space(struct cluster *cluster, const char *pool, struct error *err);

/* When the newest snapshot that a user made was taken. 0; -ENODATA when there is none (among the
 * newest few, which is where one of today is); -ENOENT, -ETIMEDOUT, ... */
int volume_newest_snapshot(struct cluster *cluster, const char *id, int64_t deadline,
                           struct timespec *ret, struct error *err);

/* All names: see image_list. Half-made and half-removed images are not among them. */
int volume_list(struct cluster *cluster, int64_t deadline, struct rbd_pairs *ret,
                struct error *err);

/* Remove a volume: it goes into the trash (trash.h) for KEEP_S seconds, or with 0 is deleted.
 * Refused with -EBUSY while any client, on whichever host, has it open or locked (err names the
 * holder), or while a snapshot is protected or has a living clone (err names it), with -EPERM when
 * protected, and, where it would be deleted, with -ENOTEMPTY while it has snapshots.
 * Removing what does not exist is -ENOENT. The name is free when it returns 0; data of large
 * volumes may be deleted later by volume_sweep, which the caller then runs (*ret_more). */
int volume_remove(struct cluster *cluster, const char *name, unsigned keep_s, int64_t deadline,
                  bool *ret_more, struct error *err);

/* Finish what dead clients left: publish or delete half-made images, delete half-removed ones; and
 * delete what volume_remove put into the trash and has expired there.
 * Touches only images that carry our metadata and that no live client is working on. 0 when all is
 * done, -EAGAIN when something had to be left for later, or a failure. */
int volume_sweep(struct cluster *cluster, int64_t deadline, struct error *err);

/* Remember the bytes used, for Status while it is not mounted. */
int volume_record_used(struct cluster *cluster, const char *id, uint64_t used, int64_t deadline,
                       struct error *err);

/* The logical block size the volume's device needs (reads the image's first block where our
 * metadata does not tell): 512 or 4096. */
int volume_logical_block(struct cluster *cluster, const struct volume_facts *facts,
                         int64_t deadline, uint32_t *ret, struct error *err);
