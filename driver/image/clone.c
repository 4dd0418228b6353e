/* SPDX-License-Identifier: Apache-2.0 */
#include "image/clone.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/names.h"
#include "image/owner_call.h"
#include "image/owner_work.h"
#include "rados/cls_rbd.h"
#include "rados/op.h"

static struct rbd_child child_of(struct cluster *cluster, const char *id)
{
    struct rbd_child child = {.pool_id = cluster_pool_id(cluster)};

    snprintf(child.namespace, sizeof(child.namespace), "%s", cluster_namespace(cluster));
    snprintf(child.image_id, sizeof(child.image_id), "%s", id);
    return child;
}

static int name_parent(struct cluster *cluster, const char *id, const struct rbd_parent *parent,
                       uint64_t overlap, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder attach = {0};
    cleanup_encoder struct encoder features = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    if (!op)
        return -ENOMEM;
    rbd_encode_parent_attach(&attach, parent, overlap);
    rbd_encode_op_features_set(&features, RBD_OPERATION_CLONE_CHILD, RBD_OPERATION_CLONE_CHILD);
    op_assert_exists(op);
    op_exec(op, "rbd", "parent_attach", &attach);
    op_exec(op, "rbd", "op_features_set", &features);
    name_header(object, id);
    r = op_run(op, cluster_io(cluster), object, deadline);
    return r == -EEXIST ? 0 : r;
}

/* Call METHOD, child_attach or child_detach, on the parent's header. */
static int tell_parent(struct cluster *parent_cluster, const struct rbd_parent *parent,
                       const struct rbd_child *child, const char *method, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder in = {0};
    char object[OBJECT_NAME_MAX];

    if (!op)
        return -ENOMEM;
    rbd_encode_child(&in, parent->snap_id, child);
    op_assert_exists(op);
    op_exec(op, "rbd", method, &in);
    name_header(object, parent->image_id);
    return op_run(op, cluster_io(parent_cluster), object, deadline);
}

int clone_attach(struct cluster *cluster, const char *id, const struct rbd_parent *parent,
                 uint64_t overlap, int64_t deadline, struct error *err)
{
    const struct rbd_child child = child_of(cluster, id);
    cleanup_cluster struct cluster *view = NULL;
    int r = cluster_open_view(cluster, parent->pool_id, parent->namespace, &view, err);

    if (r < 0)
        return r;
    r = name_parent(cluster, id, parent, overlap, deadline);
    if (r == 0)
        r = tell_parent(view, parent, &child, "child_attach", deadline);
    if (r < 0 && r != -EEXIST)
        return error_errno(err, r, "cannot make image %s a clone of image %s", id,
                           parent->image_id);
    return 0;
}

static int nothing_more(void *arg, const struct owned_image *image, int64_t deadline,
                        struct error *err)
{
    (void)arg;
    (void)image;
    (void)deadline;
    (void)err;
    return 0;
}

int clone_strike_off(struct cluster *cluster, const struct image_header *header, int64_t deadline,
                     struct error *err)
{
    const struct rbd_parent *parent = &header->parent;
    const struct rbd_child child = child_of(cluster, header->id);
    cleanup_cluster struct cluster *view = NULL;
    cleanup_encoder struct encoder in = {0};
    int r = cluster_open_view(cluster, parent->pool_id, parent->namespace, &view, err);

    if (r == -ENOENT) /* with its pool */
        return 0;
    if (r < 0)
        return r;
    if (image_is_old_clone(header)) {
        rbd_encode_old_child(&in, parent, header->id);
        r = op_call_write(cluster_io(cluster), RBD_CHILDREN, "rbd", "remove_child", &in, deadline);
    } else {
        r = tell_parent(view, parent, &child, "child_detach", deadline);
    }
    if (r < 0 && r != -ENOENT)
        return error_errno(err, r, "cannot strike image %s off the clones of image %s", header->id,
                           parent->image_id);
    return 0;
}

void clone_drop_unneeded(struct cluster *cluster, const struct image_header *header,
                         int64_t deadline)
{
    const struct header_notify request = {.op = NOTIFY_HEADER_UPDATE};
    const struct rbd_parent *parent = &header->parent;
    cleanup_image_header struct image_header above = {0};
    cleanup_cluster struct cluster *view = NULL;
    struct rbd_snapshot snapshot;

    if (cluster_open_view(cluster, parent->pool_id, parent->namespace, &view, NULL) < 0 ||
        image_snapshot(view, parent->image_id, parent->snap_id, deadline, &snapshot, NULL) < 0 ||
        snapshot.namespace_type != RBD_NAMESPACE_TRASH || snapshot.child_count > 0)
        return;
    /* Whoever becomes the owner drops it first. One that is alive does so later (clone.h). */
    if (image_read_header(view, parent->image_id, deadline, &above, NULL) == 0 &&
        above.lock.count == 0)
        owner_call(view, parent->image_id, "", &request, nothing_more, NULL, deadline, NULL);
}

void children_free(struct children *children)
{
    free(children->items);
    *children = (struct children){0};
}

/* The name of the image with this id, from its pool's directory; "" when it has none. */
static int read_name(rados_ioctx_t io, const char *id, int64_t deadline, char name[IMAGE_NAME_MAX])
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    int r;

    name[0] = '\0';
    rbd_encode_string(&in, id);
    r = op_call(io, RBD_DIRECTORY, "rbd", "dir_get_name", &in, &answer, deadline);
    if (r == 0)
        r = rbd_decode_string(decoder_of(answer.data, answer.len), name, IMAGE_NAME_MAX);
    return r;
}

/* A child may be in another pool and namespace, which we may not be allowed to read. */
static void describe(struct cluster *cluster, const struct rbd_child *child, int64_t deadline,
                     struct child *ret)
{
    rados_ioctx_t io = NULL;

    *ret = (struct child){.pool_id = child->pool_id};
    snprintf(ret->namespace, sizeof(ret->namespace), "%s", child->namespace);
    snprintf(ret->id, sizeof(ret->id), "%s", child->image_id);
    if (rados_pool_reverse_lookup(cluster_rados(cluster), child->pool_id, ret->pool,
                                  sizeof(ret->pool)) < 0)
        ret->pool[0] = '\0';
    if (cluster_open_pool(cluster, child->pool_id, &io, NULL) < 0)
        return;
    rados_ioctx_set_namespace(io, child->namespace);
    if (read_name(io, child->image_id, deadline, ret->name) < 0)
        ret->name[0] = '\0';
    rados_ioctx_destroy(io);
}

int clone_children(struct cluster *cluster, const char *id, uint64_t snap_id, int64_t deadline,
                   struct children *ret, struct error *err)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    cleanup_free struct rbd_child *list = NULL;
    struct children children = {0};
    char object[OBJECT_NAME_MAX];
    size_t count = 0;
    int r;

    name_header(object, id);
    rbd_encode_snap_id(&in, snap_id);
    r = op_call(cluster_io(cluster), object, "rbd", "children_list", &in, &answer, deadline);
    if (r == 0)
        r = rbd_decode_children(decoder_of(answer.data, answer.len), &list, &count);
    if (r < 0 && r != -ENOENT)
        return error_errno(err, r, "cannot list the clones of image %s", id);
    /* The class says "not found" of a snapshot that has had no clone, as of a missing header. */
    children.items = calloc(count + 1, sizeof(*children.items));
    if (!children.items)
        return error_set(err, -ENOMEM, "out of memory");
    for (; children.count < count; children.count++)
        describe(cluster, &list[children.count], deadline, &children.items[children.count]);
    *ret = children;
    return 0;
}

/* "pool/name", or what is known. */
static void name_child(const struct child *child, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s/%s%s", child->pool, child->namespace[0] ? "/" : "",
             child->namespace, child->name[0] ? "" : "image ",
             child->name[0] ? child->name : child->id);
}

int clone_list_children(struct cluster *cluster, const struct image_header *header,
                        int64_t deadline, char *text, size_t size, struct error *err)
{
    size_t used = 0;
    int count = 0;
    int more = 0;

    text[0] = '\0';
    for (size_t i = 0; i < header->snapc.count; i++) {
        cleanup_children struct children children = {0};
        int r =
            clone_children(cluster, header->id, header->snapc.snaps[i], deadline, &children, err);

        if (r < 0)
            return r;
        for (size_t j = 0; j < children.count; j++, count++) {
            char name[3 * RBD_NAME_MAX + 16];

            name_child(&children.items[j], name, sizeof(name));
            if (more > 0 || used + strlen(name) + 32 > size)
                more++;
            else
                used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
        }
    }
    if (more > 0)
        snprintf(text + used, size - used, " and %d more", more);
    return count;
}
