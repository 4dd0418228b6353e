/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/trash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/lifecycle.h"
#include "image/trash.h"

#define PURGE_PAUSE_MS 100

void trashed_volumes_free(struct trashed_volumes *list)
{
    free(list->items);
    *list = (struct trashed_volumes){0};
}

static const char *state_word(uint8_t state)
{
    switch (state) {
    case RBD_TRASH_MOVING:
        return "moving";
    case RBD_TRASH_STATE_REMOVING:
        return "purging";
    case RBD_TRASH_RESTORING:
        return "restoring";
    default:
        return "removed";
    }
}

static void describe(struct cluster *cluster, const struct rbd_trash_entry *entry, int64_t deadline,
                     struct trashed_volume *ret)
{
    cleanup_image_header struct image_header header = {0};

    *ret = (struct trashed_volume){
        .deleted = entry->spec.deleted,
        .expires = entry->spec.deferred_until,
        .state = state_word(entry->spec.state),
    };
    snprintf(ret->id, sizeof(ret->id), "%s", entry->id);
    snprintf(ret->name, sizeof(ret->name), "%s", entry->spec.name);
    if (image_read_header(cluster, entry->id, deadline, &header, NULL) < 0)
        return;
    ret->size = header.size;
    ret->snapshot_count = (uint32_t)header.snapc.count;
    ret->swept = trash_is_ours(&header, &entry->spec);
}

static int later_first(const void *a, const void *b)
{
    const struct timespec *x = &((const struct trashed_volume *)a)->deleted;
    const struct timespec *y = &((const struct trashed_volume *)b)->deleted;

    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? 1 : -1;
    if (x->tv_nsec != y->tv_nsec)
        return x->tv_nsec < y->tv_nsec ? 1 : -1;
    return strcmp(((const struct trashed_volume *)a)->id, ((const struct trashed_volume *)b)->id);
}

int volume_trash_list(struct cluster *cluster, int64_t deadline, struct trashed_volumes *ret,
                      struct error *err)
{
    cleanup_free struct rbd_trash_entry *entries = NULL;
    struct trashed_volumes list = {0};
    size_t count = 0;
    int r = trash_list(cluster, deadline, &entries, &count, err);

    if (r < 0)
        return cluster_explain(cluster, r, err);
    list.items = calloc(count + 1, sizeof(*list.items)); /* never of nothing */
    if (!list.items)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        if (entries[i].spec.source == RBD_TRASH_USER)
            describe(cluster, &entries[i], deadline, &list.items[list.count++]);
    }
    qsort(list.items, list.count, sizeof(*list.items), later_first);
    *ret = list;
    return 0;
}

const struct trashed_volume *volume_trash_find(const struct trashed_volumes *list, const char *word,
                                               size_t *ret_same)
{
    const struct trashed_volume *by_id = NULL;
    const struct trashed_volume *by_name = NULL;
    size_t same = 0;

    for (size_t i = 0; i < list->count; i++) {
        const struct trashed_volume *volume = &list->items[i];

        if (strcmp(volume->id, word) == 0)
            by_id = volume;
        if (strcmp(volume->name, word) == 0 && same++ == 0)
            by_name = volume;
    }
    if (ret_same)
        *ret_same = by_id ? 1 : same;
    return by_id ? by_id : by_name;
}

bool trashed_volume_has_expired(const struct trashed_volume *volume)
{
    return volume->expires.tv_sec <= time(NULL);
}

int volume_trash_restore(struct cluster *cluster, const char *id, const char *as, int64_t deadline,
                         struct error *err)
{
    int r = volume_name_check(as, err);

    if (r < 0)
        return r;
    r = image_restore(cluster, id, as, deadline, err);
    if (r == -EEXIST)
        return error_set(err, r,
                         "there is a volume '%s' now: restore the removed one under another name, "
                         "or remove that one first",
                         as);
    cluster_explain(cluster, r, err);
    return r < 0 ? error_wrap(err, "cannot restore volume '%s'", as) : 0;
}

int volume_trash_purge(struct cluster *cluster, const char *id, bool expired_only, int64_t deadline,
                       struct error *err)
{
    int r;

    /* The work is cut into pieces. */
    while ((r = image_purge(cluster, id, expired_only ? PURGE_EXPIRED : PURGE_ANY, deadline,
                            err)) == -EAGAIN &&
           deadline_left_ms(deadline) > PURGE_PAUSE_MS)
        nanosleep(&(struct timespec){.tv_nsec = PURGE_PAUSE_MS * NS_PER_MS}, NULL);
    if (r == -EAGAIN)
        return error_set(err, r, "image %s is not deleted yet: it takes longer, go on with it", id);
    if (r == 0 && err)
        *err = (struct error){0}; /* of a piece before the last */
    return cluster_explain(cluster, r, err);
}

/* Go over those that are not DONE; who comes to an end is. Returns how many were deleted. */
static size_t purge_round(struct cluster *cluster, const struct trashed_volumes *list, bool *done,
                          bool last, bool expired_only, int64_t deadline,
                          void (*report)(void *arg, const struct trashed_volume *volume,
                                         const struct error *err),
                          void *arg)
{
    size_t gone = 0;

    for (size_t i = 0; i < list->count; i++) {
        struct error err = {0};
        int r;

        if (done[i])
            continue;
        r = volume_trash_purge(cluster, list->items[i].id, expired_only, deadline, &err);
        if (r == -EBUSY && !last)
            continue;
        done[i] = true;
        gone += r == 0;
        if (r != -ENOENT)
            report(arg, &list->items[i], &err);
    }
    return gone;
}

int volume_trash_purge_all(struct cluster *cluster, const struct trashed_volumes *list,
                           bool expired_only, int64_t deadline,
                           void (*report)(void *arg, const struct trashed_volume *volume,
                                          const struct error *err),
                           void *arg, struct error *err)
{
    cleanup_free bool *done = calloc(list->count + 1, sizeof(*done));
    size_t gone;

    if (!done)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < list->count; i++)
        done[i] = expired_only && !trashed_volume_has_expired(&list->items[i]);
    do {
        gone = purge_round(cluster, list, done, false, expired_only, deadline, report, arg);
    } while (gone > 0);
    purge_round(cluster, list, done, true, expired_only, deadline, report, arg);
    return 0;
}
