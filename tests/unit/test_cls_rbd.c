/* SPDX-License-Identifier: Apache-2.0 */
#include "hex.h"

#include "rados/cls_rbd.h"

/* The bytes of the "rbd" class. Samples named REAL_ were answered by the OSDs of Ceph 16.2.15 for
 * images made with its own rbd command. */

#define REAL_DIR_LIST                                                                              \
    "02000000 0b000000 'bytes-probe' 0c000000 '37506ecc83fb'"                                      \
    "11000000 'bytes-probe-clone' 0c000000 '375cdccacd41'"
#define REAL_METADATA_LIST                                                                         \
    "02000000 16000000 'docker-volume-rados.fs' 04000000 'ext4' 05000000 'other' 03000000 'x y'"
#define REAL_TIME "ee73056b 4e60640a"

/* inputs */

static void test_encode_create(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    rbd_encode_create(&e, 64 << 20, 22, 0x3d, "rbd_data.c0ffee", -1);
    assert_encoded(&e, "0000000400000000 16 3d00000000000000 0f000000 'rbd_data.c0ffee'"
                       "ffffffffffffffff");
    rbd_encode_create(&e, UINT64_MAX, 12, RBD_FEATURE_DATA_POOL, "", 7);
    assert_encoded(&e, "ffffffffffffffff 0c 8000000000000000 00000000 0700000000000000");
}

static void test_encode_names(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    rbd_encode_name_id(&e, "vol1", "c0ffee");
    assert_encoded(&e, "04000000 'vol1' 06000000 'c0ffee'");
    rbd_encode_string(&e, "c0ffee");
    assert_encoded(&e, "06000000 'c0ffee'");
    rbd_encode_page(&e, "vol1", 64);
    assert_encoded(&e, "04000000 'vol1' 4000000000000000");
    rbd_encode_page(&e, "", UINT64_MAX);
    assert_encoded(&e, "00000000 ffffffffffffffff");
}

static void test_encode_numbers(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    rbd_encode_snap_id(&e, RBD_HEAD);
    assert_encoded(&e, "feffffffffffffff");
    rbd_encode_get_features(&e, RBD_HEAD, false);
    assert_encoded(&e, "feffffffffffffff 00");
    rbd_encode_get_features(&e, 4, true);
    assert_encoded(&e, "0400000000000000 01");
    rbd_encode_set_flags(&e, RBD_FLAG_OBJECT_MAP_INVALID,
                         RBD_FLAG_OBJECT_MAP_INVALID | RBD_FLAG_FAST_DIFF_INVALID, 9);
    assert_encoded(&e, "0100000000000000 0300000000000000 0900000000000000");
    rbd_encode_set_size(&e, UINT64_C(1) << 40);
    assert_encoded(&e, "0000000000010000");
}

static void test_encode_metadata(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    rbd_encode_pairs_begin(&e, 2);
    rbd_encode_pair(&e, "docker-volume-rados.fs", "ext4", 4);
    rbd_encode_pair(&e, "other", "x y", 3);
    assert_encoded(&e, REAL_METADATA_LIST);
    rbd_encode_pairs_begin(&e, 1);
    rbd_encode_pair(&e, "k", "a\0b", 3);
    assert_encoded(&e, "01000000 01000000 'k' 03000000 610062");
    rbd_encode_pairs_begin(&e, 0);
    assert_encoded(&e, "00000000");
}

/* answers of one or two values */

static int try_size(struct decoder d)
{
    uint8_t order;
    uint64_t size;

    return rbd_decode_size(d, &order, &size);
}

static void test_decode_size(void **state)
{
    uint8_t *bytes, order;
    uint64_t size;

    (void)state;
    assert_int_equal(rbd_decode_size(hex_decoder("16 0000000400000000", &bytes), &order, &size), 0);
    free(bytes);
    assert_int_equal(order, 22);
    assert_int_equal(size, 64 << 20);
    assert_int_equal(rbd_decode_size(hex_decoder("3f ffffffffffffffff", &bytes), &order, &size), 0);
    free(bytes);
    assert_int_equal(order, 63);
    assert_true(size == UINT64_MAX);
    assert_truncated("16 0000000400000000", 0, try_size);
}

/* An order is shifted by; one that cannot be must not get out. */
static void test_size_order_absurd(void **state)
{
    uint8_t *bytes, order = 1;
    uint64_t size = 2;

    (void)state;
    assert_int_equal(rbd_decode_size(hex_decoder("40 0000000400000000", &bytes), &order, &size),
                     -EBADMSG);
    free(bytes);
    assert_int_equal(order, 1);
    assert_int_equal(size, 2);
}

static int try_features(struct decoder d)
{
    uint64_t features, incompatible;

    return rbd_decode_features(d, &features, &incompatible);
}

static int try_stripe(struct decoder d)
{
    uint64_t unit, count;

    return rbd_decode_stripe(d, &unit, &count);
}

static void test_decode_two_values(void **state)
{
    uint64_t first, second;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_features(hex_decoder("3d00000000000000 0500000000000000", &bytes),
                                         &first, &second),
                     0);
    free(bytes);
    assert_int_equal(first, 0x3d);
    assert_int_equal(second, 5);
    assert_int_equal(rbd_decode_stripe(hex_decoder("0000010000000000 1000000000000000", &bytes),
                                       &first, &second),
                     0);
    free(bytes);
    assert_int_equal(first, 65536);
    assert_int_equal(second, 16);
    assert_truncated("3d00000000000000 3d00000000000000", 0, try_features);
    assert_truncated("0000400000000000 0100000000000000", 0, try_stripe);
}

static int try_u64(struct decoder d)
{
    uint64_t value;

    return rbd_decode_u64(d, &value);
}

static int try_s64(struct decoder d)
{
    int64_t value;

    return rbd_decode_s64(d, &value);
}

static void test_decode_one_value(void **state)
{
    uint64_t flags = 9;
    int64_t pool = 9;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_u64(hex_decoder("0300000000000080", &bytes), &flags), 0);
    free(bytes);
    assert_true(flags == UINT64_C(0x8000000000000003));
    assert_int_equal(rbd_decode_s64(hex_decoder("ffffffffffffffff", &bytes), &pool), 0); /* real */
    free(bytes);
    assert_int_equal(pool, -1);
    assert_truncated("0000000000000000", 0, try_u64);
    assert_truncated("0000000000000000", 0, try_s64);
}

static int try_time(struct decoder d)
{
    struct timespec t;

    return rbd_decode_time(d, &t);
}

static void test_decode_time(void **state)
{
    struct timespec t;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_time(hex_decoder(REAL_TIME, &bytes), &t), 0);
    free(bytes);
    assert_int_equal(t.tv_sec, 0x6b0573ee);
    assert_int_equal(t.tv_nsec, 0x0a64604e);
    assert_int_equal(rbd_decode_time(hex_decoder("ffffffff ffc99a3b", &bytes), &t), 0);
    free(bytes);
    assert_int_equal(t.tv_sec, UINT32_MAX);
    assert_int_equal(t.tv_nsec, 999999999);
    /* a second and more of nanoseconds is no time */
    assert_int_equal(rbd_decode_time(hex_decoder("00000000 00ca9a3b", &bytes), &t), -EBADMSG);
    free(bytes);
    assert_truncated(REAL_TIME, 0, try_time);
}

static int try_string(struct decoder d)
{
    char text[64];

    return rbd_decode_string(d, text, sizeof(text));
}

static void test_decode_string(void **state)
{
    static const char real[] = "15000000 'rbd_data.37506ecc83fb'";
    char text[22];
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_string(hex_decoder(real, &bytes), text, sizeof(text)), 0);
    assert_string_equal(text, "rbd_data.37506ecc83fb");
    assert_int_equal(rbd_decode_string(decoder_of(bytes, 25), text, 21), -EBADMSG);
    assert_string_equal(text, "");
    free(bytes);
    assert_int_equal(rbd_decode_string(hex_decoder("02000000 6100", &bytes), text, 8), -EBADMSG);
    free(bytes);
    assert_int_equal(rbd_decode_string(hex_decoder("00000000", &bytes), text, 8), 0);
    free(bytes);
    assert_string_equal(text, "");
    assert_truncated(real, 0, try_string);
}

/* lists */

static int try_pairs(struct decoder d)
{
    struct rbd_pairs pairs = {0};
    int r = rbd_decode_pairs(d, &pairs);

    rbd_pairs_free(&pairs);
    return r;
}

static void test_decode_dir_list(void **state)
{
    struct rbd_pairs pairs;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_pairs(hex_decoder(REAL_DIR_LIST, &bytes), &pairs), 0);
    free(bytes);
    assert_int_equal(pairs.count, 2);
    assert_string_equal(pairs.items[0].key, "bytes-probe");
    assert_string_equal(pairs.items[0].value, "37506ecc83fb");
    assert_string_equal(pairs.items[1].key, "bytes-probe-clone");
    assert_string_equal(pairs.items[1].value, "375cdccacd41");
    assert_int_equal(pairs.items[1].value_len, 12);
    rbd_pairs_free(&pairs);
    assert_null(pairs.items);
    assert_int_equal(pairs.count, 0);
    assert_truncated(REAL_DIR_LIST, 0, try_pairs);
}

static void test_decode_metadata_list(void **state)
{
    struct rbd_pairs pairs;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_pairs(hex_decoder(REAL_METADATA_LIST, &bytes), &pairs), 0);
    free(bytes);
    assert_int_equal(pairs.count, 2);
    assert_string_equal(pairs.items[0].key, "docker-volume-rados.fs");
    assert_string_equal(pairs.items[0].value, "ext4");
    assert_string_equal(pairs.items[1].value, "x y");
    rbd_pairs_free(&pairs);
    assert_truncated(REAL_METADATA_LIST, 0, try_pairs);
}

static void test_pairs_odd_but_true(void **state)
{
    struct rbd_pairs pairs;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_pairs(hex_decoder("00000000", &bytes), &pairs), 0);
    free(bytes);
    assert_int_equal(pairs.count, 0);
    rbd_pairs_free(&pairs);

    /* a value need not be text, a key may be empty, and more may follow */
    assert_int_equal(
        rbd_decode_pairs(hex_decoder("01000000 00000000 03000000 610062 ffff", &bytes), &pairs), 0);
    free(bytes);
    assert_int_equal(pairs.count, 1);
    assert_string_equal(pairs.items[0].key, "");
    assert_int_equal(pairs.items[0].value_len, 3);
    assert_memory_equal(pairs.items[0].value, "a\0b\0", 4);
    rbd_pairs_free(&pairs);
}

static void test_pairs_hostile(void **state)
{
    static const char *const samples[] = {
        "ffffffff",                                     /* a count of four thousand million */
        "03000000 00000000 00000000 00000000 00000000", /* one pair more than there are bytes */
        "01000000 ffffffff 'k' 00000000",               /* a key longer than the answer */
        "01000000 01000000 'k' ffffffff 'v'",           /* a value longer than the answer */
        "01000000 03000000 610062 00000000",            /* a NUL inside a key */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct rbd_pairs pairs = {.count = 77};
        uint8_t *bytes;

        assert_int_equal(rbd_decode_pairs(hex_decoder(samples[i], &bytes), &pairs), -EBADMSG);
        assert_int_equal(pairs.count, 77);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_create),      cmocka_unit_test(test_encode_names),
        cmocka_unit_test(test_encode_numbers),     cmocka_unit_test(test_encode_metadata),
        cmocka_unit_test(test_decode_size),        cmocka_unit_test(test_size_order_absurd),
        cmocka_unit_test(test_decode_two_values),  cmocka_unit_test(test_decode_one_value),
        cmocka_unit_test(test_decode_time),        cmocka_unit_test(test_decode_string),
        cmocka_unit_test(test_decode_dir_list),    cmocka_unit_test(test_decode_metadata_list),
        cmocka_unit_test(test_pairs_odd_but_true), cmocka_unit_test(test_pairs_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
