/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"
#include "plugin/server/attach.h"
#include "plugin/server/call.h"
#include "plugin/server/endpoint.h"
#include "plugin/server/mounts.h"

/* GET /metrics: what is measured, as text for Prometheus.
 *
 * A scrape never waits for the cluster. It asks two threads for news and shows what is there:
 *
 *   of this host    blockds, mounted file systems, processes, the supervisor: measured for the
 *                   scrape, which waits 250 ms for it and else shows what was measured last
 *   of the cluster  volumes' facts, how full the pool is: read again when they are older than 30 s,
 *                   for a later scrape to show
 *
 * Nothing is measured while nobody scrapes. Everything that may be old comes with its age. Bounded
 * are the volumes (METRICS_VOLUMES_MAX, mounted ones first, then by name) and the text. */

#define METRICS_VOLUMES_MAX 1000
#define METRICS_TEXT_MAX    ((size_t)16 * 1024 * 1024) /* bytes */

struct metrics;

/* ATTACH is copied; what it and the others point to must outlive the result, which lives as long as
 * the process. 0 or negative errno. */
int metrics_start(const struct attach *attach, struct mounts *mounts, struct calls *calls,
                  struct metrics **ret, struct error *err);

/* Answer with the text. Blocks for 250 ms at most; any thread. */
void metrics_answer(struct metrics *metrics, struct reply *reply);
