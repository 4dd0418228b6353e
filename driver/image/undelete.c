/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/lifecycle.h"
#include "image/names.h"
#include "image/trash.h"
#include "rados/op.h"

/* What becomes of an image in the trash: it gets a name again, or is deleted for good. Both begin
 * with a change of its entry's state that only one client can make, stock ones included. */

static int64_t bounded(int64_t deadline)
{
    return deadline_earlier(deadline, deadline_in_ms(LIFECYCLE_CALL_MAX_S * 1000));
}

/* Read the entry of image ID, which has to be one that users see. */
static int get_entry(struct cluster *cluster, const char *id, int64_t deadline,
                     struct rbd_trash_entry *ret, struct error *err)
{
    int r = trash_get(cluster, id, deadline, &ret->spec);

    if (r == -ENOENT)
        return error_set(err, r, "no image with id %s is in the trash of pool '%s'", id,
                         cluster_pool(cluster));
    if (r < 0)
        return error_errno(err, r, "cannot read the trash of pool '%s'", cluster_pool(cluster));
    if (ret->spec.source != RBD_TRASH_USER)
        return error_set(err, -EPERM, "image %s was not put into the trash by a user", id);
    snprintf(ret->id, sizeof(ret->id), "%s", id);
    return 0;
}

static int check_state(const struct rbd_trash_entry *entry, enum rbd_trash_state allowed,
                       struct error *err)
{
    static const char *const doing[] = {"", "being moved to the trash", "being deleted",
                                        "being restored"};

    if (entry->spec.state == RBD_TRASH_NORMAL || entry->spec.state == allowed)
        return 0;
    return error_set(err, -EBUSY, "image '%s' (%s) is %s", entry->spec.name, entry->id,
                     entry->spec.state <= RBD_TRASH_RESTORING ? doing[entry->spec.state]
                                                              : "changed");
}

static int lock(struct cluster *cluster, const char *id, int64_t deadline, struct error *err)
{
    int r = trash_work_lock(cluster, id, deadline, err);

    if (r == -EBUSY)
        return error_set(err, r, "another client works on image %s: try again in a moment", id);
    if (r == -ENOENT)
        return error_set(err, r, "nothing is left of image %s", id);
    return r < 0 ? error_errno(err, r, "cannot lock image %s", id) : 0;
}

static int change_state(struct cluster *cluster, const struct rbd_trash_entry *entry,
                        enum rbd_trash_state from, enum rbd_trash_state to, int64_t deadline,
                        struct error *err)
{
    int r = trash_set_state(cluster, entry->id, from, to, deadline);

    if (r == -ESTALE || r == -ENOENT)
        return error_set(err, -EBUSY, "another client was faster with image '%s' (%s)",
                         entry->spec.name, entry->id);
    return r < 0 ? error_errno(err, r, "cannot change the entry of image '%s' (%s) in the trash",
                               entry->spec.name, entry->id)
                 : 0;
}

static int claim_name(struct cluster *cluster, const char *name, const char *id, int64_t deadline,
                      struct error *err)
{
    int r = trash_claim(cluster, name, id, deadline);

    if (r == -EEXIST)
        return error_set(err, r, "image '%s' exists in pool '%s'", name, cluster_pool(cluster));
    return r < 0 ? error_errno(err, r, "cannot give image %s the name '%s'", id, name) : 0;
}

static int note_name(struct cluster *cluster, const struct rbd_trash_entry *entry, const char *name,
                     int64_t deadline, struct error *err)
{
    char stamp[TRASH_STAMP_MAX];
    char note[TRASH_STAMP_MAX + IMAGE_NAME_MAX + 1];

    trash_stamp(&entry->spec, stamp);
    snprintf(note, sizeof(note), "%s %s", stamp, name);
    return image_set_metadata(cluster, entry->id, RESTORE_KEY, note, deadline, err);
}

/* With the work lock held. */
static int restore_locked(struct cluster *cluster, const struct rbd_trash_entry *entry,
                          const char *name, int64_t deadline, struct error *err)
{
    int r = note_name(cluster, entry, name, deadline, err);

    if (r == 0)
        r = change_state(cluster, entry, RBD_TRASH_NORMAL, RBD_TRASH_RESTORING, deadline, err);
    if (r < 0)
        return r;
    r = claim_name(cluster, name, entry->id, deadline, err);
    /* Nobody knows yet whether the name is taken: the sweep will look. */
    if (r == -ETIMEDOUT)
        return r;
    if (r < 0) {
        trash_set_state(cluster, entry->id, RBD_TRASH_RESTORING, RBD_TRASH_NORMAL,
                        deadline_in_ms(5000));
        return r;
    }
    /* It has its name, so it is alive: what fails from here on is bookkeeping. */
    if (trash_publish(cluster, name, entry->id, RBD_TRASH_RESTORING, &entry->spec.deleted,
                      deadline) == 0) {
        image_set_metadata(cluster, entry->id, TRASH_KEY, NULL, deadline, NULL);
        image_set_metadata(cluster, entry->id, RESTORE_KEY, NULL, deadline, NULL);
    }
    return 0;
}

/* Did a dead client's restore under this name only lack its end, which it has now? */
static bool is_restored(struct cluster *cluster, const char *name, const char *id, int64_t deadline)
{
    struct rbd_trash_spec spec;
    char found[IMAGE_ID_MAX];

    return trash_get(cluster, id, deadline, &spec) == -ENOENT &&
           image_find(cluster, name, deadline, found, NULL) == 0 && strcmp(found, id) == 0;
}

int image_restore(struct cluster *cluster, const char *id, const char *name, int64_t deadline,
                  struct error *err)
{
    struct rbd_trash_entry entry;
    int r;

    deadline = bounded(deadline);
    r = get_entry(cluster, id, deadline, &entry, err);
    if (r == 0 && (entry.spec.state == RBD_TRASH_MOVING ||
                   entry.spec.state == RBD_TRASH_RESTORING)) { /* what a dead client left? */
        trash_settle(cluster, &entry, "", deadline, NULL);
        if (is_restored(cluster, name, id, deadline))
            return 0;
        r = get_entry(cluster, id, deadline, &entry, err);
    }
    if (r == 0)
        r = check_state(&entry, RBD_TRASH_NORMAL, err);
    if (r == 0)
        r = lock(cluster, id, deadline, err);
    if (r < 0)
        return r;
    r = restore_locked(cluster, &entry, name, deadline, err);
    if (r == -ETIMEDOUT)
        return r;
    if (r < 0)
        image_set_metadata(cluster, id, RESTORE_KEY, NULL, deadline, NULL);
    trash_work_unlock(cluster, id, WORK_DELETE);
    return r;
}

/* From here on it cannot be restored. It may have been, and removed again, since ENTRY was read. */
static int condemn(struct cluster *cluster, const struct rbd_trash_entry *entry,
                   enum purge_which which, int64_t deadline, struct error *err)
{
    struct rbd_trash_entry now;
    int r = change_state(cluster, entry,
                         which == PURGE_CONDEMNED ? RBD_TRASH_STATE_REMOVING : RBD_TRASH_NORMAL,
                         RBD_TRASH_STATE_REMOVING, deadline, err);

    if (r == 0)
        r = get_entry(cluster, entry->id, deadline, &now, err);
    if (r < 0 || which != PURGE_EXPIRED || trash_has_expired(&now.spec))
        return r;
    trash_set_state(cluster, entry->id, RBD_TRASH_STATE_REMOVING, RBD_TRASH_NORMAL, deadline);
    return error_set(err, -EBUSY, "image '%s' (%s) has not expired", now.spec.name, entry->id);
}

/* Only its entry is left of an image whose deletion was cut off. */
static bool is_deleted(struct cluster *cluster, const struct rbd_trash_entry *entry,
                       int64_t deadline)
{
    cleanup_image_header struct image_header header = {0};

    return entry->spec.state == RBD_TRASH_STATE_REMOVING &&
           image_read_header(cluster, entry->id, deadline, &header, NULL) == -ENOENT;
}

int image_purge(struct cluster *cluster, const char *id, enum purge_which which, int64_t deadline,
                struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    struct rbd_trash_entry entry;
    int r;

    deadline = bounded(deadline);
    r = get_entry(cluster, id, deadline, &entry, err);
    if (r == 0)
        r = check_state(&entry, RBD_TRASH_STATE_REMOVING, err);
    if (r == 0 && is_deleted(cluster, &entry, deadline))
        return trash_forget(cluster, id, deadline);
    if (r == 0)
        r = image_read_header(cluster, id, deadline, &header, err);
    if (r == 0 && image_check_understood(&header, err) < 0)
        r = error_wrap(err, "image '%s' has parts that only 'rbd trash rm' knows how to remove",
                       entry.spec.name);
    if (r == 0)
        r = trash_displace_dead(cluster, entry.spec.name, id,
                                deadline_earlier(deadline, deadline_in_ms(TRASH_FINISH_MS)), err);
    if (r == 0)
        r = trash_check_kept(cluster, &header, false, deadline, err);
    if (r == 0)
        r = lock(cluster, id, deadline, err);
    if (r < 0)
        return r;
    r = condemn(cluster, &entry, which, deadline, err);
    if (r == 0)
        return image_delete(cluster, id, deadline, err);
    trash_work_unlock(cluster, id, WORK_DELETE);
    return r;
}

int image_check_named(struct cluster *cluster, const char *name, const struct image_header *header,
                      int64_t deadline, struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r;

    if (!image_header_metadata(header, TRASH_KEY))
        return 0;
    r = image_find(cluster, name, deadline, id, err);
    if (r == -ENOENT || (r == 0 && strcmp(id, header->id) != 0))
        return error_set(err, -ENOENT, "image '%s' was removed meanwhile", name);
    return r;
}
