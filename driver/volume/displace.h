/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "rados/cluster.h"
#include "volume/volume.h"

/* Take a volume away from the client that FACTS name as its holder, whether it lives or not: that
 * one client instance is fenced, its lock broken, and the takeover recorded as NEW_HOST's, with the
 * words WHY. Whoever holds the volume by now and is not that client is left alone.
 * 0: that client cannot write any more, and its lock is gone. -ENOENT: nobody holds the volume any
 * more; -EBUSY: another client holds it now; -EOPNOTSUPP: the lock is not one of an image's owner,
 * so nobody can tell what it is for; in these cases nothing was done. Or another errno. */
int volume_displace(struct cluster *cluster, const struct volume_facts *facts, const char *new_host,
                    const char *why, int64_t deadline, struct error *err);
