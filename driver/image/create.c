/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/clone.h"
#include "image/lifecycle.h"
#include "image/names.h"
#include "image/trash.h"
#include "rados/op.h"

/* The first half of lifecycle.h: how an image comes. */

/* Time for undoing a creation that failed, on top of the caller's deadline. */
#define ABANDON_MS 3000

static int new_id(char id[IMAGE_ID_MAX])
{
    uint8_t random[7];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(id + 2 * i, 3, "%02x", random[i]);
    return 0;
}

/* Lock, header and metadata appear together: one operation on one object. */
static int make_header(struct cluster *cluster, const struct image_spec *spec,
                       const struct image_header *header, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder lock = {0};
    cleanup_encoder struct encoder create = {0};
    cleanup_encoder struct encoder metadata = {0};
    char object[OBJECT_NAME_MAX];

    if (!op)
        return -ENOMEM;
    trash_encode_work_lock(&lock, cluster, WORK_CREATE);
    rbd_encode_create(&create, header->size, header->order, header->features, header->object_prefix,
                      header->data_pool_id);
    rbd_encode_pairs_begin(&metadata, (uint32_t)spec->metadata_count);
    for (size_t i = 0; i < spec->metadata_count; i++)
        rbd_encode_pair(&metadata, spec->metadata[i].key, spec->metadata[i].value,
                        spec->metadata[i].value_len);

    op_create(op, true);
    op_exec(op, "lock", "lock", &lock);
    op_exec(op, "rbd", "create", &create);
    op_exec(op, "rbd", "metadata_set", &metadata);
    name_header(object, header->id);
    return op_run(op, cluster_io(cluster), object, deadline);
}

static int attach(struct cluster *cluster, const struct image_spec *spec,
                  struct image_header *header, int64_t deadline, struct error *err)
{
    header->parent = *spec->parent;
    header->shows_parent = true;
    header->parent_overlap = spec->overlap < spec->size ? spec->overlap : spec->size;
    header->features |= RBD_FEATURE_OPERATIONS;
    header->op_features |= RBD_OPERATION_CLONE_CHILD;
    return clone_attach(cluster, header->id, spec->parent, spec->overlap, deadline, err);
}

int image_prepare(struct cluster *cluster, const char *name, const struct image_spec *spec,
                  int64_t deadline, struct image_header *ret, struct error *err)
{
    struct image_header header = {
        .size = spec->size,
        .order = spec->order,
        .features = RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK,
        .data_pool_id = spec->data_pool_id,
        .stripe_unit = UINT64_C(1) << spec->order,
        .stripe_count = 1,
        .parent = {.pool_id = -1},
    };
    int r = new_id(header.id);

    if (r < 0)
        return error_errno(err, r, "cannot make an image id");
    if (spec->parent)
        header.features |= RBD_FEATURE_DEEP_FLATTEN;
    if (spec->data_pool_id >= 0) {
        header.features |= RBD_FEATURE_DATA_POOL;
        snprintf(header.object_prefix, sizeof(header.object_prefix), "rbd_data.%lld.%s",
                 (long long)cluster_pool_id(cluster), header.id);
    } else {
        snprintf(header.object_prefix, sizeof(header.object_prefix), "rbd_data.%s", header.id);
    }

    r = trash_add(cluster, header.id, name, RBD_TRASH_RESTORING, deadline);
    if (r < 0)
        return error_errno(err, r, "cannot begin image '%s' in pool '%s'", name,
                           cluster_pool(cluster));
    r = make_header(cluster, spec, &header, deadline);
    if (r < 0)
        error_errno(err, r, "cannot make the header of image '%s' in pool '%s'", name,
                    cluster_pool(cluster));
    else if (spec->parent)
        r = attach(cluster, spec, &header, deadline, err);
    if (r < 0) {
        image_abandon(cluster, header.id, r, NULL);
        return r;
    }
    *ret = header;
    return 0;
}

int image_publish(struct cluster *cluster, const char *name, const char *id, int64_t deadline,
                  struct error *err)
{
    int r = trash_claim(cluster, name, id, deadline);

    if (r == -EEXIST)
        return error_set(err, r, "image '%s' exists in pool '%s'", name, cluster_pool(cluster));
    if (r < 0)
        return error_errno(err, r, "cannot give image '%s' its name in pool '%s'", name,
                           cluster_pool(cluster));
    /* The name is claimed, so the image exists: what fails from here on is bookkeeping, and the
     * sweep does it again. */
    trash_publish(cluster, name, id, RBD_TRASH_RESTORING, NULL, deadline);
    trash_work_unlock(cluster, id, WORK_CREATE);
    return 0;
}

int image_abandon(struct cluster *cluster, const char *id, int reason, struct error *err)
{
    if (reason == -ETIMEDOUT)
        return error_set(err, -EAGAIN, "image %s is left to the sweep", id);
    trash_work_unlock(cluster, id, WORK_CREATE);
    return image_delete(cluster, id, deadline_in_ms(ABANDON_MS), err);
}
