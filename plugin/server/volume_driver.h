/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>

#include "plugin/server/cache.h"
#include "plugin/server/cluster_link.h"
#include "plugin/server/endpoint.h"
#include "plugin/server/metrics.h"
#include "plugin/server/mounts.h"
#include "plugin/server/space.h"
#include "plugin/server/sweeper.h"
#include "plugin/settings.h"
#include "volume/options.h"

/* What dockerd calls: Plugin.Activate and the nine VolumeDriver calls. */

struct volume_driver {
    const struct settings *settings;
    struct cluster_link *link;
    struct cache *cache;
    struct mounts *mounts;
    struct space *space;
    struct sweeper *sweeper;
    struct metrics *metrics;
    const char *scratch_dir; /* where new file systems are made */
    uint64_t default_size;   /* bytes */
    enum filesystem default_fs;
};

/* For http_start, with a struct volume_driver as the service, as those of operator.h. */
extern const struct endpoint volume_driver_endpoints[];

/* volume_driver_read.c: the calls that change nothing. */
bool volume_driver_quick_get(void *service, const struct json_request *request,
                             struct reply *reply);
void volume_driver_get(void *service, const struct json_request *request, int64_t deadline,
                       struct reply *reply);
bool volume_driver_quick_list(void *service, const struct json_request *request,
                              struct reply *reply);
void volume_driver_list(void *service, const struct json_request *request, int64_t deadline,
                        struct reply *reply);
/* Fill the cache with what the cluster knows of a new volume; at least its name. */
void volume_driver_learn(struct volume_driver *driver, struct cluster *cluster, const char *name);
/* The reply to Get, with what this host knows: takes STATUS over. CLUSTER: "reachable", or why not.
 * NULL when out of memory. */
json_t *volume_driver_show(struct volume_driver *driver, const char *name, int64_t created,
                           json_t *status, const char *cluster);
bool volume_driver_path(void *service, const struct json_request *request, struct reply *reply);
