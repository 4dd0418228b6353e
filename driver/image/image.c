/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/names.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* A directory or metadata page: large enough for one round trip in nearly every case, small enough
 * for one message. */
#define PAGE_ITEMS 1024

/* More images or keys than this is not a list any more but an attack on our memory. */
#define LIST_ITEMS_MAX 1000000

#define ANNOUNCE_MS 5000

/* Write access needs these to be all an image has. Object map and fast-diff are marked invalid by
 * the owner (ownership.c); deep-flatten is what our copying up is (io_copyup.c). */
#define WRITABLE_FEATURES                                                                          \
    (RBD_FEATURE_LAYERING | RBD_FEATURE_STRIPINGV2 | RBD_FEATURE_EXCLUSIVE_LOCK |                  \
     RBD_FEATURE_OBJECT_MAP | RBD_FEATURE_FAST_DIFF | RBD_FEATURE_DEEP_FLATTEN |                   \
     RBD_FEATURE_DATA_POOL | RBD_FEATURE_OPERATIONS)

/* What does not change how a snapshot is read. */
#define READABLE_FEATURES (WRITABLE_FEATURES | RBD_FEATURE_JOURNALING | RBD_FEATURE_NON_PRIMARY)

void image_header_free(struct image_header *header)
{
    free(header->snapc.snaps);
    rbd_pairs_free(&header->metadata);
    *header = (struct image_header){0};
}

const char *image_header_metadata(const struct image_header *header, const char *key)
{
    for (size_t i = 0; i < header->metadata.count; i++) {
        if (strcmp(header->metadata.items[i].key, key) == 0)
            return header->metadata.items[i].value;
    }
    return NULL;
}

static const char *feature_name(uint64_t feature)
{
    static const char *const names[] = {
        "layering",   "striping",  "exclusive-lock", "object-map", "fast-diff",   "deep-flatten",
        "journaling", "data-pool", "operations",     "migrating",  "non-primary", "dirty-cache",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (feature == UINT64_C(1) << i)
            return names[i];
    }
    return "unknown";
}

static int check(const struct image_header *header, uint64_t features, const char *verb,
                 struct error *err)
{
    uint64_t unknown = header->features & ~features;

    if (unknown) {
        uint64_t first = unknown & -unknown;

        return error_set(err, -EOPNOTSUPP,
                         "the image has the feature '%s' (bit 0x%llx), which this driver does not "
                         "%s: take it away with 'rbd feature disable' if it is not needed",
                         feature_name(first), (unsigned long long)first, verb);
    }
    if (header->stripe_count > 1 || header->stripe_unit != UINT64_C(1) << header->order)
        return error_set(err, -EOPNOTSUPP,
                         "the image is striped over several objects at a time (stripe count %llu), "
                         "which this driver does not do",
                         (unsigned long long)header->stripe_count);
    return 0;
}

int image_check_understood(const struct image_header *header, struct error *err)
{
    return check(header, WRITABLE_FEATURES, "write", err);
}

int image_check_readable(const struct image_header *header, struct error *err)
{
    return check(header, READABLE_FEATURES, "read", err);
}

int image_check_writable(const struct image_header *header, struct error *err)
{
    if (!(header->features & RBD_FEATURE_EXCLUSIVE_LOCK))
        return error_set(err, -EOPNOTSUPP,
                         "the image lacks the feature 'exclusive-lock', without which other "
                         "clients do not respect its owner: add it with 'rbd feature enable'");
    return image_check_understood(header, err);
}

int image_find(struct cluster *cluster, const char *name, int64_t deadline,
               char ret_id[IMAGE_ID_MAX], struct error *err)
{
    cleanup_encoder struct encoder answer = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    name_rbd_id(object, name);
    r = op_call(cluster_io(cluster), object, "rbd", "get_id", NULL, &answer, deadline);
    if (r == -ENOENT)
        return error_set(err, r, "no image '%s' in pool '%s'", name, cluster_pool(cluster));
    if (r == 0)
        r = rbd_decode_string(decoder_of(answer.data, answer.len), ret_id, IMAGE_ID_MAX);
    if (r < 0)
        return error_errno(err, r, "cannot look up image '%s' in pool '%s'", name,
                           cluster_pool(cluster));
    return 0;
}

/* The steps of the one round trip that reads a header, in the order they are asked for. */
enum header_step {
    STEP_SIZE,
    STEP_FEATURES,
    STEP_OP_FEATURES,
    STEP_FLAGS,
    STEP_PREFIX,
    STEP_DATA_POOL,
    STEP_STRIPE,
    STEP_SNAP_CONTEXT,
    STEP_PARENT,
    STEP_OVERLAP,
    STEP_CREATED,
    STEP_METADATA,
    STEP_LOCK,
    STEP_COUNT,
};

static void header_ask(struct op *op)
{
    cleanup_encoder struct encoder head = {0};
    cleanup_encoder struct encoder features = {0};
    cleanup_encoder struct encoder page = {0};
    cleanup_encoder struct encoder lock = {0};

    rbd_encode_snap_id(&head, RBD_HEAD);
    rbd_encode_get_features(&features, RBD_HEAD, false);
    rbd_encode_page(&page, "", PAGE_ITEMS);
    lock_encode_get_info(&lock, RBD_LOCK_NAME);

    op_exec(op, "rbd", "get_size", &head);
    op_exec(op, "rbd", "get_features", &features);
    op_exec(op, "rbd", "op_features_get", NULL);
    op_exec(op, "rbd", "get_flags", &head);
    op_exec(op, "rbd", "get_object_prefix", NULL);
    op_exec(op, "rbd", "get_data_pool", NULL);
    op_exec(op, "rbd", "get_stripe_unit_count", NULL);
    op_exec(op, "rbd", "get_snapcontext", NULL);
    op_exec(op, "rbd", "parent_get", NULL);
    op_exec(op, "rbd", "parent_overlap_get", &head);
    op_exec(op, "rbd", "get_create_timestamp", NULL);
    op_exec(op, "rbd", "metadata_list", &page);
    op_exec(op, "lock", "get_info", &lock);
}

static int step_decode(struct op *op, enum header_step step, struct image_header *h)
{
    struct decoder d;
    uint64_t incompatible;
    int r = op_result(op, step, &d);

    /* Not every image has these; zero is then the truth. */
    if (step == STEP_STRIPE && r == -ENOEXEC) {
        h->stripe_unit = UINT64_C(1) << h->order;
        h->stripe_count = 1;
        return 0;
    }
    if ((step == STEP_OP_FEATURES || step == STEP_CREATED) && r < 0)
        return 0;
    if (r < 0)
        return r;

    switch (step) {
    case STEP_SIZE:
        r = rbd_decode_size(d, &h->order, &h->size);
        return r < 0 || (h->order >= 12 && h->order <= 26) ? r : -EBADMSG;
    case STEP_FEATURES:
        return rbd_decode_features(d, &h->features, &incompatible);
    case STEP_OP_FEATURES:
        return rbd_decode_u64(d, &h->op_features);
    case STEP_FLAGS:
        return rbd_decode_u64(d, &h->flags);
    case STEP_PREFIX:
        return rbd_decode_string(d, h->object_prefix, sizeof(h->object_prefix));
    case STEP_DATA_POOL:
        return rbd_decode_s64(d, &h->data_pool_id);
    case STEP_STRIPE:
        return rbd_decode_stripe(d, &h->stripe_unit, &h->stripe_count);
    case STEP_SNAP_CONTEXT:
        return rbd_decode_snap_context(d, &h->snapc);
    case STEP_PARENT:
        return rbd_decode_parent(d, &h->parent);
    case STEP_OVERLAP:
        return rbd_decode_overlap(d, &h->shows_parent, &h->parent_overlap);
    case STEP_CREATED:
        return rbd_decode_time(d, &h->created);
    case STEP_METADATA:
        return rbd_decode_pairs(d, &h->metadata);
    case STEP_LOCK:
        return lock_decode_info(d, &h->lock);
    case STEP_COUNT:
        break;
    }
    return -EBADMSG;
}

int image_read_header(struct cluster *cluster, const char *id, int64_t deadline,
                      struct image_header *ret, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    cleanup_op struct op *op = op_read();
    char object[OBJECT_NAME_MAX];
    int r;

    if (!op)
        return error_set(err, -ENOMEM, "out of memory");
    name_header(object, id);
    header_ask(op);
    r = op_run(op, cluster_io(cluster), object, deadline);
    if (r < 0)
        return error_errno(err, r, "cannot read %s in pool '%s'", object, cluster_pool(cluster));
    for (unsigned step = 0; step < STEP_COUNT; step++) {
        r = step_decode(op, step, &header);
        if (r < 0)
            return error_errno(err, r, "%s in pool '%s' is not a whole RBD v2 header (item %u)",
                               object, cluster_pool(cluster), step);
    }
    snprintf(header.id, sizeof(header.id), "%s", id);
    *ret = header;
    header = (struct image_header){0};
    return 0;
}

static int pairs_append(struct rbd_pairs *all, struct rbd_pairs *page)
{
    struct rbd_pair *items;

    if (page->count == 0)
        return 0;
    if (all->count + page->count > LIST_ITEMS_MAX)
        return -E2BIG;
    items = reallocarray(all->items, all->count + page->count, sizeof(*items));
    if (!items)
        return -ENOMEM;
    memcpy(items + all->count, page->items, page->count * sizeof(*items));
    all->items = items;
    all->count += page->count;
    page->count = 0; /* its strings belong to ALL now */
    return 0;
}

int image_list(struct cluster *cluster, int64_t deadline, struct rbd_pairs *ret, struct error *err)
{
    struct rbd_pairs all = {0};
    bool more = true;
    int r = 0;

    while (more && r == 0) {
        cleanup_encoder struct encoder in = {0};
        cleanup_encoder struct encoder answer = {0};
        struct rbd_pairs page = {0};

        rbd_encode_page(&in, all.count ? all.items[all.count - 1].key : "", PAGE_ITEMS);
        r = op_call(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_list", &in, &answer, deadline);
        if (r == -ENOENT) { /* no image was ever made in this pool */
            r = 0;
            break;
        }
        if (r == 0)
            r = rbd_decode_pairs(decoder_of(answer.data, answer.len), &page);
        more = page.count == PAGE_ITEMS;
        if (r == 0)
            r = pairs_append(&all, &page);
        rbd_pairs_free(&page);
    }
    if (r < 0) {
        rbd_pairs_free(&all);
        return error_errno(err, r, "cannot list the images in pool '%s'", cluster_pool(cluster));
    }
    *ret = all;
    return 0;
}

int image_set_metadata(struct cluster *cluster, const char *id, const char *key, const char *value,
                       int64_t deadline, struct error *err)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder in = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    if (!op)
        return error_set(err, -ENOMEM, "out of memory");
    name_header(object, id);
    if (value) {
        rbd_encode_pairs_begin(&in, 1);
        rbd_encode_pair(&in, key, value, strlen(value));
    } else {
        rbd_encode_string(&in, key);
    }
    op_assert_exists(op); /* or the call would make an empty header */
    op_exec(op, "rbd", value ? "metadata_set" : "metadata_remove", &in);
    r = op_run(op, cluster_io(cluster), object, deadline);
    if (r < 0)
        return error_errno(err, r, "cannot set '%s' on %s", key, object);
    return 0;
}

void image_announce(struct cluster *cluster, const char *id, int64_t deadline)
{
    cleanup_encoder struct encoder payload = {0};
    char object[OBJECT_NAME_MAX];

    name_header(object, id);
    notify_encode_header_update(&payload);
    op_notify(cluster_io(cluster), object, &payload, ANNOUNCE_MS, NULL,
              deadline_earlier(deadline, deadline_in_ms(2 * ANNOUNCE_MS)));
}

int image_snapshot(struct cluster *cluster, const char *id, uint64_t snap_id, int64_t deadline,
                   struct rbd_snapshot *ret, struct error *err)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    name_header(object, id);
    rbd_encode_snap_id(&in, snap_id);
    r = op_call(cluster_io(cluster), object, "rbd", "snapshot_get", &in, &answer, deadline);
    if (r == 0)
        r = rbd_decode_snapshot(decoder_of(answer.data, answer.len), ret);
    if (r < 0)
        return error_errno(err, r, "cannot read snapshot %llu of %s", (unsigned long long)snap_id,
                           object);
    return 0;
}

int image_parent_overlap(struct cluster *cluster, const char *id, uint64_t snap_id,
                         int64_t deadline, bool *ret_shows, uint64_t *ret, struct error *err)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    name_header(object, id);
    rbd_encode_snap_id(&in, snap_id);
    r = op_call(cluster_io(cluster), object, "rbd", "parent_overlap_get", &in, &answer, deadline);
    if (r == 0)
        r = rbd_decode_overlap(decoder_of(answer.data, answer.len), ret_shows, ret);
    return r < 0 ? error_errno(err, r, "cannot read how much %s shows of its parent", object) : 0;
}
