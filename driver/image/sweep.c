/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/lifecycle.h"
#include "image/names.h"
#include "image/takeover.h"
#include "image/trash.h"

/* A client that began an image makes its header the moment after; one without a header for this
 * long will never get one. Hosts' clocks differ by less. */
#define HEADERLESS_S 600

/* Images deleted in one go because they have expired; the next one goes on. */
#define EXPIRED_MAX 32

/* Nothing is left of the image but its entry: its header went last, or was never made. */
static int settle_headless(struct cluster *cluster, const struct rbd_trash_entry *entry,
                           int64_t deadline)
{
    if (entry->spec.source != RBD_TRASH_REMOVING && entry->spec.state != RBD_TRASH_STATE_REMOVING)
        return 0;
    if (entry->spec.source == RBD_TRASH_REMOVING && entry->spec.state == RBD_TRASH_RESTORING &&
        time(NULL) - entry->spec.deleted.tv_sec < HEADERLESS_S)
        return -EAGAIN;
    return trash_forget(cluster, entry->id, deadline);
}

/* What ENTRY says of an image may be long out of date when the sweep comes to it: others, who were
 * listed before, had to be deleted first. So NAME is looked up with the work lock held, and then
 * the entry once more: a removal puts its own entry in place before it takes the name. 1: the name
 * is gone, and not by the doing of one who keeps the image; 0: it leads to the image; -ENOENT or
 * -ESTALE: the entry is not that one any more. */
static int look_again(struct cluster *cluster, const struct rbd_trash_entry *entry,
                      const char *name, int64_t deadline, struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r = image_find(cluster, name, deadline, id, err);
    bool gone = r == -ENOENT || (r == 0 && strcmp(id, entry->id) != 0);

    if (r == 0 || gone)
        r = trash_check_seen(cluster, entry->id, &entry->spec, deadline);
    return r == 0 && gone ? 1 : r;
}

/* NAME leads to the image: list it again, and drop its entry.
 * A remover that died a moment ago may have its last operation under way: listed again now, the
 * image would lose its name afterwards and nothing would lead to it. Its lock outlives that, and a
 * fence puts an end to it. One that lives may have begun since the name was looked up: it takes the
 * name off the list once more when the name is gone, and here it is looked up once more when the
 * name is on the list. So one of the two sees the other. */
static int list_again(struct cluster *cluster, const struct rbd_trash_entry *entry,
                      const struct image_header *header, const char *name, int64_t deadline,
                      struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r = 0;

    if (header->lock.count > 0 && strcmp(header->lock.tag, REMOVE_TAG) == 0)
        r = takeover_is_predecessor(cluster, &header->lock.holder, cluster_token(cluster))
                ? takeover_fence(cluster, header->id, RBD_LOCK_NAME, &header->lock.holder, deadline,
                                 err)
                : -EAGAIN;
    if (r == 0)
        r = trash_list_name(cluster, name, header->id, deadline);
    if (r == 0)
        r = image_find(cluster, name, deadline, id, err);
    if (r == -ENOENT || (r == 0 && strcmp(id, header->id) != 0)) {
        trash_unlist_name(cluster, name, header->id, deadline);
        return -EAGAIN;
    }
    return r < 0 ? r
                 : trash_forget_if(cluster, header->id, (enum rbd_trash_state)entry->spec.state,
                                   &entry->spec.deleted, deadline);
}

static int settle_removing(struct cluster *cluster, const struct rbd_trash_entry *entry,
                           const struct image_header *header, const char *mark_prefix,
                           int64_t deadline, struct error *err)
{
    int r;

    if (!trash_is_marked(header, mark_prefix))
        return 0;
    r = trash_work_lock(cluster, entry->id, deadline, err);
    if (r < 0)
        return r;
    r = look_again(cluster, entry, entry->spec.name, deadline, err);
    if (r == 1)
        return image_delete(cluster, entry->id, deadline, err);
    if (r == 0)
        r = list_again(cluster, entry, header, entry->spec.name, deadline, err);
    trash_work_unlock(cluster, entry->id, WORK_DELETE);
    if (r == -ENOENT) /* all of it has been done meanwhile */
        return 0;
    return r == -ESTALE ? -EAGAIN : r;
}

/* What a dead client was about to do with an image that users see in the trash: NAME is the one it
 * had or was to get. */
static int settle_kept(struct cluster *cluster, const struct rbd_trash_entry *entry,
                       const struct image_header *header, const char *name, int64_t deadline,
                       struct error *err)
{
    int r = trash_work_lock(cluster, entry->id, deadline, err);

    if (r < 0)
        return r;
    r = look_again(cluster, entry, name, deadline, err);
    if (r == 1)
        r = trash_set_state(cluster, entry->id, (enum rbd_trash_state)entry->spec.state,
                            RBD_TRASH_NORMAL, deadline);
    else if (r == 0)
        r = list_again(cluster, entry, header, name, deadline, err);
    trash_work_unlock(cluster, entry->id, WORK_DELETE);
    return r == -ENOENT || r == -ESTALE ? 0 : r;
}

int trash_settle(struct cluster *cluster, const struct rbd_trash_entry *entry,
                 const char *mark_prefix, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    const char *name;
    int r = image_read_header(cluster, entry->id, deadline, &header, err);

    if (r == -ENOENT)
        return settle_headless(cluster, entry, deadline);
    if (r < 0)
        return r;
    if (entry->spec.source == RBD_TRASH_REMOVING)
        return settle_removing(cluster, entry, &header, mark_prefix, deadline, err);
    switch (entry->spec.state) {
    case RBD_TRASH_MOVING:
        if (trash_is_ours(&header, &entry->spec))
            return settle_kept(cluster, entry, &header, entry->spec.name, deadline, err);
        return 0;
    case RBD_TRASH_RESTORING:
        name = trash_restored_name(&header, &entry->spec);
        return name ? settle_kept(cluster, entry, &header, name, deadline, err) : 0;
    case RBD_TRASH_STATE_REMOVING:
        if (trash_is_ours(&header, &entry->spec))
            return image_purge(cluster, entry->id, PURGE_CONDEMNED, deadline, err);
        return 0;
    default:
        return 0;
    }
}

static bool is_expired_by_us(struct cluster *cluster, const struct rbd_trash_entry *entry,
                             int64_t deadline)
{
    cleanup_image_header struct image_header header = {0};

    return image_read_header(cluster, entry->id, deadline, &header, NULL) == 0 &&
           trash_is_ours(&header, &entry->spec);
}

/* *left counts the images that may still be deleted because they have expired. */
static int sweep_one(struct cluster *cluster, const struct rbd_trash_entry *entry,
                     const char *mark_prefix, unsigned *left, int64_t deadline, struct error *err)
{
    int r;

    if (entry->spec.source != RBD_TRASH_USER && entry->spec.source != RBD_TRASH_REMOVING)
        return 0;
    if (entry->spec.source == RBD_TRASH_REMOVING || entry->spec.state != RBD_TRASH_NORMAL)
        return trash_settle(cluster, entry, mark_prefix, deadline, err);
    if (!trash_has_expired(&entry->spec) || !is_expired_by_us(cluster, entry, deadline))
        return 0;
    if (*left == 0)
        return -EAGAIN;
    (*left)--;
    r = image_purge(cluster, entry->id, PURGE_EXPIRED, deadline, err);
    /* Used by somebody, kept by a clone, or restored: it is looked at again the next time. */
    return r == -EBUSY || r == -ENOENT ? 0 : r;
}

int image_sweep(struct cluster *cluster, const char *mark_prefix, int64_t deadline,
                struct error *err)
{
    cleanup_free struct rbd_trash_entry *entries = NULL;
    unsigned left = EXPIRED_MAX;
    size_t count = 0;
    bool later = false;
    int r;

    deadline = deadline_earlier(deadline, deadline_in_ms(LIFECYCLE_CALL_MAX_S * 1000));
    r = trash_list(cluster, deadline, &entries, &count, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (sweep_one(cluster, &entries[i], mark_prefix, &left, deadline, err) < 0)
            later = true;
    }
    return later ? -EAGAIN : 0;
}
