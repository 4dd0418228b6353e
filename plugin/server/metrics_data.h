/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "block/control.h"
#include "plugin/server/call.h"
#include "plugin/server/cluster_link.h"
#include "plugin/server/metrics_text.h"
#include "plugin/server/process_usage.h"
#include "plugin/settings.h"
#include "plugin/supervisor_protocol.h"
#include "rados/pool_usage.h"
#include "volume/options.h"

/* What a scrape shows, in one piece: filled by metrics.c, printed by metrics_print.c. Instants are
 * CLOCK_MONOTONIC ns; 0: never. */

/* What the cluster knew of a volume. */
struct metrics_facts {
    char name[VOLUME_NAME_MAX];
    int64_t read; /* when */
    uint64_t size;
    uint64_t used; /* at its last unmount; UINT64_MAX: unknown */
    time_t created;
    uint32_t snapshots;
    time_t newest_snapshot; /* 0: none, or unknown */
    uint64_t takeovers;
    bool held;
    char holder_host[256];
    uint64_t holder_client;
};

/* What this host measured of a volume that is mounted here. */
struct metrics_local {
    char name[VOLUME_NAME_MAX];
    int64_t measured; /* when its blockd last answered */
    struct blockd_stats stats;
    bool has_usage; /* of the file system */
    uint64_t used;
    bool has_process;
    struct process_usage process;
    uint64_t fences;     /* seen while this server was there */
    uint64_t fenced_pid; /* the last process that was seen fenced */
};

struct metrics_process {
    const char *name; /* "server" */
    bool known;
    struct process_usage usage;
};
#define METRICS_PROCESSES 2

/* The processes that all volumes share. */
struct metrics_host {
    struct metrics_process processes[METRICS_PROCESSES];
    bool has_counts;
    struct supervisor_counts counts;
};

struct metrics_data {
    const struct settings *settings;
    int64_t now;

    const struct metrics_facts *facts; /* sorted by name, as are the locals */
    size_t facts_count;
    const struct metrics_local *locals;
    size_t local_count;
    uint64_t volumes; /* in the pool, and those left out of them */
    uint64_t volumes_left_out;

    struct metrics_host host;
    uint64_t max_fds; /* of the server */
    struct workers_view workers[CALLS_POOLS];

    struct cluster_link_view link;
    int64_t pool_read; /* when */
    struct pool_usage pool;
};

/* The text may become METRICS_TAIL_MAX bytes longer than its limit. */
#define METRICS_TAIL_MAX 512
void metrics_print(struct metrics_text *text, const struct metrics_data *data);
