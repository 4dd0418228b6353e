/* SPDX-License-Identifier: Apache-2.0 */
#include "hex.h"

#include "rados/cls_rbd.h"

/* Snapshots and parents in the answers of the "rbd" class. Samples marked "real"
 * were answered by the OSDs of Ceph 16.2.15 for images made with its own rbd command. */

#define REAL_SNAP_CONTEXT "0900000000000000 02000000 0900000000000000 0800000000000000"
#define REAL_SNAPSHOT                                                                              \
    "01 01 2c000000 | 0900000000000000 | 01 01 04000000 00000000 | 02000000 's2'"                  \
    "0000000400000000 | ee73056b 80bc8530 | 00000000"
#define REAL_PARENT                                                                                \
    "01 01 24000000 | 0100000000000000 | 00000000 | 0c000000 '37506ecc83fb' | 0800000000000000"
#define REAL_NO_PARENT "01 01 18000000 | ffffffffffffffff | 00000000 | 00000000 | feffffffffffffff"

/* snapshot contexts */

static int try_snap_context(struct decoder d)
{
    struct rbd_snap_context context = {0};
    int r = rbd_decode_snap_context(d, &context);

    free(context.snaps);
    return r;
}

static int snap_context(const char *hex)
{
    uint8_t *bytes;
    int r = try_snap_context(hex_decoder(hex, &bytes));

    free(bytes);
    return r;
}

static void test_snap_context(void **state)
{
    struct rbd_snap_context context;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_snap_context(hex_decoder(REAL_SNAP_CONTEXT, &bytes), &context), 0);
    free(bytes);
    assert_int_equal(context.seq, 9);
    assert_int_equal(context.count, 2);
    assert_int_equal(context.snaps[0], 9);
    assert_int_equal(context.snaps[1], 8);
    free(context.snaps);

    /* no snapshot left, but ids were given */
    assert_int_equal(
        rbd_decode_snap_context(hex_decoder("0900000000000000 00000000", &bytes), &context), 0);
    free(bytes);
    assert_int_equal(context.seq, 9);
    assert_int_equal(context.count, 0);
    assert_null(context.snaps);
    assert_truncated(REAL_SNAP_CONTEXT, 0, try_snap_context);
}

static void test_snap_context_order(void **state)
{
    (void)state;
    /* older than seq is right, newer is not */
    assert_int_equal(snap_context("0900000000000000 01000000 0300000000000000"), 0);
    assert_int_equal(snap_context("0900000000000000 01000000 0a00000000000000"), -EBADMSG);
    /* oldest first, and one twice */
    assert_int_equal(snap_context("0900000000000000 02000000 0800000000000000 0900000000000000"),
                     -EBADMSG);
    assert_int_equal(snap_context("0900000000000000 02000000 0900000000000000 0900000000000000"),
                     -EBADMSG);
}

static void test_snap_context_count(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    assert_int_equal(snap_context("0900000000000000 ffffffff 0900000000000000"), -EBADMSG);
    for (uint32_t count = RBD_SNAPS_MAX; count <= RBD_SNAPS_MAX + 1; count++) {
        encode_u64(&e, count);
        encode_u32(&e, count);
        for (uint32_t i = 0; i < count; i++)
            encode_u64(&e, count - i);
        assert_false(e.failed);
        assert_int_equal(try_snap_context(decoder_of(e.data, e.len)),
                         count == RBD_SNAPS_MAX ? 0 : -EBADMSG);
        encoder_free(&e);
    }
}

/* snapshots */

static int try_snapshot(struct decoder d)
{
    struct rbd_snapshot snapshot;

    return rbd_decode_snapshot(d, &snapshot);
}

static void test_snapshot(void **state)
{
    struct rbd_snapshot snapshot;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_snapshot(hex_decoder(REAL_SNAPSHOT, &bytes), &snapshot), 0);
    free(bytes);
    assert_int_equal(snapshot.id, 9);
    assert_int_equal(snapshot.namespace_type, 0);
    assert_string_equal(snapshot.name, "s2");
    assert_int_equal(snapshot.size, 64 << 20);
    assert_int_equal(snapshot.created.tv_sec, 0x6b0573ee);
    assert_int_equal(snapshot.created.tv_nsec, 0x3085bc80);
    assert_int_equal(snapshot.child_count, 0);
    assert_truncated(REAL_SNAPSHOT, 0, try_snapshot);
}

/* Removed by `rbd snap rm` while two clones needed it. */
static void test_snapshot_in_trash(void **state)
{
    static const char hex[] = "01 01 58000000 | 0500000000000000"
                              "01 01 0e000000 02000000 02000000 's1' 00000000"
                              "24000000 '93fbdd6b-7a77-4c7b-9df5-e43f2563268f'"
                              "0000800000000000 | 4ba3056b 82aacb36 | 02000000";
    struct rbd_snapshot snapshot;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_snapshot(hex_decoder(hex, &bytes), &snapshot), 0);
    free(bytes);
    assert_int_equal(snapshot.namespace_type, RBD_NAMESPACE_TRASH);
    assert_string_equal(snapshot.original_name, "s1");
    assert_string_equal(snapshot.name, "93fbdd6b-7a77-4c7b-9df5-e43f2563268f");
    assert_int_equal(snapshot.size, 8 << 20);
    assert_int_equal(snapshot.child_count, 2);
    assert_truncated(hex, 0, try_snapshot);
}

/* The body of a namespace that is neither a user's nor the trash is skipped by its length. */
static void test_snapshot_of_group(void **state)
{
    struct rbd_snapshot snapshot;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(
        rbd_decode_snapshot(hex_decoder("01 01 3f000000 | 0900000000000000"
                                        "01 01 17000000 01000000 0100000000000000 01000000 'g'"
                                        "02000000 'gs' | 02000000 's2'"
                                        "0000000400000000 | ee73056b 80bc8530 | 03000000",
                                        &bytes),
                            &snapshot),
        0);
    free(bytes);
    assert_int_equal(snapshot.namespace_type, 1);
    assert_string_equal(snapshot.name, "s2");
    assert_int_equal(snapshot.child_count, 3);
}

static void test_snapshot_versions(void **state)
{
    struct rbd_snapshot snapshot = {.id = 77};
    uint8_t *bytes;

    (void)state;
    /* newer, but readable by us: what it adds is skipped, inside the namespace too */
    assert_int_equal(rbd_decode_snapshot(hex_decoder("07 01 32000000 | 0900000000000000"
                                                     "05 01 06000000 07000000 ffff"
                                                     "02000000 's2' 0000000400000000"
                                                     "ee73056b 80bc8530 | 01000000 | ffffffff",
                                                     &bytes),
                                         &snapshot),
                     0);
    free(bytes);
    assert_int_equal(snapshot.id, 9);
    assert_int_equal(snapshot.namespace_type, 7);
    assert_int_equal(snapshot.child_count, 1);

    snapshot.id = 77;
    assert_int_equal(
        rbd_decode_snapshot(hex_decoder("02 02 2c000000 | 0900000000000000"
                                        "01 01 04000000 00000000 | 02000000 's2'"
                                        "0000000400000000 | ee73056b 80bc8530 | 00000000",
                                        &bytes),
                            &snapshot),
        -EBADMSG);
    free(bytes);
    assert_int_equal(
        rbd_decode_snapshot(hex_decoder("01 01 2c000000 | 0900000000000000"
                                        "02 02 04000000 00000000 | 02000000 's2'"
                                        "0000000400000000 | ee73056b 80bc8530 | 00000000",
                                        &bytes),
                            &snapshot),
        -EBADMSG);
    free(bytes);
    assert_int_equal(snapshot.id, 77);
}

/* parents */

static int try_parent(struct decoder d)
{
    struct rbd_parent parent;

    return rbd_decode_parent(d, &parent);
}

static void test_parent(void **state)
{
    struct rbd_parent parent;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_parent(hex_decoder(REAL_PARENT, &bytes), &parent), 0);
    free(bytes);
    assert_int_equal(parent.pool_id, 1);
    assert_string_equal(parent.namespace, "");
    assert_string_equal(parent.image_id, "37506ecc83fb");
    assert_int_equal(parent.snap_id, 8);

    assert_int_equal(rbd_decode_parent(hex_decoder(REAL_NO_PARENT, &bytes), &parent), 0);
    free(bytes);
    assert_int_equal(parent.pool_id, -1);
    assert_string_equal(parent.image_id, "");
    assert_true(parent.snap_id == RBD_HEAD);
    assert_truncated(REAL_PARENT, 0, try_parent);
    assert_truncated(REAL_NO_PARENT, 0, try_parent);
}

static void test_parent_versions(void **state)
{
    struct rbd_parent parent = {.pool_id = 77};
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_parent(hex_decoder("02 02 1e000000 | 0100000000000000 | 00000000"
                                                   "06000000 'c0ffee' | 0800000000000000",
                                                   &bytes),
                                       &parent),
                     -EBADMSG);
    free(bytes);
    assert_int_equal(parent.pool_id, 77);
    assert_int_equal(
        rbd_decode_parent(hex_decoder("02 01 23000000 | 0100000000000000 | 02000000 'ns'"
                                      "06000000 'c0ffee' | 0800000000000000 | ffffff"
                                      "ffff",
                                      &bytes),
                          &parent),
        0);
    free(bytes);
    assert_string_equal(parent.namespace, "ns");
    assert_string_equal(parent.image_id, "c0ffee");
    assert_int_equal(parent.snap_id, 8);
}

/* An id longer than any id can be would not fit; it is refused, not cut. */
static void test_parent_long_id(void **state)
{
    for (uint32_t len = RBD_ID_MAX - 1; len <= RBD_ID_MAX; len++) {
        cleanup_encoder struct encoder e = {0};
        size_t mark = encode_start(&e, 1, 1);

        (void)state;
        encode_u64(&e, 1);
        encode_u32(&e, 0);
        encode_u32(&e, len);
        for (uint32_t i = 0; i < len; i++)
            encode_u8(&e, 'x');
        encode_u64(&e, 8);
        encode_finish(&e, mark);
        assert_int_equal(try_parent(decoder_of(e.data, e.len)), len < RBD_ID_MAX ? 0 : -EBADMSG);
    }
}

static void test_encode_snapshot(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    rbd_encode_snapshot_add(&e, "s1", 2);
    assert_encoded(&e, "02000000 's1' 0200000000000000 | 01 01 04000000 00000000");
    rbd_encode_snapshot_rename(&e, 2, "new");
    assert_encoded(&e, "0200000000000000 03000000 'new'");
    rbd_encode_set_protection(&e, 2, RBD_PROTECTED);
    assert_encoded(&e, "0200000000000000 02");
}

/* clones */

static void test_encode_clone(void **state)
{
    const struct rbd_parent parent = {.pool_id = 1, .image_id = "10283ab5e12", .snap_id = 5};
    const struct rbd_child child = {.pool_id = 1, .image_id = "102e38c681fa"};
    cleanup_encoder struct encoder e = {0};

    (void)state;
    rbd_encode_parent_attach(&e, &parent, 8 << 20);
    assert_encoded(&e, "01 01 23000000 | 0100000000000000 | 00000000 | 0b000000 '10283ab5e12'"
                       "0500000000000000 | 0000800000000000 | 00");
    rbd_encode_child(&e, 5, &child);
    assert_encoded(&e, "0500000000000000 | 02 01 1c000000 | 0100000000000000"
                       "0c000000 '102e38c681fa' 00000000");
}

static int try_overlap(struct decoder d)
{
    uint64_t overlap;
    bool shows;

    return rbd_decode_overlap(d, &shows, &overlap);
}

static void test_overlap(void **state)
{
    uint64_t overlap = 77;
    bool shows = false;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(
        rbd_decode_overlap(hex_decoder("01 0000800000000000", &bytes), &shows, &overlap), 0);
    free(bytes);
    assert_true(shows);
    assert_int_equal(overlap, 8 << 20);
    assert_int_equal(rbd_decode_overlap(hex_decoder("00", &bytes), &shows, &overlap), 0);
    free(bytes);
    assert_false(shows);
    assert_int_equal(overlap, 0);
    assert_truncated("01 0000800000000000", 0, try_overlap);
}

static void test_detach(void **state)
{
    const struct rbd_parent parent = {.pool_id = 1, .image_id = "10283ab5e12", .snap_id = 5};
    cleanup_encoder struct encoder old = {0};
    cleanup_encoder struct encoder features = {0};

    (void)state;
    rbd_encode_old_child(&old, &parent, "102e38c681fa");
    assert_encoded(&old, "0100000000000000 | 0b000000 '10283ab5e12' | 0500000000000000"
                         "0c000000 '102e38c681fa'");
    rbd_encode_op_features_set(&features, RBD_OPERATION_CLONE_CHILD, RBD_OPERATION_CLONE_CHILD);
    assert_encoded(&features, "0200000000000000 0200000000000000");
}

static void test_sparse_copyup(void **state)
{
    uint8_t data[22] = {0};
    cleanup_encoder struct encoder nothing = {0};
    cleanup_encoder struct encoder some = {0};
    cleanup_encoder struct encoder all = {0};

    (void)state;
    assert_int_equal(rbd_encode_sparse_copyup(&nothing, data, sizeof(data), 4), 0);
    assert_encoded(&nothing, "00000000 00000000");
    /* blocks: 0 | data data | 0 0 | half a block with data */
    data[7] = 1;
    data[8] = 2;
    data[21] = 3;
    assert_int_equal(rbd_encode_sparse_copyup(&some, data, sizeof(data), 4), 10);
    assert_encoded(&some, "02000000 | 0400000000000000 0800000000000000"
                          "1400000000000000 0200000000000000"
                          "0a000000 | 00000001 02000000 | 0003");
    memset(data, 0xff, sizeof(data));
    assert_int_equal(rbd_encode_sparse_copyup(&all, data, 8, 4), 8);
    assert_encoded(&all, "01000000 | 0000000000000000 0800000000000000"
                         "08000000 | ffffffffffffffff");
}

static int try_children(struct decoder d)
{
    struct rbd_child *children = NULL;
    size_t count;
    int r = rbd_decode_children(d, &children, &count);

    free(children);
    return r;
}

static void test_children(void **state)
{
    static const char hex[] = "02000000"
                              "02 01 1c000000 0100000000000000 0c000000 '102e38c681fa' 00000000"
                              "02 01 1c000000 0100000000000000 0c000000 '1030351551e0' 00000000";
    struct rbd_child *children;
    uint8_t *bytes;
    size_t count;

    (void)state;
    assert_int_equal(rbd_decode_children(hex_decoder(hex, &bytes), &children, &count), 0);
    free(bytes);
    assert_int_equal(count, 2);
    assert_int_equal(children[1].pool_id, 1);
    assert_string_equal(children[0].image_id, "102e38c681fa");
    assert_string_equal(children[1].image_id, "1030351551e0");
    assert_string_equal(children[1].namespace, "");
    free(children);
    assert_truncated(hex, 0, try_children);

    assert_int_equal(rbd_decode_children(hex_decoder("00000000", &bytes), &children, &count), 0);
    free(bytes);
    assert_int_equal(count, 0);
    assert_null(children);
    assert_int_equal(try_children(hex_decoder("ffffffff 0201", &bytes)), -EBADMSG);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snap_context),
        cmocka_unit_test(test_snap_context_order),
        cmocka_unit_test(test_snap_context_count),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_snapshot_in_trash),
        cmocka_unit_test(test_snapshot_of_group),
        cmocka_unit_test(test_snapshot_versions),
        cmocka_unit_test(test_parent),
        cmocka_unit_test(test_parent_versions),
        cmocka_unit_test(test_parent_long_id),
        cmocka_unit_test(test_encode_snapshot),
        cmocka_unit_test(test_encode_clone),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_detach),
        cmocka_unit_test(test_sparse_copyup),
        cmocka_unit_test(test_children),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
