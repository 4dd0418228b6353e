/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rados/cls_rbd.h"

/* What cls_rbd.h has of clones: parents, children, and copying an object up. */

enum {
    PARENT_SPEC_VERSION = 1,
    CHILD_SPEC_VERSION = 2,
    CHILD_SPEC_COMPAT = 1,
    CHILD_MIN_BYTES = (1 + 1 + 4) + 8 + 4, /* fewest bytes of one, to refuse counts that lie */
};

int rbd_decode_parent(struct decoder d, struct rbd_parent *ret)
{
    struct decoder body = decode_start(&d, PARENT_SPEC_VERSION, NULL);
    struct rbd_parent parent = {.pool_id = (int64_t)decode_u64(&body)};

    decode_string(&body, parent.namespace, sizeof(parent.namespace));
    decode_string(&body, parent.image_id, sizeof(parent.image_id));
    parent.snap_id = decode_u64(&body);
    if (body.failed)
        return -EBADMSG;
    *ret = parent;
    return 0;
}

int rbd_decode_overlap(struct decoder d, bool *ret_shows, uint64_t *ret)
{
    bool present = decode_u8(&d) != 0;
    uint64_t overlap = present ? decode_u64(&d) : 0;

    if (d.failed)
        return -EBADMSG;
    *ret_shows = present;
    *ret = overlap;
    return 0;
}

void rbd_encode_parent_attach(struct encoder *e, const struct rbd_parent *parent, uint64_t overlap)
{
    size_t mark = encode_start(e, PARENT_SPEC_VERSION, PARENT_SPEC_VERSION);

    encode_u64(e, (uint64_t)parent->pool_id);
    encode_string(e, parent->namespace);
    encode_string(e, parent->image_id);
    encode_u64(e, parent->snap_id);
    encode_finish(e, mark);
    encode_u64(e, overlap);
    encode_u8(e, 0); /* not attached again: fail when there is a parent */
}

void rbd_encode_child(struct encoder *e, uint64_t snap_id, const struct rbd_child *child)
{
    size_t mark;

    encode_u64(e, snap_id);
    mark = encode_start(e, CHILD_SPEC_VERSION, CHILD_SPEC_COMPAT);
    encode_u64(e, (uint64_t)child->pool_id);
    encode_string(e, child->image_id);
    encode_string(e, child->namespace);
    encode_finish(e, mark);
}

void rbd_encode_old_child(struct encoder *e, const struct rbd_parent *parent, const char *image_id)
{
    encode_u64(e, (uint64_t)parent->pool_id);
    encode_string(e, parent->image_id);
    encode_u64(e, parent->snap_id);
    encode_string(e, image_id);
}

static bool is_zero(const uint8_t *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* The next run of blocks that are not all zero, from *AT on; false: there is none. */
static bool next_run(const uint8_t *data, size_t len, size_t block, size_t *at, size_t *ret_end)
{
    size_t end;

    while (*at < len && is_zero(data + *at, len - *at < block ? len - *at : block))
        *at += block;
    if (*at >= len)
        return false;
    end = *at;
    while (end < len && !is_zero(data + end, len - end < block ? len - end : block))
        end += block;
    *ret_end = end < len ? end : len;
    return true;
}

size_t rbd_encode_sparse_copyup(struct encoder *e, const uint8_t *data, size_t len, size_t block)
{
    uint32_t runs = 0;
    size_t used = 0;
    size_t end = 0;

    for (size_t at = 0; next_run(data, len, block, &at, &end); at = end) {
        runs++;
        used += end - at;
    }
    encode_u32(e, runs);
    for (size_t at = 0; next_run(data, len, block, &at, &end); at = end) {
        encode_u64(e, at);
        encode_u64(e, end - at);
    }
    encode_u32(e, (uint32_t)used);
    for (size_t at = 0; next_run(data, len, block, &at, &end); at = end)
        encode_raw(e, data + at, end - at);
    return used;
}

static void decode_child(struct decoder *d, struct rbd_child *child)
{
    uint8_t version;
    struct decoder body = decode_start(d, CHILD_SPEC_VERSION, &version);

    child->pool_id = (int64_t)decode_u64(&body);
    decode_string(&body, child->image_id, sizeof(child->image_id));
    if (version >= 2)
        decode_string(&body, child->namespace, sizeof(child->namespace));
    if (body.failed)
        d->failed = true;
}

int rbd_decode_children(struct decoder d, struct rbd_child **ret, size_t *ret_count)
{
    uint32_t count = decode_count(&d, CHILD_MIN_BYTES);
    struct rbd_child *children = NULL;

    if (d.failed)
        return -EBADMSG;
    if (count > 0) {
        children = calloc(count, sizeof(*children));
        if (!children)
            return -ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++)
        decode_child(&d, &children[i]);
    if (d.failed) {
        free(children);
        return -EBADMSG;
    }
    *ret = children;
    *ret_count = count;
    return 0;
}
