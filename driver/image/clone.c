/* SPDX-License-Identifier: Apache-2.0 */
#include "image/clone.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/names.h"
#include "rados/cls_rbd.h"
#include "rados/op.h"

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
