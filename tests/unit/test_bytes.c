/* SPDX-License-Identifier: Apache-2.0 */
#include "hex.h"

/* Ceph's encoding itself: integers, strings, counts and versioned structs. */

static void test_encode_integers(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    encode_u8(&e, 0x01);
    encode_u16(&e, 0x0302);
    encode_u32(&e, 0x07060504);
    encode_u64(&e, UINT64_C(0x0f0e0d0c0b0a0908));
    encode_raw(&e, "raw", 3);
    encode_raw(&e, NULL, 0);
    assert_encoded(&e, "01 0203 04050607 08090a0b0c0d0e0f 'raw'");
}

static void test_encode_strings(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    encode_string(&e, "vol1");
    encode_string(&e, "");
    encode_blob(&e, "a\0b", 3);
    encode_blob(&e, NULL, 0);
    assert_encoded(&e, "04000000 'vol1' 00000000 03000000 610062 00000000");
}

/* The compound inputs of rbd's snapshot_add and child_attach, as a cluster took them. */
static void test_encode_structs(void **state)
{
    cleanup_encoder struct encoder e = {0};
    size_t mark, inner;

    (void)state;
    encode_string(&e, "s1");
    encode_u64(&e, 2);
    mark = encode_start(&e, 1, 1);
    encode_u32(&e, 0);
    encode_finish(&e, mark);
    assert_encoded(&e, "02000000 's1' 0200000000000000 | 01 01 04000000 00000000");

    encode_u64(&e, 4);
    mark = encode_start(&e, 2, 1);
    encode_u64(&e, 1);
    encode_string(&e, "c0ffef");
    encode_string(&e, "");
    encode_finish(&e, mark);
    assert_encoded(&e, "0400000000000000 | 02 01 16000000 | 0100000000000000 | 06000000 'c0ffef'"
                       "00000000");

    mark = encode_start(&e, 3, 2);
    inner = encode_start(&e, 1, 1);
    encode_finish(&e, inner);
    encode_u8(&e, 9);
    encode_finish(&e, mark);
    assert_encoded(&e, "03 02 07000000 | 01 01 00000000 | 09");
}

/* Many times the first allocation, so that it grows with marks outstanding. */
static void test_encoder_grows(void **state)
{
    cleanup_encoder struct encoder e = {0};
    size_t mark = encode_start(&e, 1, 1);
    struct decoder d, body;

    (void)state;
    for (uint32_t i = 0; i < 10000; i++)
        encode_u32(&e, i);
    encode_finish(&e, mark);
    assert_false(e.failed);
    assert_int_equal(e.len, 6 + 40000);
    d = decoder_of(e.data, e.len);
    body = decode_start(&d, 1, NULL);
    assert_int_equal(decoder_left(&body), 40000);
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(decode_u32(&body), i);
    assert_false(body.failed);
    encoder_free(&e);
    assert_null(e.data);
    assert_int_equal(e.len, 0);
}

static void test_encoder_failed_is_sticky(void **state)
{
    cleanup_encoder struct encoder e = {.failed = true};
    size_t mark = encode_start(&e, 1, 1);

    (void)state;
    encode_u64(&e, 1);
    encode_string(&e, "text");
    encode_finish(&e, mark);
    assert_true(e.failed);
    assert_int_equal(e.len, 0);
    assert_null(e.data);
}

/* A length that u32 cannot say must not be written as a smaller one. */
static void test_encoder_blob_too_long(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    encode_blob(&e, "", (size_t)UINT32_MAX + 1);
    assert_true(e.failed);
    assert_int_equal(e.len, 0);
}

static void test_decode_integers(void **state)
{
    uint8_t *bytes;
    struct decoder d = hex_decoder("ff feff fdffffff fcffffffffffffff", &bytes);

    (void)state;
    assert_int_equal(decode_u8(&d), 0xff);
    assert_int_equal(decode_u16(&d), 0xfffe);
    assert_int_equal(decode_u32(&d), 0xfffffffd);
    assert_true(decode_u64(&d) == UINT64_MAX - 3);
    assert_int_equal(decoder_left(&d), 0);
    assert_false(d.failed);
    free(bytes);
}

/* After the first read past the end everything reads as nothing, even what would have fitted. */
static void test_decoder_failed_is_sticky(void **state)
{
    char text[8] = "before";
    uint8_t *bytes;
    struct decoder d = hex_decoder("010203", &bytes);

    (void)state;
    assert_int_equal(decode_u32(&d), 0);
    assert_true(d.failed);
    assert_int_equal(decoder_left(&d), 0);
    assert_int_equal(decode_u8(&d), 0);
    assert_null(decode_raw(&d, 1));
    assert_null(decode_raw(&d, 0));
    assert_int_equal(decode_count(&d, 1), 0);
    assert_true(decode_blob(&d).failed);
    assert_true(decode_start(&d, 1, NULL).failed);
    decode_string(&d, text, sizeof(text));
    assert_string_equal(text, "");
    free(bytes);
}

static void test_decoder_of_nothing(void **state)
{
    struct decoder d = decoder_of(NULL, 0);

    (void)state;
    assert_int_equal(decoder_left(&d), 0);
    assert_false(d.failed);
    assert_int_equal(decode_u8(&d), 0);
    assert_true(d.failed);
}

static void test_decode_raw_and_blob(void **state)
{
    uint8_t *bytes;
    struct decoder d = hex_decoder("'ab' 03000000 'xyz' 00000000 04000000 'xyz'", &bytes);
    struct decoder blob;
    const void *raw = decode_raw(&d, 2);

    (void)state;
    assert_memory_equal(raw, "ab", 2);
    blob = decode_blob(&d);
    assert_int_equal(decoder_left(&blob), 3);
    assert_int_equal(decode_u8(&blob), 'x');
    assert_int_equal(decode_u32(&blob), 0); /* ends where the blob does, not where the bytes do */
    assert_true(blob.failed);
    assert_false(d.failed);
    blob = decode_blob(&d);
    assert_false(blob.failed);
    assert_int_equal(decoder_left(&blob), 0);
    blob = decode_blob(&d);
    assert_true(blob.failed);
    assert_true(d.failed);
    free(bytes);
}

static void test_decode_string_limits(void **state)
{
    static const char *const bad[] = {
        "04000000 'abcd'", /* no room for its NUL */
        "03000000 610062", /* a NUL inside */
        "03000000 'ab'",   /* shorter than it says */
        "ffffffff 'abc'",  /* hostile */
        "030000",          /* not even a length */
    };
    char text[4];
    uint8_t *bytes;
    struct decoder d = hex_decoder("03000000 'abc' 00000000", &bytes);

    (void)state;
    decode_string(&d, text, sizeof(text));
    assert_string_equal(text, "abc");
    decode_string(&d, text, sizeof(text));
    assert_string_equal(text, "");
    assert_false(d.failed);
    free(bytes);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        d = hex_decoder(bad[i], &bytes);
        strcpy(text, "old");
        decode_string(&d, text, sizeof(text));
        assert_true(d.failed);
        assert_string_equal(text, "");
        free(bytes);
    }
}

static void test_decode_count_limits(void **state)
{
    uint8_t *bytes;
    struct decoder d = hex_decoder("02000000 0102030405060708", &bytes);

    (void)state;
    assert_int_equal(decode_count(&d, 4), 2);
    assert_int_equal(decoder_left(&d), 8);
    d = decoder_of(bytes, 12);
    assert_int_equal(decode_count(&d, 5), 0);
    assert_true(d.failed);
    free(bytes);
    d = hex_decoder("ffffffff 01", &bytes);
    assert_int_equal(decode_count(&d, 1), 0);
    assert_true(d.failed);
    free(bytes);
}

static void test_decode_struct_versions(void **state)
{
    uint8_t *bytes, version;
    /* a newer struct that we may read: its tail is skipped, what follows is found */
    struct decoder d = hex_decoder("05 02 03000000 'abc' | 7f", &bytes);
    struct decoder body = decode_start(&d, 2, &version);

    (void)state;
    assert_int_equal(version, 5);
    assert_int_equal(decode_u8(&body), 'a');
    assert_int_equal(decode_u8(&d), 0x7f);
    assert_false(body.failed || d.failed);
    /* one that demands more than we know */
    d = decoder_of(bytes, 10);
    body = decode_start(&d, 1, &version);
    assert_true(body.failed && d.failed);
    free(bytes);
    /* a length that runs past the end */
    d = hex_decoder("01 01 04000000 'abc'", &bytes);
    body = decode_start(&d, 1, NULL);
    assert_true(body.failed && d.failed);
    free(bytes);
    for (size_t cut = 0; cut < 6; cut++) {
        d = hex_decoder("01 01 00000000", &bytes);
        d.end = d.at + cut;
        body = decode_start(&d, 1, NULL);
        assert_true(body.failed && d.failed);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_integers),
        cmocka_unit_test(test_encode_strings),
        cmocka_unit_test(test_encode_structs),
        cmocka_unit_test(test_encoder_grows),
        cmocka_unit_test(test_encoder_failed_is_sticky),
        cmocka_unit_test(test_encoder_blob_too_long),
        cmocka_unit_test(test_decode_integers),
        cmocka_unit_test(test_decoder_failed_is_sticky),
        cmocka_unit_test(test_decoder_of_nothing),
        cmocka_unit_test(test_decode_raw_and_blob),
        cmocka_unit_test(test_decode_string_limits),
        cmocka_unit_test(test_decode_count_limits),
        cmocka_unit_test(test_decode_struct_versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
