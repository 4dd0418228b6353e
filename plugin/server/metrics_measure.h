/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "plugin/server/attach.h"
#include "plugin/server/metrics_data.h"
#include "plugin/server/mounts.h"

/* Where the numbers come from. All of these may block; what they fill is the caller's: free() the
 * items. OLD is what was there before, for what cannot be had now. */

struct metrics_locals {
    struct metrics_local *items; /* sorted by name */
    size_t count;
};

/* Ask the data process of each volume that is mounted here, and its file system. */
void metrics_measure_volumes(const struct attach *attach, struct mounts *mounts,
                             const struct metrics_locals *old, struct metrics_locals *ret);

/* The server and the supervisor. */
void metrics_measure_host(const struct attach *attach, struct metrics_host *ret);

struct metrics_facts_list {
    struct metrics_facts *items; /* sorted by name */
    size_t count;
    uint64_t volumes;  /* in the pool */
    uint64_t left_out; /* of them, for there are more than METRICS_VOLUMES_MAX */
};

/* From the cluster: 0, or negative errno when nothing could be read. */
int metrics_read_facts(const struct attach *attach, struct mounts *mounts,
                       const struct metrics_facts_list *old, struct metrics_facts_list *ret);
int metrics_read_pool(const struct attach *attach, struct pool_usage *ret);
