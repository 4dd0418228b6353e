/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>

#include "image/snapshot.h"
#include "plugin/server/mounts.h"
#include "volume/volume.h"

/* What "docker volume inspect" shows under Status. */

/* What the cluster knows: the part that is cached. NEWEST: snapshots, or NULL when they are not
 * known. NULL when out of memory. */
#define STATUS_SNAPSHOTS_MAX 20
json_t *status_of_facts(const struct volume_facts *facts, const struct snapshots *newest);

/* Add what this host knows: where it is mounted, by which mount IDs, the device, and how full it
 * is. BLOCKD may be NULL: not asked, or no answer; its result is -ENODEV when there is none any
 * more. 0 or -ENOMEM. */
int status_add_host(json_t *status, const struct mounts_view *view,
                    const struct blockd_reply *blockd);

/* The body of the answer to Get; takes STATUS over. CREATED in seconds since 1970, 0: unknown. NULL
 * when out of memory. */
json_t *status_volume_reply(const char *name, const char *mountpoint, int64_t created,
                            json_t *status);
