/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "image/image.h"
#include "volume/options.h"
#include "volume/volume.h"

/* A volume's facts as image metadata: `rbd image-meta list` shows them. Values are text. */

#define META_PREFIX "docker-volume-rados."

#define META_FS            META_PREFIX "fs" /* ext4 or xfs, made by us: 4096-byte blocks */
#define META_MOUNT_OPTIONS META_PREFIX "mount-options"
#define META_UID           META_PREFIX "uid" /* of the root directory at creation */
#define META_GID           META_PREFIX "gid"
#define META_MODE          META_PREFIX "mode" /* octal */
#define META_OWNER         META_PREFIX "owner"
#define META_PROTECT       META_PREFIX "protect" /* "true" */
#define META_DATA_POOL     META_PREFIX "data-pool"
#define META_FROM          META_PREFIX "from"     /* what it is a clone of, as was asked for */
#define META_ACCESS        META_PREFIX "access"   /* "ro"; otherwise rw */
#define META_USED          META_PREFIX "used"     /* bytes at the last unmount */
#define META_LABEL         META_PREFIX "label."   /* + key */
#define META_REMOVING      META_PREFIX "removing" /* set while the image goes */

/* What a new volume's image carries. 0 or -ENOMEM; rbd_pairs_free. */
int metadata_from_options(const struct volume_options *options, struct rbd_pairs *ret);

/* What a clone of SOURCE carries; OPTIONS are complete (clone.c). Nothing is said of the file
 * system where the source does not tell. */
int metadata_for_clone(const struct volume_options *options, const struct volume_facts *source,
                       struct rbd_pairs *ret);

/* The facts in a header. Values that make no sense (somebody edited them) read as unknown.
 * 0 or -ENOMEM; volume_facts_free. */
int metadata_to_facts(const struct image_header *header, const char *name,
                      struct volume_facts *ret);
