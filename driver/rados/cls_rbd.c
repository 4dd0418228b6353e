/* SPDX-License-Identifier: Apache-2.0 */
#include "rados/cls_rbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Answers without a version are read the way Ceph reads them: bytes behind what we know are left
 * alone, so that a newer OSD may say more. Nothing is stored in *ret before the whole answer is
 * known to be good. */

/* Versions of the structs below that this file understands; a struct says itself how old a reader
 * may be, so newer ones are read too as long as they allow it. */
enum {
    SNAPSHOT_INFO_VERSION = 1,
    SNAPSHOT_NAMESPACE_VERSION = 1,
    TRASH_SPEC_VERSION = 2,
    TRASH_SPEC_COMPAT = 1,
};

/* Fewest bytes an item of a list takes, to refuse counts that cannot be true. */
enum {
    PAIR_MIN_BYTES = 4 + 4,
    SNAP_MIN_BYTES = 8,
    TRASH_ENTRY_MIN_BYTES = 4 + (1 + 1 + 4) + (1 + 4 + 8 + 8),
};

static void encode_time(struct encoder *e, struct timespec t)
{
    int64_t seconds = t.tv_sec;

    /* The field ends in 2106; the nearest time it can say is better than a wrapped one. */
    if (seconds < 0)
        seconds = 0;
    if (seconds > UINT32_MAX)
        seconds = UINT32_MAX;
    encode_u32(e, (uint32_t)seconds);
    encode_u32(e, (uint32_t)t.tv_nsec);
}

static struct timespec decode_time(struct decoder *d)
{
    uint32_t seconds = decode_u32(d);
    uint32_t nanoseconds = decode_u32(d);

    if (nanoseconds >= NS_PER_S)
        d->failed = true;
    return (struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds};
}

static int outcome(const struct decoder *d)
{
    return d->failed ? -EBADMSG : 0;
}

void rbd_encode_create(struct encoder *e, uint64_t size, uint8_t order, uint64_t features,
                       const char *object_prefix, int64_t data_pool_id)
{
    encode_u64(e, size);
    encode_u8(e, order);
    encode_u64(e, features);
    encode_string(e, object_prefix);
    encode_u64(e, (uint64_t)data_pool_id);
}

void rbd_encode_string(struct encoder *e, const char *text)
{
    encode_string(e, text);
}

void rbd_encode_name_id(struct encoder *e, const char *name, const char *id)
{
    encode_string(e, name);
    encode_string(e, id);
}

void rbd_encode_page(struct encoder *e, const char *start_after, uint64_t max)
{
    encode_string(e, start_after);
    encode_u64(e, max);
}

void rbd_encode_snap_id(struct encoder *e, uint64_t snap_id)
{
    encode_u64(e, snap_id);
}

void rbd_encode_get_features(struct encoder *e, uint64_t snap_id, bool read_only)
{
    encode_u64(e, snap_id);
    encode_u8(e, read_only);
}

void rbd_encode_set_flags(struct encoder *e, uint64_t flags, uint64_t mask, uint64_t snap_id)
{
    encode_u64(e, flags);
    encode_u64(e, mask);
    encode_u64(e, snap_id);
}

void rbd_encode_op_features_set(struct encoder *e, uint64_t op_features, uint64_t mask)
{
    encode_u64(e, op_features);
    encode_u64(e, mask);
}

void rbd_encode_set_size(struct encoder *e, uint64_t size)
{
    encode_u64(e, size);
}

void rbd_encode_pairs_begin(struct encoder *e, uint32_t count)
{
    encode_u32(e, count);
}

void rbd_encode_pair(struct encoder *e, const char *key, const void *value, size_t value_len)
{
    encode_string(e, key);
    encode_blob(e, value, value_len);
}

void rbd_encode_snapshot_add(struct encoder *e, const char *name, uint64_t snap_id)
{
    size_t mark;

    encode_string(e, name);
    encode_u64(e, snap_id);
    mark = encode_start(e, SNAPSHOT_NAMESPACE_VERSION, SNAPSHOT_NAMESPACE_VERSION);
    encode_u32(e, RBD_NAMESPACE_USER);
    encode_finish(e, mark);
}

void rbd_encode_snapshot_rename(struct encoder *e, uint64_t snap_id, const char *name)
{
    encode_u64(e, snap_id);
    encode_string(e, name);
}

void rbd_encode_set_protection(struct encoder *e, uint64_t snap_id, uint8_t protection)
{
    encode_u64(e, snap_id);
    encode_u8(e, protection);
}

int rbd_decode_string(struct decoder d, char *ret, size_t size)
{
    decode_string(&d, ret, size);
    return outcome(&d);
}

int rbd_decode_size(struct decoder d, uint8_t *ret_order, uint64_t *ret_size)
{
    uint8_t order = decode_u8(&d);
    uint64_t size = decode_u64(&d);

    /* 1 << order is the size of an object, so a larger one is not an order. */
    if (d.failed || order >= 64)
        return -EBADMSG;
    *ret_order = order;
    *ret_size = size;
    return 0;
}

static int decode_two(struct decoder d, uint64_t *ret_first, uint64_t *ret_second)
{
    uint64_t first = decode_u64(&d);
    uint64_t second = decode_u64(&d);

    if (d.failed)
        return -EBADMSG;
    *ret_first = first;
    *ret_second = second;
    return 0;
}

int rbd_decode_features(struct decoder d, uint64_t *ret_features, uint64_t *ret_incompatible)
{
    return decode_two(d, ret_features, ret_incompatible);
}

int rbd_decode_stripe(struct decoder d, uint64_t *ret_unit, uint64_t *ret_count)
{
    return decode_two(d, ret_unit, ret_count);
}

int rbd_decode_u8(struct decoder d, uint8_t *ret)
{
    uint8_t value = decode_u8(&d);

    if (d.failed)
        return -EBADMSG;
    *ret = value;
    return 0;
}

int rbd_decode_u64(struct decoder d, uint64_t *ret)
{
    uint64_t value = decode_u64(&d);

    if (d.failed)
        return -EBADMSG;
    *ret = value;
    return 0;
}

int rbd_decode_s64(struct decoder d, int64_t *ret)
{
    uint64_t value;
    int r = rbd_decode_u64(d, &value);

    if (r == 0)
        *ret = (int64_t)value;
    return r;
}

int rbd_decode_time(struct decoder d, struct timespec *ret)
{
    struct timespec value = decode_time(&d);

    if (d.failed)
        return -EBADMSG;
    *ret = value;
    return 0;
}

void rbd_pairs_free(struct rbd_pairs *pairs)
{
    for (size_t i = 0; i < pairs->count; i++) {
        free(pairs->items[i].key);
        free(pairs->items[i].value);
    }
    free(pairs->items);
    *pairs = (struct rbd_pairs){0};
}

/* The bytes of a u32-length string as memory of their own, a NUL behind them. */
static int decode_copy(struct decoder *d, char **ret, size_t *ret_len)
{
    struct decoder body = decode_blob(d);
    size_t len = decoder_left(&body);
    char *copy;

    if (body.failed)
        return -EBADMSG;
    copy = malloc(len + 1);
    if (!copy)
        return -ENOMEM;
    if (len > 0)
        memcpy(copy, body.at, len);
    copy[len] = '\0';
    *ret = copy;
    *ret_len = len;
    return 0;
}

static int decode_pair(struct decoder *d, struct rbd_pair *pair)
{
    size_t key_len;
    int r = decode_copy(d, &pair->key, &key_len);

    if (r < 0)
        return r;
    if (strlen(pair->key) != key_len)
        return -EBADMSG;
    return decode_copy(d, &pair->value, &pair->value_len);
}

int rbd_decode_pairs(struct decoder d, struct rbd_pairs *ret)
{
    struct rbd_pairs pairs = {.count = decode_count(&d, PAIR_MIN_BYTES)};
    int r = 0;

    if (d.failed)
        return -EBADMSG;
    if (pairs.count > 0) {
        pairs.items = calloc(pairs.count, sizeof(*pairs.items));
        if (!pairs.items)
            return -ENOMEM;
    }
    for (size_t i = 0; i < pairs.count && r == 0; i++)
        r = decode_pair(&d, &pairs.items[i]);
    if (r < 0)
        rbd_pairs_free(&pairs);
    else
        *ret = pairs;
    return r;
}

/* librados refuses to write under a context that is not in this order; say so before it does. */
static bool newest_first(const struct rbd_snap_context *context)
{
    uint64_t above = context->seq;

    for (size_t i = 0; i < context->count; i++) {
        if (i == 0 ? context->snaps[i] > above : context->snaps[i] >= above)
            return false;
        above = context->snaps[i];
    }
    return true;
}

int rbd_decode_snap_context(struct decoder d, struct rbd_snap_context *ret)
{
    struct rbd_snap_context context = {.seq = decode_u64(&d)};

    context.count = decode_count(&d, SNAP_MIN_BYTES);
    if (d.failed || context.count > RBD_SNAPS_MAX)
        return -EBADMSG;
    if (context.count > 0) {
        context.snaps = calloc(context.count, sizeof(*context.snaps));
        if (!context.snaps)
            return -ENOMEM;
    }
    for (size_t i = 0; i < context.count; i++)
        context.snaps[i] = decode_u64(&d);
    if (d.failed || !newest_first(&context)) {
        free(context.snaps);
        return -EBADMSG;
    }
    *ret = context;
    return 0;
}

int rbd_decode_snapshot(struct decoder d, struct rbd_snapshot *ret)
{
    struct decoder body = decode_start(&d, SNAPSHOT_INFO_VERSION, NULL);
    struct rbd_snapshot snapshot = {.id = decode_u64(&body)};
    struct decoder namespace = decode_start(&body, SNAPSHOT_NAMESPACE_VERSION, NULL);

    snapshot.namespace_type = decode_u32(&namespace);
    if (snapshot.namespace_type == RBD_NAMESPACE_TRASH)
        decode_string(&namespace, snapshot.original_name, sizeof(snapshot.original_name));
    decode_string(&body, snapshot.name, sizeof(snapshot.name));
    snapshot.size = decode_u64(&body);
    snapshot.created = decode_time(&body);
    snapshot.child_count = decode_u32(&body);
    if (body.failed || namespace.failed)
        return -EBADMSG;
    *ret = snapshot;
    return 0;
}

void rbd_encode_trash_add(struct encoder *e, const char *id, const struct rbd_trash_spec *spec)
{
    size_t mark;

    encode_string(e, id);
    mark = encode_start(e, TRASH_SPEC_VERSION, TRASH_SPEC_COMPAT);
    encode_u8(e, spec->source);
    encode_string(e, spec->name);
    encode_time(e, spec->deleted);
    encode_time(e, spec->deferred_until);
    encode_u8(e, spec->state);
    encode_finish(e, mark);
}

void rbd_encode_trash_state_set(struct encoder *e, const char *id, uint8_t state, uint8_t expected)
{
    encode_string(e, id);
    encode_u8(e, state);
    encode_u8(e, expected);
}

static void decode_trash_spec(struct decoder *d, struct rbd_trash_spec *spec)
{
    uint8_t version;
    struct decoder body = decode_start(d, TRASH_SPEC_VERSION, &version);

    spec->source = decode_u8(&body);
    decode_string(&body, spec->name, sizeof(spec->name));
    spec->deleted = decode_time(&body);
    spec->deferred_until = decode_time(&body);
    spec->state = version >= 2 ? decode_u8(&body) : (uint8_t)RBD_TRASH_NORMAL;
    if (body.failed)
        d->failed = true;
}

int rbd_decode_trash_spec(struct decoder d, struct rbd_trash_spec *ret)
{
    struct rbd_trash_spec spec = {0};

    decode_trash_spec(&d, &spec);
    if (d.failed)
        return -EBADMSG;
    *ret = spec;
    return 0;
}

int rbd_decode_trash_list(struct decoder d, struct rbd_trash_entry **ret, size_t *ret_count)
{
    uint32_t count = decode_count(&d, TRASH_ENTRY_MIN_BYTES);
    struct rbd_trash_entry *entries = NULL;

    if (d.failed)
        return -EBADMSG;
    if (count > 0) {
        entries = calloc(count, sizeof(*entries));
        if (!entries)
            return -ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        decode_string(&d, entries[i].id, sizeof(entries[i].id));
        decode_trash_spec(&d, &entries[i].spec);
    }
    if (d.failed) {
        free(entries);
        return -EBADMSG;
    }
    *ret = entries;
    *ret_count = count;
    return 0;
}
