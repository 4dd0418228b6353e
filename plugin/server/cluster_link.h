/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "plugin/settings.h"
#include "rados/cluster.h"

/* The server's one control connection to the cluster. Connecting happens in the background and is
 * tried again until it works, so nothing here delays the start.
 *
 *   state        handle  get() answers      leaves by
 *   connecting   no      waits              connected                          -> reachable
 *   reachable    yes     at once            put(-ETIMEDOUT)                    -> silent
 *                                           put(-ESHUTDOWN), blocklisted       -> connecting
 *   silent       yes     waits              a probe each second was answered   -> reachable
 *                                           or that of another connection,
 *                                           which is tried now and then        -> reachable
 *                                           probe says blocklisted             -> connecting
 *
 * A handle is closed when the last user of it has put it back. Any thread. */

struct cluster_link;

/* SETTINGS and TOKEN (cluster.h) are borrowed. */
int cluster_link_start(const struct settings *settings, const char *token,
                       struct cluster_link **ret, struct error *err);

/* The connection, waiting for it up to the deadline; put it back with cluster_link_put.
 * -ETIMEDOUT and the like with the words of the last failure. A failure that waiting seldom cures
 * (no keyring, wrong key, no such pool) is waited for a few seconds only. */
int cluster_link_get(struct cluster_link *link, int64_t deadline, struct cluster **ret,
                     struct error *err);

/* Give the connection back and say how the calls on it ended: 0 or their negative errno. */
void cluster_link_put(struct cluster_link *link, struct cluster *cluster, int result);

/* Does the cluster answer? 0, or as cluster_link_get. */
int cluster_link_ask(struct cluster_link *link, int64_t deadline, struct error *err);

/* Whether the cluster is known to be away: "unreachable since 2026-01-02T03:04:05Z: <words>" in
 * TEXT then. False while nothing is known yet. */
bool cluster_link_is_away(struct cluster_link *link, char *text, size_t size);

/* What is known of the connection, for who measures. Does not block. */
struct cluster_link_view {
    bool reachable;     /* connected, and the last call was answered */
    time_t contact;     /* of the last answer; 0: there was none yet */
    uint64_t connected; /* how often a connection was made */
};
void cluster_link_look(struct cluster_link *link, struct cluster_link_view *ret);

/* End the background thread, waiting for it up to the deadline, and close the connection unless
 * somebody still uses it. For the end of the process only: what could not end is left behind. */
void cluster_link_stop(struct cluster_link *link, int64_t deadline);
