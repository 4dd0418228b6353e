/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "rados/cluster.h"
#include "volume/volume.h"

/* Make a volume larger. Three parts follow each other, and each is the business of somebody else:
 *
 *   part           who                                      when
 *   image          whoever asks, or the volume's owner      now (image/resize.h)
 *   device         the owner, a radosvol-blockd             before the call returns
 *   file system    where it is mounted: the plugin's        within seconds of the device's growth,
 *                  server (mounts.h), radosvol for a        whoever asked for that, and after
 *                  `radosvol mount` of this host            each mount
 *
 * The file system is not the owner's business: a blockd must not touch the files of its own device,
 * or it would wait for itself. The server knows the mounts, and sees the size of a device change
 * also when a stock `rbd resize` was the reason, or nobody was there when it was asked for.
 *
 * SIZE in bytes, a multiple of 4096. 0, also when it has that size; ret_facts is as before. -EINVAL
 * (smaller than it is, or too large for its file system: err says so); -ENOENT; -EOPNOTSUPP (not
 * writable by us, or a foreign owner refuses); -ETIMEDOUT (unknown yet; asking again is safe).
 * Blocks up to the deadline; any thread but librados' own. */
int volume_resize(struct cluster *cluster, const char *name, uint64_t size, const char *host,
                  int64_t deadline, struct volume_facts *ret_facts, struct error *err);
