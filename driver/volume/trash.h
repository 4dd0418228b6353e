/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"
#include "volume/options.h"

/* Removed volumes: what `rbd trash ls` shows, whoever put it there. Calls block up to their
 * deadline; any thread but librados' own. */

struct trashed_volume {
    char id[IMAGE_ID_MAX];
    char name[IMAGE_NAME_MAX]; /* the one it had */
    struct timespec deleted;
    struct timespec expires;
    bool swept;        /* deleted by a plugin soon after it expires; else only when asked for */
    const char *state; /* "removed", or what is being done with it: "moving", "restoring",
                        * "purging" */
    uint64_t size;     /* bytes; 0: cannot be read */
    uint32_t snapshot_count;
};

struct trashed_volumes {
    struct trashed_volume *items; /* those removed last are first */
    size_t count;
};
void trashed_volumes_free(struct trashed_volumes *list); /* leaves it empty */

static inline void cleanup_trashed_volumesp(struct trashed_volumes *list)
{
    trashed_volumes_free(list);
}
#define cleanup_trashed_volumes __attribute__((cleanup(cleanup_trashed_volumesp)))

int volume_trash_list(struct cluster *cluster, int64_t deadline, struct trashed_volumes *ret,
                      struct error *err);

/* The one whose id or name is WORD; of several with that name, the one removed last. NULL: none;
 * *ret_same (may be NULL) is how many have that name. Pure. */
const struct trashed_volume *volume_trash_find(const struct trashed_volumes *list, const char *word,
                                               size_t *ret_same);

bool trashed_volume_has_expired(const struct trashed_volume *volume);

/* Give the removed volume with this id the name AS. 0; -EEXIST (the name is taken: err says what to
 * do); -EINVAL (no volume can be called so); -ENOENT (not in the trash); -EBUSY; -ETIMEDOUT (asking
 * again is safe). */
int volume_trash_restore(struct cluster *cluster, const char *id, const char *as, int64_t deadline,
                         struct error *err);

/* Delete the removed volume with this id for good, with EXPIRED_ONLY only if its time has come. 0;
 * -EAGAIN (it was not done by the deadline: call again; a sweep also goes on with it, if it is one
 * that is swept); -ENOENT; -EBUSY (kept by a clone or a protected snapshot, or used: err names
 * it). */
int volume_trash_purge(struct cluster *cluster, const char *id, bool expired_only, int64_t deadline,
                       struct error *err);

/* Delete all of LIST for good, with EXPIRED_ONLY those whose time has come. One that cannot go does
 * not hinder the others, and is tried again when others have gone: it may be what they were cloned
 * from. REPORT is told of each, once, how it ended; somebody else's doing (-ENOENT) is no failure
 * and not told. 0, or -ENOMEM: nothing was done. */
int volume_trash_purge_all(struct cluster *cluster, const struct trashed_volumes *list,
                           bool expired_only, int64_t deadline,
                           void (*report)(void *arg, const struct trashed_volume *volume,
                                          const struct error *err),
                           void *arg, struct error *err);
