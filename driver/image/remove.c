/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/clone.h"
#include "image/io.h"
#include "image/lifecycle.h"
#include "image/names.h"
#include "image/owner_work.h"
#include "image/ownership.h"
#include "image/snapshot.h"
#include "image/trash.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* The second half of lifecycle.h: how an image goes. */

/* Objects deleted between two looks at the clock. */
#define DELETE_STEP_OBJECTS 1024

/* How long a watcher of the image has to answer before it counts as present but silent. */
#define WATCHER_TIMEOUT_MS 2000

static int64_t bounded(int64_t deadline)
{
    return deadline_earlier(deadline, deadline_in_ms(LIFECYCLE_CALL_MAX_S * 1000));
}

/* How an image is to go: VALUE of the metadata KEY marks it meanwhile. */
struct removal {
    struct rbd_trash_spec spec;
    const char *key;
    const char *value;
};

static int lock_for_removal(struct cluster *cluster, const char *object,
                            const struct removal *removal, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder lock = {0};
    cleanup_encoder struct encoder metadata = {0};
    char description[LOCK_DESC_MAX];

    if (!op)
        return -ENOMEM;
    trash_describe_lock(cluster, "being removed", description);
    lock_encode_lock(&lock, RBD_LOCK_NAME, LOCK_EXCLUSIVE, REMOVE_COOKIE, REMOVE_TAG, description,
                     LIFECYCLE_CALL_MAX_S);
    rbd_encode_pairs_begin(&metadata, 1);
    rbd_encode_pair(&metadata, removal->key, removal->value, strlen(removal->value));
    op_assert_exists(op);
    op_exec(op, "lock", "lock", &lock);
    op_exec(op, "rbd", "metadata_set", &metadata);
    return op_run(op, cluster_io(cluster), object, deadline);
}

static void unlock_removal(struct cluster *cluster, const char *object)
{
    cleanup_encoder struct encoder in = {0};

    lock_encode_unlock(&in, RBD_LOCK_NAME, REMOVE_COOKIE);
    /* When this fails the lock lapses. */
    op_call_write(cluster_io(cluster), object, "lock", "unlock", &in, deadline_in_ms(2000));
}

static int refuse_watched(struct cluster *cluster, const char *name, const struct notify_peer *peer,
                          bool answers, struct error *err)
{
    char host[256];

    ownership_description_get(peer->words, "host", host, sizeof(host));
    return error_set(err, answers ? -EBUSY : -EAGAIN,
                     "image '%s' is open by client %" PRIu64 "%s%s%s: see 'rbd status %s/%s'", name,
                     peer->client_id, host[0] ? " on " : "", host,
                     answers ? "" : ", which does not answer, try again in half a minute",
                     cluster_pool(cluster), name);
}

/* Does any client watch the header, that is, have the image open without holding its lock? -EAGAIN
 * with err when the only ones that do are silent. */
static int check_unwatched_once(struct cluster *cluster, const char *name, const char *object,
                                int64_t deadline, struct error *err)
{
    cleanup_encoder struct encoder payload = {0};
    cleanup_encoder struct encoder bytes = {0};
    struct notify_answer answer = {0};
    const struct notify_peer *peer = NULL;
    int r;

    notify_encode_header_update(&payload);
    r = op_notify(cluster_io(cluster), object, &payload, WATCHER_TIMEOUT_MS, &bytes, deadline);
    if (bytes.len > 0)
        r = notify_decode_answer(decoder_of(bytes.data, bytes.len), &answer);
    if (r < 0)
        return error_errno(err, r, "cannot find out who has image '%s' open", name);
    if (answer.ack_count > 0)
        peer = &answer.acks[0];
    else if (answer.timeout_count > 0)
        peer = &answer.timeouts[0];
    if (peer)
        r = refuse_watched(cluster, name, peer, answer.ack_count > 0, err);
    notify_answer_free(&answer);
    return r;
}

static int check_unwatched(struct cluster *cluster, const char *name, const char *object,
                           int64_t deadline, struct error *err)
{
    int r;

    do
        r = check_unwatched_once(cluster, name, object, deadline, err);
    while (r == -EAGAIN && deadline_left_ms(deadline) > TRASH_FINISH_MS);
    return r == -EAGAIN ? -EBUSY : r;
}

static int remove_object(rados_ioctx_t io, const char *object, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    int r;

    if (!op)
        return -ENOMEM;
    op_remove(op);
    r = op_run(op, io, object, deadline);
    return r == -ENOENT ? 0 : r;
}

/* The image is ours alone now: trash, directory, name, in this order (lifecycle.h). */
static int take_name(struct cluster *cluster, const char *id, const struct rbd_trash_spec *spec,
                     int64_t deadline)
{
    char object[OBJECT_NAME_MAX];
    int r = trash_put(cluster, id, spec, deadline);

    if (r == 0)
        r = trash_unlist_name(cluster, spec->name, id, deadline);
    if (r == 0) {
        name_rbd_id(object, spec->name);
        r = remove_object(cluster_io(cluster), object, deadline);
        /* Whether an operation that is late took the name or not, nobody knows yet: the sweep will
         * look, and the rule decides. */
        if (r == -ETIMEDOUT)
            return r;
        /* A sweep that saw the name a moment ago may have listed it again (list_again in sweep.c).
         * The image is gone in any case. */
        if (r == 0)
            trash_unlist_name(cluster, spec->name, id, deadline);
    }
    if (r < 0)
        trash_publish(cluster, spec->name, id, RBD_TRASH_MOVING, &spec->deleted,
                      deadline_in_ms(5000));
    return r;
}

/* How many snapshots are in the way, or a negative errno. One that was removed while it had clones,
 * and has none any more, is not: it only waits for the next owner, and nobody sees it. */
static int count_snapshots(struct cluster *cluster, const struct image_header *header,
                           int64_t deadline, struct error *err)
{
    cleanup_snapshots struct snapshots list = {0};
    int r = snapshot_list(cluster, header->id, true, deadline, &list, err);
    size_t count = header->snapc.count;

    for (size_t i = 0; r == 0 && i < list.count; i++)
        count -= list.items[i].trashed && list.items[i].child_count == 0;
    return r < 0 ? r : (int)count;
}

static int refuse_snapshots(struct cluster *cluster, const char *name,
                            const struct image_header *header, int64_t deadline, struct error *err)
{
    int count = count_snapshots(cluster, header, deadline, err);
    char children[512];
    int r;

    if (count <= 0)
        return count;
    r = clone_list_children(cluster, header, deadline, children, sizeof(children), err);
    if (r < 0)
        return r;
    if (r > 0)
        return error_set(err, -ENOTEMPTY,
                         "image '%s' has snapshots with %d clone(s) that need it, %s: flatten or "
                         "remove them first",
                         name, r, children);
    return error_set(err, -ENOTEMPTY,
                     "image '%s' has %d snapshot(s): remove them first with 'rbd snap purge'", name,
                     count);
}

static int check_removable(struct cluster *cluster, const struct image_header *header,
                           const struct rbd_trash_spec *spec, int64_t deadline, struct error *err)
{
    if (header->op_features & RBD_OPERATION_GROUP)
        return error_set(err, -EBUSY,
                         "image '%s' is in a group: take it out first with 'rbd group image "
                         "remove'",
                         spec->name);
    if (image_check_understood(header, err) < 0)
        return error_wrap(err, "image '%s' has parts that only 'rbd rm' knows how to remove",
                          spec->name);
    if (header->snapc.count == 0)
        return 0;
    if (spec->source == RBD_TRASH_REMOVING)
        return refuse_snapshots(cluster, spec->name, header, deadline, err);
    return trash_check_kept(cluster, header, true, deadline, err);
}

static int take_away(struct cluster *cluster, const char *id, const struct removal *removal,
                     int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    const char *name = removal->spec.name;
    char object[OBJECT_NAME_MAX];
    int r;

    name_header(object, id);
    r = lock_for_removal(cluster, object, removal, deadline);
    if (r == -EBUSY) {
        r = trash_displace_dead(cluster, name, id, deadline, err);
        if (r < 0)
            return r;
        r = lock_for_removal(cluster, object, removal, deadline);
    }
    if (r < 0)
        return error_errno(err, r, "cannot lock image '%s' for removal", name);

    r = image_read_header(cluster, id, deadline, &header, err);
    if (r == 0)
        r = check_removable(cluster, &header, &removal->spec, deadline, err);
    if (r == 0)
        r = check_unwatched(cluster, name, object, deadline, err);
    if (r == 0) {
        r = take_name(cluster, id, &removal->spec, deadline);
        if (r < 0)
            error_errno(err, r, "cannot remove image '%s'", name);
    }
    if (r < 0 && r != -ETIMEDOUT) {
        unlock_removal(cluster, object);
        image_set_metadata(cluster, id, removal->key, NULL, deadline_in_ms(2000), NULL);
    }
    return r;
}

static void begin_removal(struct removal *removal, enum rbd_trash_source source, const char *name,
                          unsigned keep_s)
{
    struct rbd_trash_spec *spec = &removal->spec;

    *spec = (struct rbd_trash_spec){.source = (uint8_t)source, .state = RBD_TRASH_MOVING};
    snprintf(spec->name, sizeof(spec->name), "%s", name);
    clock_gettime(CLOCK_REALTIME, &spec->deleted);
    spec->deferred_until = spec->deleted;
    spec->deferred_until.tv_sec += keep_s;
}

int image_unpublish(struct cluster *cluster, const char *name, const char *id, const char *mark,
                    int64_t deadline, struct error *err)
{
    struct removal removal = {.key = mark, .value = "removing"};

    begin_removal(&removal, RBD_TRASH_REMOVING, name, 0);
    return take_away(cluster, id, &removal, bounded(deadline), err);
}

int image_trash(struct cluster *cluster, const char *name, const char *id, unsigned keep_s,
                int64_t deadline, struct error *err)
{
    char stamp[TRASH_STAMP_MAX];
    struct removal removal = {.key = TRASH_KEY, .value = stamp};
    char object[OBJECT_NAME_MAX];
    int r;

    begin_removal(&removal, RBD_TRASH_USER, name, keep_s);
    trash_stamp(&removal.spec, stamp);
    deadline = bounded(deadline);
    r = take_away(cluster, id, &removal, deadline, err);
    if (r < 0)
        return r;
    /* The name is gone, so the image is in the trash: the rest is bookkeeping, and the sweep does
     * it again. Nobody can mount the image (image_check_named), so others may have it at once. */
    trash_set_state(cluster, id, RBD_TRASH_MOVING, RBD_TRASH_NORMAL, deadline);
    name_header(object, id);
    unlock_removal(cluster, object);
    return 0;
}

static int delete_data(struct cluster *cluster, const struct image_header *header, int64_t deadline,
                       struct error *err)
{
    struct image_header alone = *header; /* borrows what it points to */
    struct image_io *io = NULL;
    uint64_t step = DELETE_STEP_OBJECTS * (UINT64_C(1) << header->order);
    int r;

    alone.shows_parent = false; /* or objects would stay, to hide the parent's */
    r = image_io_open(cluster, &alone, &io, err);

    for (uint64_t at = 0; r == 0 && at < header->size; at += step) {
        uint64_t left = header->size - at;

        if (deadline_left_ms(deadline) == 0)
            r = -EAGAIN;
        else
            r = image_run(io, IMAGE_DISCARD, at, left < step ? left : step, NULL);
        if (r < 0)
            error_errno(err, r, "cannot delete all data of image %s", header->id);
    }
    image_io_close(io);
    return r;
}

/* Images of other clients may have one; the maps of snapshots went with their snapshots. */
static int delete_object_map(struct cluster *cluster, const struct image_header *header,
                             int64_t deadline)
{
    char object[OBJECT_NAME_MAX];

    if (!(header->features & RBD_FEATURE_OBJECT_MAP))
        return 0;
    name_object_map(object, header->id);
    return remove_object(cluster_io(cluster), object, deadline);
}

/* Snapshots go first, so that their data go with the rest: *header is read again. */
static int delete_snapshots(struct cluster *cluster, struct image_header *header, int64_t deadline,
                            struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r;

    if (header->snapc.count == 0)
        return 0;
    r = owned_forget_snapshots(cluster, header, deadline);
    if (r == -EBUSY)
        return error_set(err, r, "image %s has a snapshot that is protected or has clones",
                         header->id);
    if (r < 0)
        return error_errno(err, r, "cannot remove the snapshots of image %s", header->id);
    snprintf(id, sizeof(id), "%s", header->id);
    image_header_free(header);
    return image_read_header(cluster, id, deadline, header, err);
}

/* What is not released when the header goes would stay for good. */
static int release_ids(struct cluster *cluster, const struct image_header *header, int64_t deadline,
                       struct error *err)
{
    cleanup_image_header struct image_header now = {0};
    int r;

    if (!owned_has_unreleased(header))
        return 0;
    owned_release_ids(cluster, header, deadline);
    r = image_read_header(cluster, header->id, deadline, &now, err);
    return r == 0 && owned_has_unreleased(&now) ? -EAGAIN : r;
}

int image_delete(struct cluster *cluster, const char *id, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    deadline = bounded(deadline);
    name_header(object, id);
    r = trash_work_lock(cluster, id, deadline, err);
    if (r == 0)
        r = image_read_header(cluster, id, deadline, &header, err);
    if (r == 0 && header.lock.count > 0 && strcmp(header.lock.tag, REMOVE_TAG) != 0)
        r = error_set(err, -EBUSY, "image %s is in use", id);
    if (r == 0)
        r = delete_snapshots(cluster, &header, deadline, err);
    if (r == 0)
        r = delete_data(cluster, &header, deadline, err);
    if (r == 0)
        r = delete_object_map(cluster, &header, deadline);
    if (r == 0 && header.parent.pool_id >= 0) {
        r = clone_strike_off(cluster, &header, deadline, err);
        if (r == 0)
            clone_drop_unneeded(cluster, &header, deadline);
    }
    if (r == 0)
        r = release_ids(cluster, &header, deadline, err);
    if (r == 0)
        r = remove_object(cluster_io(cluster), object, deadline);
    if (r == 0 || r == -ENOENT) /* the header goes last, so without it there is no data either */
        return trash_forget(cluster, id, deadline);
    trash_work_unlock(cluster, id, WORK_DELETE);
    if (r != -EAGAIN && r != -EBUSY)
        error_errno(err, r, "cannot delete image %s in pool '%s'", id, cluster_pool(cluster));
    return r;
}
