/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
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
#include "image/takeover.h"
#include "image/trash.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* The second half of lifecycle.h: how an image goes, and the sweep. */

/* The exclusive lock that keeps others away while the name is taken off. Its tag is not librbd's,
 * so every client takes it for a foreign lock and leaves it; it lapses by itself. */
#define REMOVE_COOKIE "docker-volume-rados remove"
#define REMOVE_TAG    "docker-volume-rados"

/* Objects deleted between two looks at the clock. */
#define DELETE_STEP_OBJECTS 1024

/* A client that began an image makes its header the moment after; one without a header for this
 * long will never get one. Hosts' clocks differ by less. */
#define HEADERLESS_S 600

/* How long a watcher of the image has to answer before it counts as present but silent. */
#define WATCHER_TIMEOUT_MS 2000

/* One that is silent is dead or cut off, and the cluster forgets it after a while. So it is asked
 * again, as long as this is left for the last question and for what follows. */
#define FINISH_MS (2 * WATCHER_TIMEOUT_MS)

static int64_t bounded(int64_t deadline)
{
    return deadline_earlier(deadline, deadline_in_ms(LIFECYCLE_CALL_MAX_S * 1000));
}

static int lock_for_removal(struct cluster *cluster, const char *object, const char *mark,
                            int64_t deadline)
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
    rbd_encode_pair(&metadata, mark, "removing", strlen("removing"));
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
        r = error_set(err, answer.ack_count > 0 ? -EBUSY : -EAGAIN,
                      "image '%s' is open by client %" PRIu64 "%s: see 'rbd status %s/%s'", name,
                      peer->client_id,
                      answer.ack_count > 0 ? ""
                                           : ", which does not answer, try again in half a minute",
                      cluster_pool(cluster), name);
    notify_answer_free(&answer);
    return r;
}

static int check_unwatched(struct cluster *cluster, const char *name, const char *object,
                           int64_t deadline, struct error *err)
{
    int r;

    do
        r = check_unwatched_once(cluster, name, object, deadline, err);
    while (r == -EAGAIN && deadline_left_ms(deadline) > FINISH_MS);
    return r == -EAGAIN ? -EBUSY : r;
}

static int remove_from_directory(struct cluster *cluster, const char *name, const char *id,
                                 int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};
    int r;

    rbd_encode_name_id(&in, name, id);
    r = op_call_write(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_remove_image", &in, deadline);
    return r == -ENOENT || r == -ESTALE ? 0 : r;
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
static int take_name(struct cluster *cluster, const char *name, const char *id, int64_t deadline)
{
    char object[OBJECT_NAME_MAX];
    int r = trash_add(cluster, id, name, RBD_TRASH_MOVING, deadline);

    if (r == 0)
        r = remove_from_directory(cluster, name, id, deadline);
    if (r == 0) {
        name_rbd_id(object, name);
        r = remove_object(cluster_io(cluster), object, deadline);
        /* Whether an operation that is late took the name or not, nobody knows yet: the sweep will
         * look, and the rule decides. */
        if (r == -ETIMEDOUT)
            return r;
    }
    if (r < 0)
        trash_publish(cluster, name, id, deadline_in_ms(5000));
    return r;
}

/* The image is locked: by a living client, who is named, or by a dead one, who is fenced. */
static int displace_dead(struct cluster *cluster, const char *name, const char *id,
                         int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    enum holder_life life;
    char holder[256];
    int r = image_read_header(cluster, id, deadline, &header, err);

    if (r < 0 || header.lock.count == 0)
        return r;
    if (takeover_is_predecessor(cluster, &header.lock.holder, cluster_token(cluster)))
        life = HOLDER_DEAD;
    else
        do
            r = takeover_look(cluster, id, &header.lock, deadline, &life, err);
        while (r == 0 && life == HOLDER_SILENT && deadline_left_ms(deadline) > FINISH_MS);
    if (r < 0)
        return r;
    if (life == HOLDER_DEAD)
        return takeover_fence(cluster, id, RBD_LOCK_NAME, &header.lock.holder, deadline, err);
    ownership_describe(&header.lock, holder, sizeof(holder));
    return error_set(err, -EBUSY, "image '%s' is in use by %s%s", name, holder,
                     life == HOLDER_SILENT ? ", who does not answer; try again in a moment" : "");
}

static int refuse_snapshots(struct cluster *cluster, const char *name,
                            const struct image_header *header, int64_t deadline, struct error *err)
{
    char children[512];
    int r = clone_list_children(cluster, header, deadline, children, sizeof(children), err);

    if (r < 0)
        return r;
    if (r > 0)
        return error_set(err, -ENOTEMPTY,
                         "image '%s' has snapshots with %d clone(s) that need it, %s: flatten or "
                         "remove them first",
                         name, r, children);
    return error_set(err, -ENOTEMPTY,
                     "image '%s' has %zu snapshot(s): remove them first with 'rbd snap purge'",
                     name, header->snapc.count);
}

int image_unpublish(struct cluster *cluster, const char *name, const char *id, const char *mark,
                    int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    deadline = bounded(deadline);
    name_header(object, id);
    r = lock_for_removal(cluster, object, mark, deadline);
    if (r == -EBUSY) {
        r = displace_dead(cluster, name, id, deadline, err);
        if (r < 0)
            return r;
        r = lock_for_removal(cluster, object, mark, deadline);
    }
    if (r < 0)
        return error_errno(err, r, "cannot lock image '%s' for removal", name);

    r = image_read_header(cluster, id, deadline, &header, err);
    if (r == 0 && header.snapc.count > 0)
        r = refuse_snapshots(cluster, name, &header, deadline, err);
    if (r == 0 && image_check_understood(&header, err) < 0)
        r = error_wrap(err, "image '%s' has parts that only 'rbd rm' knows how to remove", name);
    if (r == 0)
        r = check_unwatched(cluster, name, object, deadline, err);
    if (r == 0) {
        r = take_name(cluster, name, id, deadline);
        if (r < 0)
            error_errno(err, r, "cannot remove image '%s'", name);
    }
    if (r < 0 && r != -ETIMEDOUT) {
        unlock_removal(cluster, object);
        image_set_metadata(cluster, id, mark, NULL, deadline_in_ms(2000), NULL);
    }
    return r;
}

static int try_lock_work(struct cluster *cluster, const char *id, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder lock = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    if (!op)
        return -ENOMEM;
    trash_encode_work_lock(&lock, cluster, WORK_DELETE);
    op_assert_exists(op);
    op_exec(op, "lock", "lock", &lock);
    name_header(object, id);
    r = op_run(op, cluster_io(cluster), object, deadline);
    return r == -EEXIST ? 0 : r; /* ours already */
}

/* Keep other clients' sweeps away: 0, -EBUSY, or -ENOENT when there is no header (any more). */
static int lock_work(struct cluster *cluster, const char *id, int64_t deadline, struct error *err)
{
    struct lock_info work = {0};
    int r = try_lock_work(cluster, id, deadline);

    if (r != -EBUSY || trash_work_holder(cluster, id, deadline, &work) < 0)
        return r;
    if (work.count > 0) {
        if (!takeover_is_predecessor(cluster, &work.holder, cluster_token(cluster)))
            return r;
        r = takeover_fence(cluster, id, WORK_LOCK, &work.holder, deadline, err);
        if (r < 0)
            return r;
    }
    return try_lock_work(cluster, id, deadline);
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

int image_delete(struct cluster *cluster, const char *id, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    deadline = bounded(deadline);
    name_header(object, id);
    r = lock_work(cluster, id, deadline, err);
    if (r == 0)
        r = image_read_header(cluster, id, deadline, &header, err);
    if (r == 0 && header.lock.count > 0 && strcmp(header.lock.tag, REMOVE_TAG) != 0)
        r = error_set(err, -EBUSY, "image %s is in use", id);
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
        owned_release_ids(cluster, &header, deadline);
    if (r == 0)
        r = remove_object(cluster_io(cluster), object, deadline);
    if (r == 0 || r == -ENOENT) /* the header goes last, so without it there is no data either */
        return trash_forget(cluster, id, deadline);
    trash_work_unlock(cluster, id, WORK_DELETE);
    if (r != -EAGAIN && r != -EBUSY)
        error_errno(err, r, "cannot delete image %s in pool '%s'", id, cluster_pool(cluster));
    return r;
}

/* Nothing is left of the image but its entry: its header went last, or was never made. */
static int sweep_headless(struct cluster *cluster, const struct rbd_trash_entry *entry,
                          int64_t deadline)
{
    if (entry->spec.state == RBD_TRASH_RESTORING &&
        time(NULL) - entry->spec.deleted.tv_sec < HEADERLESS_S)
        return -EAGAIN;
    return trash_forget(cluster, entry->id, deadline);
}

static int sweep_one(struct cluster *cluster, const struct rbd_trash_entry *entry,
                     const char *mark_prefix, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    char id[IMAGE_ID_MAX];
    int r = image_read_header(cluster, entry->id, deadline, &header, err);

    if (r == -ENOENT)
        return sweep_headless(cluster, entry, deadline);
    if (r < 0)
        return r;
    if (!trash_is_marked(&header, mark_prefix))
        return 0;
    r = lock_work(cluster, entry->id, deadline, err);
    if (r < 0)
        return r;
    r = image_find(cluster, entry->spec.name, deadline, id, err);
    if (r == -ENOENT || (r == 0 && strcmp(id, entry->id) != 0))
        return image_delete(cluster, entry->id, deadline, err);
    /* A remover that died a moment ago may have its last operation under way: listed again now,
     * the image would lose its name afterwards and nothing would lead to it. Its lock outlives
     * that, and a fence puts an end to it. */
    if (r == 0 && header.lock.count > 0 && strcmp(header.lock.tag, REMOVE_TAG) == 0)
        r = takeover_is_predecessor(cluster, &header.lock.holder, cluster_token(cluster))
                ? takeover_fence(cluster, id, RBD_LOCK_NAME, &header.lock.holder, deadline, err)
                : -EAGAIN;
    if (r == 0)
        r = trash_publish(cluster, entry->spec.name, id, deadline);
    trash_work_unlock(cluster, entry->id, WORK_DELETE);
    return r;
}

int image_sweep(struct cluster *cluster, const char *mark_prefix, int64_t deadline,
                struct error *err)
{
    cleanup_free struct rbd_trash_entry *entries = NULL;
    size_t count = 0;
    bool later = false;
    int r;

    deadline = bounded(deadline);
    r = trash_list(cluster, deadline, &entries, &count, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].spec.source != RBD_TRASH_REMOVING)
            continue;
        if (sweep_one(cluster, &entries[i], mark_prefix, deadline, err) < 0)
            later = true;
    }
    return later ? -EAGAIN : 0;
}
