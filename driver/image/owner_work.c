/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "image/clone.h"
#include "image/names.h"
#include "image/snapshot.h"
#include "rados/op.h"

/* How often an id may turn out to be older than the image's newest: others would have to take
 * snapshots faster than we can. */
#define ADD_ATTEMPTS 8

#define RELEASE_KEY_MAX (sizeof(SNAPSHOT_RELEASE_KEY) + 24)

static void cleanup_ioctxp(rados_ioctx_t *io)
{
    if (*io)
        rados_ioctx_destroy(*io);
}
#define cleanup_ioctx __attribute__((cleanup(cleanup_ioctxp)))

static int open_data(struct cluster *cluster, const struct image_header *header, rados_ioctx_t *ret,
                     struct error *err)
{
    return cluster_open_pool(
        cluster, header->data_pool_id >= 0 ? header->data_pool_id : cluster_pool_id(cluster), ret,
        err);
}

/* An operation on the header that fails with -EBUSY when the lock is not ours any more. */
static struct op *begin(const struct owned_image *image)
{
    cleanup_encoder struct encoder lock = {0};
    struct op *op = op_write();

    if (!op)
        return NULL;
    lock_encode_assert(&lock, RBD_LOCK_NAME, LOCK_EXCLUSIVE, image->cookie, RBD_LOCK_TAG);
    op_assert_exists(op);
    op_exec(op, "lock", "assert_locked", &lock);
    return op;
}

static int run(struct op *op, const struct owned_image *image, int64_t deadline)
{
    char object[OBJECT_NAME_MAX];

    name_header(object, image->id);
    return op_run(op, cluster_io(image->cluster), object, deadline);
}

static int add(const struct owned_image *image, const char *name, uint64_t snap_id,
               int64_t deadline)
{
    cleanup_op struct op *op = begin(image);
    cleanup_encoder struct encoder in = {0};

    if (!op)
        return -ENOMEM;
    rbd_encode_snapshot_add(&in, name, snap_id);
    op_exec(op, "rbd", "snapshot_add", &in);
    return run(op, image, deadline);
}

static int add_failed(const struct owned_image *image, const char *name, int code,
                      struct error *err)
{
    switch (code) {
    case -EEXIST:
        return error_set(err, code, "image %s has a snapshot '%s' already", image->id, name);
    case -EDQUOT:
        return error_set(err, code,
                         "image %s has as many snapshots as it may: remove one, or raise the limit "
                         "('rbd snap limit set')",
                         image->id);
    case -EBUSY:
        return error_set(err, code, "the lock of image %s was taken over meanwhile", image->id);
    case -ETIMEDOUT:
        return error_set(err, code,
                         "the cluster did not answer in time: whether snapshot '%s' was made will "
                         "be seen when it does; if it was, it is whole",
                         name);
    default:
        return error_errno(err, code, "cannot add snapshot '%s' to image %s", name, image->id);
    }
}

int owned_snapshot_add(const struct owned_image *image, const char *name, int64_t deadline,
                       uint64_t *ret_id, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    cleanup_ioctx rados_ioctx_t data = NULL;
    uint64_t id = 0;
    int r = image_read_header(image->cluster, image->id, deadline, &header, err);

    if (r == 0)
        r = open_data(image->cluster, &header, &data, err);
    if (r < 0)
        return r;
    if (header.snapc.count >= RBD_SNAPS_MAX)
        return add_failed(image, name, -EDQUOT, err);
    r = -ESTALE;
    for (int attempt = 0; attempt < ADD_ATTEMPTS && r == -ESTALE; attempt++) {
        r = op_snap_create(data, &id, deadline);
        if (r < 0)
            return error_errno(err, r, "cannot get an id for snapshot '%s'", name);
        r = add(image, name, id, deadline);
        if (r < 0 && r != -ETIMEDOUT)
            op_snap_remove(data, id, deadline); /* an id too many costs next to nothing */
    }
    /* Nobody knows yet whether a late operation adds it: keep its data in any case. */
    if ((r == 0 || r == -ETIMEDOUT) && image->io && image_io_add_snapshot(image->io, id, err) < 0)
        return err ? err->code : -ENOMEM;
    if (r < 0)
        return add_failed(image, name, r, err);
    *ret_id = id;
    return 0;
}

static void release_key(uint64_t snap_id, char key[RELEASE_KEY_MAX])
{
    snprintf(key, RELEASE_KEY_MAX, SNAPSHOT_RELEASE_KEY "%" PRIu64, snap_id);
}

/* Out of the header, with the note that its id is to be released. */
static void add_drop(struct op *op, uint64_t snap_id)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder note = {0};
    char key[RELEASE_KEY_MAX];

    release_key(snap_id, key);
    rbd_encode_snap_id(&in, snap_id);
    rbd_encode_pairs_begin(&note, 1);
    rbd_encode_pair(&note, key, "1", 1);
    op_exec(op, "rbd", "snapshot_remove", &in);
    op_exec(op, "rbd", "metadata_set", &note);
}

static int drop(const struct owned_image *image, uint64_t snap_id, int64_t deadline)
{
    cleanup_op struct op *op = begin(image);

    if (!op)
        return -ENOMEM;
    add_drop(op, snap_id);
    return run(op, image, deadline);
}

static int move_to_trash(const struct owned_image *image, uint64_t snap_id, int64_t deadline)
{
    cleanup_op struct op *op = begin(image);
    cleanup_encoder struct encoder in = {0};

    if (!op)
        return -ENOMEM;
    rbd_encode_snap_id(&in, snap_id);
    op_exec(op, "rbd", "snapshot_trash_add", &in);
    return run(op, image, deadline);
}

/* Once the image itself has been flattened, its snapshots may still need the parent; the last one
 * that does strikes the image off there. */
static int give_up_parent(const struct owned_image *image, const struct image_header *header,
                          uint64_t snap_id, int64_t deadline, struct error *err)
{
    bool shows = false;
    uint64_t overlap;
    int r;

    if (header->parent.pool_id < 0 || header->shows_parent)
        return 0;
    for (size_t i = 0; i < header->snapc.count; i++) {
        if (header->snapc.snaps[i] == snap_id)
            continue;
        r = image_parent_overlap(image->cluster, image->id, header->snapc.snaps[i], deadline,
                                 &shows, &overlap, err);
        if ((r < 0 && r != -ENOENT) || (r == 0 && shows))
            return r;
    }
    r = clone_strike_off(image->cluster, header, deadline, err);
    if (r == 0)
        clone_drop_unneeded(image->cluster, header, deadline);
    return r;
}

/* Remove a snapshot that has no clones. */
static int remove_childless(const struct owned_image *image, uint64_t snap_id, int64_t deadline,
                            struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(image->cluster, image->id, deadline, &header, err);

    if (r == 0)
        r = give_up_parent(image, &header, snap_id, deadline, err);
    if (r < 0)
        return r;
    r = drop(image, snap_id, deadline);
    return r < 0 ? error_errno(err, r, "cannot remove snapshot %" PRIu64 " of image %s", snap_id,
                               image->id)
                 : 0;
}

void owned_drop_unneeded(const struct owned_image *image, const struct image_header *header,
                         int64_t deadline)
{
    cleanup_snapshots struct snapshots list = {0};
    int r;

    if (!(header->op_features & RBD_OPERATION_SNAP_TRASH))
        return;
    r = snapshot_list(image->cluster, image->id, true, deadline, &list, NULL);

    for (size_t i = 0; r == 0 && i < list.count; i++) {
        if (list.items[i].trashed && list.items[i].child_count == 0)
            r = remove_childless(image, list.items[i].id, deadline, NULL);
    }
    if (r < 0)
        log_debug("image %s: cannot drop all snapshots that no clone needs any more: %s", image->id,
                  error_words(r));
}

int owned_snapshot_remove(const struct owned_image *image, const char *name, int64_t deadline,
                          struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    struct snapshot snapshot;
    int r = snapshot_find(image->cluster, image->id, name, deadline, &snapshot, err);

    if (r < 0)
        return r;
    if (snapshot.protected)
        return error_set(err, -EBUSY, "snapshot '%s' is protected: unprotect it first", name);
    if (snapshot.child_count > 0) {
        r = move_to_trash(image, snapshot.id, deadline);
        if (r < 0)
            error_errno(err, r, "cannot move snapshot '%s' to the trash", name);
    } else {
        r = remove_childless(image, snapshot.id, deadline, err);
    }
    if (r == -EBUSY)
        return error_set(err, r,
                         "snapshot '%s' is needed by a clone, or the image's lock was taken over "
                         "meanwhile",
                         name);
    if (r < 0)
        return error_wrap(err, "cannot remove snapshot '%s'", name);
    /* It is gone; what fails from here on is done by the next one. */
    if (image_read_header(image->cluster, image->id, deadline, &header, NULL) == 0) {
        owned_drop_unneeded(image, &header, deadline);
        owned_release_ids(image->cluster, &header, deadline);
    }
    return 0;
}

int owned_forget_snapshots(struct cluster *cluster, const struct image_header *header,
                           int64_t deadline)
{
    const struct owned_image image = {.cluster = cluster, .id = header->id};
    int r = 0;

    for (size_t i = 0; i < header->snapc.count && r == 0; i++) {
        cleanup_op struct op *op = op_write();

        if (!op)
            return -ENOMEM;
        op_assert_exists(op);
        add_drop(op, header->snapc.snaps[i]);
        r = run(op, &image, deadline);
    }
    return r;
}

bool owned_has_unreleased(const struct image_header *header)
{
    for (size_t i = 0; i < header->metadata.count; i++) {
        if (strncmp(header->metadata.items[i].key, SNAPSHOT_RELEASE_KEY,
                    strlen(SNAPSHOT_RELEASE_KEY)) == 0)
            return true;
    }
    return false;
}

/* Snapshots of images with an object map have one each. */
static int remove_object_map(struct cluster *cluster, const struct image_header *header,
                             uint64_t snap_id, int64_t deadline)
{
    cleanup_op struct op *op = NULL;
    char head[OBJECT_NAME_MAX];
    char object[OBJECT_NAME_MAX + 20];
    int r;

    if (!(header->features & RBD_FEATURE_OBJECT_MAP))
        return 0;
    op = op_write();
    if (!op)
        return -ENOMEM;
    name_object_map(head, header->id);
    snprintf(object, sizeof(object), "%s.%016" PRIx64, head, snap_id);
    op_remove(op);
    r = op_run(op, cluster_io(cluster), object, deadline);
    return r == -ENOENT ? 0 : r;
}

void owned_release_ids(struct cluster *cluster, const struct image_header *header, int64_t deadline)
{
    const size_t prefix = strlen(SNAPSHOT_RELEASE_KEY);
    cleanup_ioctx rados_ioctx_t data = NULL;
    int r = open_data(cluster, header, &data, NULL);

    for (size_t i = 0; r == 0 && i < header->metadata.count; i++) {
        const char *key = header->metadata.items[i].key;
        uint64_t id;
        char rest;

        if (strncmp(key, SNAPSHOT_RELEASE_KEY, prefix) != 0 ||
            sscanf(key + prefix, "%" SCNu64 "%c", &id, &rest) != 1)
            continue;
        r = remove_object_map(cluster, header, id, deadline);
        if (r == 0)
            r = op_snap_remove(data, id, deadline);
        if (r == 0)
            r = image_set_metadata(cluster, header->id, key, NULL, deadline, NULL);
    }
    if (r < 0)
        log_debug("image %s: cannot release all ids of removed snapshots: %s", header->id,
                  error_words(r));
}

int owned_resize(const struct owned_image *image, uint64_t size, int64_t deadline,
                 struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    cleanup_encoder struct encoder in = {0};
    cleanup_op struct op *op = NULL;
    int r = image_read_header(image->cluster, image->id, deadline, &header, err);

    if (r < 0 || header.size == size)
        return r;
    if (size < header.size)
        return error_set(err, -EINVAL,
                         "image %s has %" PRIu64 " bytes and cannot be made smaller (%" PRIu64
                         " bytes): the file system on it would lose its end",
                         image->id, header.size, size);
    op = begin(image);
    if (!op)
        return error_set(err, -ENOMEM, "out of memory");
    rbd_encode_set_size(&in, size);
    op_exec(op, "rbd", "set_size", &in);
    r = run(op, image, deadline);
    if (r < 0)
        return error_errno(err, r, "cannot set the size of image %s", image->id);
    return 0;
}

int owned_set_metadata(const struct owned_image *image, const char *key, const char *value,
                       int64_t deadline, struct error *err)
{
    cleanup_op struct op *op = begin(image);
    cleanup_encoder struct encoder in = {0};
    int r;

    if (!op)
        return error_set(err, -ENOMEM, "out of memory");
    rbd_encode_pairs_begin(&in, 1);
    rbd_encode_pair(&in, key, value, strlen(value));
    op_exec(op, "rbd", "metadata_set", &in);
    r = run(op, image, deadline);
    return r < 0 ? error_errno(err, r, "cannot set '%s' on image %s", key, image->id) : 0;
}

int owned_part(const struct owned_image *image, const char *note, int64_t deadline,
               struct error *err)
{
    cleanup_op struct op *op = begin(image);
    cleanup_encoder struct encoder in = {0};
    int r;

    if (!op)
        return error_set(err, -ENOMEM, "out of memory");
    rbd_encode_string(&in, note);
    op_exec(op, "rbd", "parent_detach", NULL);
    op_exec(op, "rbd", "metadata_remove", &in);
    r = run(op, image, deadline);
    if (r < 0)
        return error_errno(err, r, "cannot part image %s from its parent", image->id);
    return 0;
}
