/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "volume/options.h"

/* What was last known of each volume: the memory of cache.h without locks, threads or files. */

#define CACHE_VOLUMES_MAX 100000
#define CACHE_STATUS_MAX  (16 * 1024) /* bytes */

struct cache_volume {
    char name[VOLUME_NAME_MAX];
    int64_t created; /* seconds since 1970; 0: unknown */
    char *status;    /* the facts, a compact JSON object; NULL: only the name is known */
    int64_t touched; /* CLOCK_MONOTONIC ns of the last change in this process; 0: from the file */
};

struct cache_table {
    struct cache_volume **volumes; /* sorted by name */
    size_t count;
    size_t cap;
    bool filled; /* all names were known at some time, so an empty table means "no volumes" */
};

void cache_table_free(struct cache_table *table); /* leaves it empty */

/* NULL when NAME is not known; borrowed until the next change. */
const struct cache_volume *cache_table_find(const struct cache_table *table, const char *name);

/* Remember a volume; STATUS NULL keeps what was known of it. *ret_changed tells whether anything
 * is different now. 0, -ENOMEM, or -ENOSPC (CACHE_VOLUMES_MAX). */
int cache_table_put(struct cache_table *table, const char *name, int64_t created,
                    const char *status, int64_t now, bool *ret_changed);

/* Whether NAME was there. */
bool cache_table_drop(struct cache_table *table, const char *name);

/* NAMES, sorted, are all volumes there were at the instant STARTED: the others go, unless they were
 * touched since. Returns whether anything changed. */
bool cache_table_take_names(struct cache_table *table, const char *const names[], size_t count,
                            int64_t started, int64_t now);

/* The file's text and back. Encoding: 0 or -ENOMEM, *ret is NUL-terminated, free(). Decoding
 * (hostile bytes): whatever is sound inside is taken over, the rest left out; -EBADMSG when the
 * whole is not what we write. */
int cache_table_encode(const struct cache_table *table, char **ret, size_t *ret_len);
int cache_table_decode(const char *text, size_t len, struct cache_table *ret, struct error *err);
