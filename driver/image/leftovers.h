/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"

/* What dead clients left half-made or half-removed, and nobody works on now: images that the next
 * image_sweep with the same MARK_PREFIX would finish (lifecycle.h). *ret holds id (key) and name
 * (value); rbd_pairs_free. Changes nothing. */
int image_leftovers(struct cluster *cluster, const char *mark_prefix, int64_t deadline,
                    struct rbd_pairs *ret, struct error *err);
