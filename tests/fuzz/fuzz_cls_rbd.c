/* SPDX-License-Identifier: Apache-2.0 */
#include "decoders.h"

#include <errno.h>

#include "rados/cls_rbd.h"

/* The answers of the "rbd" class. The first byte picks the decoder; the rest is the answer, or
 * edits to a good one. */

static const char snap_context_sample[] =
    "\x09\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x09\x00\x00\x00"
    "\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00";
static const char snapshot_sample[] =
    "\x01\x01\x2c\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x01\x01"
    "\x04\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x73\x32\x00\x00"
    "\x00\x04\x00\x00\x00\x00\xee\x73\x05\x6b\x80\xbc\x85\x30\x00\x00"
    "\x00\x00";
static const char parent_sample[] =
    "\x01\x01\x24\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x0c\x00\x00\x00\x33\x37\x35\x30\x36\x65\x63\x63\x38\x33"
    "\x66\x62\x08\x00\x00\x00\x00\x00\x00\x00";
static const char children_sample[] =
    "\x01\x00\x00\x00\x02\x01\x1c\x00\x00\x00\x01\x00\x00\x00\x00\x00"
    "\x00\x00\x0c\x00\x00\x00\x31\x30\x32\x65\x33\x38\x63\x36\x38\x31"
    "\x66\x61\x00\x00\x00\x00";
static const char overlap_sample[] = "\x01\x00\x00\x80\x00\x00\x00\x00\x00";
static const char trash_spec_sample[] =
    "\x02\x01\x27\x00\x00\x00\x00\x11\x00\x00\x00\x62\x79\x74\x65\x73"
    "\x2d\x70\x72\x6f\x62\x65\x2d\x63\x6c\x6f\x6e\x65\x0d\x74\x05\x6b"
    "\x7f\x32\x9e\x18\x9a\xd8\xdb\x70\x7f\x32\x9e\x18\x00";
static const char trash_list_sample[] =
    "\x01\x00\x00\x00\x0c\x00\x00\x00\x33\x37\x35\x63\x64\x63\x63\x61"
    "\x63\x64\x34\x31\x02\x01\x27\x00\x00\x00\x00\x11\x00\x00\x00\x62"
    "\x79\x74\x65\x73\x2d\x70\x72\x6f\x62\x65\x2d\x63\x6c\x6f\x6e\x65"
    "\x0d\x74\x05\x6b\x7f\x32\x9e\x18\x9a\xd8\xdb\x70\x7f\x32\x9e\x18"
    "\x00";
static const char pairs_sample[] =
    "\x02\x00\x00\x00\x0b\x00\x00\x00\x62\x79\x74\x65\x73\x2d\x70\x72"
    "\x6f\x62\x65\x0c\x00\x00\x00\x33\x37\x35\x30\x36\x65\x63\x63\x38"
    "\x33\x66\x62\x01\x00\x00\x00\x6b\x03\x00\x00\x00\x78\x20\x79";
static const char string_sample[] = "\x06\x00\x00\x00\x63\x30\x66\x66\x65\x65";
static const char size_sample[] = "\x16\x00\x00\x00\x04\x00\x00\x00\x00";
static const char numbers_sample[] =
    "\x3d\x00\x00\x00\x00\x00\x00\x00\xee\x73\x05\x6b\x4e\x60\x64\x0a";

static void check_time(const struct timespec *t)
{
    CHECK(t->tv_sec >= 0 && t->tv_sec <= UINT32_MAX);
    CHECK(t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

static void fuzz_string(struct decoder d)
{
    cleanup_encoder struct encoder e = {0};
    char text[RBD_NAME_MAX];

    if (rbd_decode_string(d, text, sizeof(text)) < 0) {
        CHECK(text[0] == '\0');
        return;
    }
    rbd_encode_string(&e, text);
    CHECK(e.len <= decoder_left(&d) && memcmp(e.data, d.at, e.len) == 0);
}

static void fuzz_size(struct decoder d)
{
    uint8_t order;
    uint64_t size;

    if (rbd_decode_size(d, &order, &size) < 0)
        return;
    CHECK(order < 64);
    CHECK(decoder_left(&d) >= 9);
}

static void fuzz_numbers(struct decoder d)
{
    uint64_t first, second, features, incompatible, u64;
    struct timespec t;
    int64_t s64;
    int two = rbd_decode_stripe(d, &first, &second);

    CHECK(two == rbd_decode_features(d, &features, &incompatible));
    CHECK(two == (decoder_left(&d) >= 16 ? 0 : -EBADMSG));
    if (two == 0)
        CHECK(first == features && second == incompatible);
    if (decoder_left(&d) < 8) {
        CHECK(rbd_decode_u64(d, &u64) == -EBADMSG);
        CHECK(rbd_decode_s64(d, &s64) == -EBADMSG);
        CHECK(rbd_decode_time(d, &t) == -EBADMSG);
        return;
    }
    CHECK(rbd_decode_u64(d, &u64) == 0 && rbd_decode_s64(d, &s64) == 0);
    CHECK(u64 == (uint64_t)s64);
    if (rbd_decode_time(d, &t) == 0)
        check_time(&t);
}

/* The same bytes come out again, so nothing was lost or made up. */
static void fuzz_pairs(struct decoder d)
{
    cleanup_encoder struct encoder e = {0};
    struct rbd_pairs pairs;

    fuzz_fill(&pairs, sizeof(pairs));
    if (rbd_decode_pairs(d, &pairs) < 0) {
        CHECK(fuzz_untouched(&pairs, sizeof(pairs)));
        return;
    }
    rbd_encode_pairs_begin(&e, (uint32_t)pairs.count);
    for (size_t i = 0; i < pairs.count; i++) {
        CHECK(pairs.items[i].value[pairs.items[i].value_len] == '\0');
        rbd_encode_pair(&e, pairs.items[i].key, pairs.items[i].value, pairs.items[i].value_len);
    }
    CHECK(e.len <= decoder_left(&d) && memcmp(e.data, d.at, e.len) == 0);
    rbd_pairs_free(&pairs);
    CHECK(!pairs.items && pairs.count == 0);
}

static void fuzz_snap_context(struct decoder d)
{
    struct rbd_snap_context context;

    fuzz_fill(&context, sizeof(context));
    if (rbd_decode_snap_context(d, &context) < 0) {
        CHECK(fuzz_untouched(&context, sizeof(context)));
        return;
    }
    CHECK(context.count <= RBD_SNAPS_MAX);
    for (size_t i = 0; i < context.count; i++)
        CHECK(i == 0 ? context.snaps[i] <= context.seq : context.snaps[i] < context.snaps[i - 1]);
    free(context.snaps);
}

static void fuzz_snapshot(struct decoder d)
{
    struct rbd_snapshot snapshot;

    fuzz_fill(&snapshot, sizeof(snapshot));
    if (rbd_decode_snapshot(d, &snapshot) < 0) {
        CHECK(fuzz_untouched(&snapshot, sizeof(snapshot)));
        return;
    }
    CHECK(memchr(snapshot.name, 0, sizeof(snapshot.name)));
    CHECK(memchr(snapshot.original_name, 0, sizeof(snapshot.original_name)));
    check_time(&snapshot.created);
}

static void fuzz_parent(struct decoder d)
{
    struct rbd_parent parent;

    fuzz_fill(&parent, sizeof(parent));
    if (rbd_decode_parent(d, &parent) < 0) {
        CHECK(fuzz_untouched(&parent, sizeof(parent)));
        return;
    }
    CHECK(memchr(parent.namespace, 0, sizeof(parent.namespace)));
    CHECK(memchr(parent.image_id, 0, sizeof(parent.image_id)));
}

/* A clone that is attached again is the same clone. */
static void fuzz_children(struct decoder d)
{
    struct rbd_child *children;
    size_t count;

    fuzz_fill(&children, sizeof(children));
    if (rbd_decode_children(d, &children, &count) < 0) {
        CHECK(fuzz_untouched(&children, sizeof(children)));
        return;
    }
    CHECK((count == 0) == !children);
    for (size_t i = 0; i < count; i++) {
        cleanup_encoder struct encoder e = {0};
        cleanup_encoder struct encoder list = {0};
        struct rbd_child *again;
        size_t one;

        rbd_encode_child(&e, 1, &children[i]);
        encode_u32(&list, 1);
        encode_raw(&list, e.data + 8, e.len - 8);
        CHECK(!e.failed && !list.failed);
        CHECK(rbd_decode_children(decoder_of(list.data, list.len), &again, &one) == 0);
        CHECK(one == 1 && again->pool_id == children[i].pool_id);
        CHECK(strcmp(again->image_id, children[i].image_id) == 0);
        CHECK(strcmp(again->namespace, children[i].namespace) == 0);
        free(again);
    }
    free(children);
}

static void fuzz_overlap(struct decoder d)
{
    uint64_t overlap;
    uint8_t protection;
    bool shows;
    int r = rbd_decode_overlap(d, &shows, &overlap);

    CHECK(rbd_decode_u8(d, &protection) == (decoder_left(&d) > 0 ? 0 : -EBADMSG));
    if (r == 0)
        CHECK(shows ? protection && decoder_left(&d) >= 9 : overlap == 0);
}

static void check_same_spec(const struct rbd_trash_spec *a, const struct rbd_trash_spec *b)
{
    CHECK(a->source == b->source && a->state == b->state && strcmp(a->name, b->name) == 0);
    CHECK(a->deleted.tv_sec == b->deleted.tv_sec && a->deleted.tv_nsec == b->deleted.tv_nsec);
    CHECK(a->deferred_until.tv_sec == b->deferred_until.tv_sec &&
          a->deferred_until.tv_nsec == b->deferred_until.tv_nsec);
}

/* An entry of the trash, put in again and listed again, is the same entry. */
static void check_trash_round_trip(const struct rbd_trash_entry *entry)
{
    cleanup_encoder struct encoder e = {0};
    struct rbd_trash_entry *again;
    size_t count;

    check_time(&entry->spec.deleted);
    check_time(&entry->spec.deferred_until);
    encode_u32(&e, 1);
    rbd_encode_trash_add(&e, entry->id, &entry->spec);
    CHECK(!e.failed);
    CHECK(rbd_decode_trash_list(decoder_of(e.data, e.len), &again, &count) == 0);
    CHECK(count == 1 && strcmp(again->id, entry->id) == 0);
    check_same_spec(&again->spec, &entry->spec);
    free(again);
}

static void fuzz_trash_spec(struct decoder d)
{
    struct rbd_trash_entry entry = {.id = "c0ffee"};

    fuzz_fill(&entry.spec, sizeof(entry.spec));
    if (rbd_decode_trash_spec(d, &entry.spec) < 0)
        CHECK(fuzz_untouched(&entry.spec, sizeof(entry.spec)));
    else
        check_trash_round_trip(&entry);
}

static void fuzz_trash_list(struct decoder d)
{
    struct rbd_trash_entry *entries;
    size_t count;

    fuzz_fill(&entries, sizeof(entries));
    if (rbd_decode_trash_list(d, &entries, &count) < 0) {
        CHECK(fuzz_untouched(&entries, sizeof(entries)));
        return;
    }
    for (size_t i = 0; i < count; i++)
        check_trash_round_trip(&entries[i]);
    free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct decoder_target targets[] = {
        TARGET(string),       TARGET(size),     TARGET(numbers), TARGET(pairs),
        TARGET(snap_context), TARGET(snapshot), TARGET(parent),  TARGET(trash_spec),
        TARGET(trash_list),   TARGET(children), TARGET(overlap),
    };

    fuzz_decoders(targets, sizeof(targets) / sizeof(targets[0]), data, size);
    return 0;
}
