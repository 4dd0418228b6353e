/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What was last known of each volume, kept in memory and in a file, for the time when the cluster
 * is away: dockerd forgets a volume, labels and all, when the plugin says it does not exist.
 * Changes reach the file a moment later, from a thread of its own. Any thread. */

struct cache;

/* Load FILE (missing: empty; unreadable: empty, with a warning in the log, and written anew).
 * FILE's directory must exist. 0 or negative errno. */
int cache_open(const char *file, struct cache **ret, struct error *err);

/* Write what is not yet written and free. Accepts NULL. */
void cache_close(struct cache *cache);

/* Remember NAME's facts: created in seconds since 1970, STATUS a JSON object as compact text.
 * STATUS NULL: only that NAME exists. */
void cache_put(struct cache *cache, const char *name, int64_t created, const char *status);

void cache_drop(struct cache *cache, const char *name);

/* NAMES, sorted, are all volumes of the instant STARTED (CLOCK_MONOTONIC ns). */
void cache_take_names(struct cache *cache, const char *const names[], size_t count,
                      int64_t started);

/* 0, or -ENOENT. *ret_status is NULL when only the name is known, else free(). */
int cache_get(struct cache *cache, const char *name, int64_t *ret_created, char **ret_status);

/* All names, sorted: *ret is one allocation, free(). 0; -ENODATA when the names were never known as
 * a whole; -ENOMEM. */
int cache_names(struct cache *cache, char ***ret, size_t *ret_count);
