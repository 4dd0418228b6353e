/* SPDX-License-Identifier: Apache-2.0 */
#include "hex.h"

#include "rados/cls_lock.h"

/* The bytes of the "lock" class. Samples named REAL_ were answered by the OSDs of Ceph 16.2.15: for
 * an image nobody had locked, one that the stock rbd command was writing to, and one with a shared
 * lock of two holders, of which the first would lapse. */

#define REAL_FREE "01 01 11000000 | 00000000 | 01 | 08000000 'internal'"
#define REAL_OWNED                                                                                 \
    "01 01 6d000000 | 01000000"                                                                    \
    "01 01 21000000 | 08 5e37000000000000 | 14000000 'auto 140484152728640'"                       \
    "01 01 2f000000 | 00000000 00000000"                                                           \
    "01 | 01 01 1c000000 | 01000000 | 199c1b1f | 10000000 0200 0000 7f000001 0000000000000000"     \
    "00000000"                                                                                     \
    "01 | 08000000 'internal'"
#define REAL_SHARED                                                                                \
    "01 01 b2000000 | 02000000"                                                                    \
    "01 01 10000000 | 08 4e37000000000000 | 03000000 'you'"                                        \
    "01 01 3f000000 | 0282056b 570c1a2c"                                                           \
    "01 | 01 01 1c000000 | 01000000 | f6997e85 | 10000000 0200 0000 7f000001 0000000000000000"     \
    "10000000 'words for people'"                                                                  \
    "01 01 0f000000 | 08 6437000000000000 | 02000000 'me'"                                         \
    "01 01 2f000000 | 00000000 00000000"                                                           \
    "01 | 01 01 1c000000 | 01000000 | c9e9bd2e | 10000000 0200 0000 7f000001 0000000000000000"     \
    "00000000"                                                                                     \
    "02 | 04000000 'team'"

/* inputs */

static void test_encode_lock(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    lock_encode_lock(&e, "rbd_lock", LOCK_EXCLUSIVE, "auto 1", "internal", "host a", 0);
    assert_encoded(&e, "01 01 36000000 | 08000000 'rbd_lock' | 01 | 06000000 'auto 1'"
                       "08000000 'internal' | 06000000 'host a' | 00000000 00000000 | 00");
    lock_encode_lock(&e, "l", LOCK_SHARED, "", "", "", 3600);
    assert_encoded(&e, "01 01 1b000000 | 01000000 'l' | 02 | 00000000 | 00000000 | 00000000"
                       "100e0000 00000000 | 00");
}

static void test_encode_unlock_and_break(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    lock_encode_unlock(&e, "rbd_lock", "auto 1");
    assert_encoded(&e, "01 01 16000000 | 08000000 'rbd_lock' | 06000000 'auto 1'");
    lock_encode_break(&e, "rbd_lock", 0x375e, "auto 1");
    assert_encoded(&e, "01 01 1f000000 | 08000000 'rbd_lock' | 08 5e37000000000000"
                       "06000000 'auto 1'");
}

static void test_encode_questions(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    lock_encode_get_info(&e, "rbd_lock");
    assert_encoded(&e, "01 01 0c000000 | 08000000 'rbd_lock'");
    lock_encode_assert(&e, "rbd_lock", LOCK_EXCLUSIVE, "auto 1", "internal");
    assert_encoded(&e, "01 01 23000000 | 08000000 'rbd_lock' | 01 | 06000000 'auto 1'"
                       "08000000 'internal'");
}

static void test_encode_set_cookie(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    lock_encode_set_cookie(&e, "rbd_lock", LOCK_EXCLUSIVE, "auto 1", "internal", "auto 22");
    assert_encoded(&e, "01 01 2e000000 | 08000000 'rbd_lock' | 01 | 06000000 'auto 1'"
                       "08000000 'internal' | 07000000 'auto 22'");
}

/* answers */

static int decode(const char *hex, struct lock_info *ret)
{
    uint8_t *bytes;
    int r = lock_decode_info(hex_decoder(hex, &bytes), ret);

    free(bytes);
    return r;
}

static int try_info(struct decoder d)
{
    struct lock_info info;

    return lock_decode_info(d, &info);
}

static void test_info_free(void **state)
{
    struct lock_info info = {.count = 77};

    (void)state;
    assert_int_equal(decode(REAL_FREE, &info), 0);
    assert_int_equal(info.count, 0);
    assert_int_equal(info.type, LOCK_EXCLUSIVE);
    assert_string_equal(info.tag, "internal");
    assert_string_equal(info.holder.cookie, "");
}

static void test_info_owned(void **state)
{
    struct lock_info info;

    (void)state;
    assert_int_equal(decode(REAL_OWNED, &info), 0);
    assert_int_equal(info.count, 1);
    assert_int_equal(info.type, LOCK_EXCLUSIVE);
    assert_string_equal(info.tag, "internal");
    assert_int_equal(info.holder.client_id, 14174);
    assert_string_equal(info.holder.cookie, "auto 140484152728640");
    assert_string_equal(info.holder.address, "127.0.0.1:0/521903129");
    assert_string_equal(info.holder.description, "");
    assert_int_equal(info.holder.expires.tv_sec, 0);
    assert_int_equal(info.holder.expires.tv_nsec, 0);
}

static void test_info_shared(void **state)
{
    struct lock_info info;

    (void)state;
    assert_int_equal(decode(REAL_SHARED, &info), 0);
    assert_int_equal(info.count, 2);
    assert_int_equal(info.type, LOCK_SHARED);
    assert_string_equal(info.tag, "team");
    assert_int_equal(info.holder.client_id, 14158);
    assert_string_equal(info.holder.cookie, "you");
    assert_string_equal(info.holder.address, "127.0.0.1:0/2239666678");
    assert_string_equal(info.holder.description, "words for people");
    assert_int_equal(info.holder.expires.tv_sec, 0x6b058202);
    assert_int_equal(info.holder.expires.tv_nsec, 0x2c1a0c57);
}

static void test_info_truncated(void **state)
{
    (void)state;
    assert_truncated(REAL_FREE, 0, try_info);
    assert_truncated(REAL_OWNED, 0, try_info);
    assert_truncated(REAL_SHARED, 0, try_info);
}

/* An answer with one holder whose address and description are given. */
static int decode_with(const char *address_hex, const void *description, size_t len,
                       struct lock_info *ret)
{
    cleanup_encoder struct encoder e = {0};
    size_t address_len, mark, part;
    uint8_t *address = hex_bytes(address_hex, &address_len);
    int r;

    mark = encode_start(&e, 1, 1);
    encode_u32(&e, 1);
    part = encode_start(&e, 1, 1);
    encode_u8(&e, 8);
    encode_u64(&e, 5);
    encode_string(&e, "auto 9");
    encode_finish(&e, part);
    part = encode_start(&e, 1, 1);
    encode_u64(&e, 0);
    encode_raw(&e, address, address_len);
    encode_blob(&e, description, len);
    encode_finish(&e, part);
    encode_u8(&e, LOCK_EXCLUSIVE);
    encode_string(&e, "internal");
    encode_finish(&e, mark);
    free(address);
    assert_false(e.failed);
    r = lock_decode_info(decoder_of(e.data, e.len), ret);
    if (r == 0) {
        assert_int_equal(ret->count, 1);
        assert_int_equal(ret->holder.client_id, 5);
        assert_string_equal(ret->tag, "internal");
    }
    return r;
}

static void test_addresses(void **state)
{
    static const struct {
        const char *hex, *text;
    } samples[] = {
        /* legacy, msgr2 and "any" say the same */
        {"01 0101 1c000000 01000000 d2029649 10000000 0200 1a85 0a000001 0000000000000000",
         "10.0.0.1:6789/1234567890"},
        {"01 0101 1c000000 02000000 d2029649 10000000 0200 1a85 0a000001 0000000000000000",
         "10.0.0.1:6789/1234567890"},
        {"01 0101 1c000000 03000000 ffffffff 10000000 0200 ffff ffffffff 0000000000000000",
         "255.255.255.255:65535/4294967295"},
        /* only as much of the sockaddr as there is in it */
        {"01 0101 14000000 02000000 01000000 08000000 0200 0000 7f000001", "127.0.0.1:0/1"},
        /* IPv6: flow information in front of the address, a scope behind */
        {"01 0101 28000000 02000000 07000000 1c000000 0a00 0000 00000000"
         "20010db8000000000000000000000001 00000000",
         "[2001:db8::1]:0/7"},
        {"01 0101 28000000 01000000 07000000 1c000000 0a00 1a85 12345678"
         "00000000000000000000000000000001 00000000",
         "[::1]:6789/7"},
        {"01 0101 28000000 01000000 07000000 1c000000 0a00 1a85 00000000"
         "ffffffffffffffffffffffffffffffff 00000000",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:6789/7"},
        /* none: without a sockaddr, and with an empty one */
        {"01 0101 0c000000 00000000 00000000 00000000", ""},
        {"01 0101 1c000000 00000000 07000000 10000000 0000 0000 00000000 0000000000000000", ""},
        {"01 0101 28000000 03000000 00000000 1c000000 0000 0000 00000000"
         "00000000000000000000000000000000 00000000",
         ""},
        /* a newer address with more behind it */
        {"01 0701 1e000000 01000000 d2029649 10000000 0200 1a85 0a000001 0000000000000000 ffff",
         "10.0.0.1:6789/1234567890"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct lock_info info;

        assert_int_equal(decode_with(samples[i].hex, "x", 1, &info), 0);
        assert_string_equal(info.holder.address, samples[i].text);
        assert_string_equal(info.holder.description, "x");
    }
}

static void test_addresses_bad(void **state)
{
    static const char *const samples[] = {
        /* another marker: the form of clients before Nautilus is not sent to us */
        "00 0101 1c000000 01000000 d2029649 10000000 0200 1a85 0a000001 0000000000000000",
        "02 0101 1c000000 01000000 d2029649 10000000 0200 1a85 0a000001 0000000000000000",
        /* demands a newer reader */
        "01 0202 1c000000 01000000 d2029649 10000000 0200 1a85 0a000001 0000000000000000",
        /* a Unix socket; a family cut in two; an address cut short */
        "01 0101 1c000000 01000000 d2029649 10000000 0100 1a85 0a000001 0000000000000000",
        "01 0101 0d000000 01000000 d2029649 01000000 02",
        "01 0101 13000000 01000000 d2029649 07000000 0200 1a85 0a0000",
        "01 0101 22000000 01000000 07000000 16000000 0a00 0000 00000000 20010db8000000000000000000",
        /* a sockaddr longer than the struct around it */
        "01 0101 0c000000 01000000 d2029649 10000000 0200 1a85 0a000001 0000000000000000",
        "01 0101 0c000000 01000000 d2029649 ffffffff",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct lock_info info = {.count = 77};

        assert_int_equal(decode_with(samples[i], "x", 1, &info), -EBADMSG);
        assert_int_equal(info.count, 77);
    }
}

/* What a stranger wrote into the description does not hide that he holds the lock. */
static void test_description_any(void **state)
{
    static const char none[] = "01 0101 0c000000 00000000 00000000 00000000";
    struct lock_info info;
    char words[LOCK_DESC_MAX + 100];

    (void)state;
    memset(words, 'w', sizeof(words));
    assert_int_equal(decode_with(none, words, LOCK_DESC_MAX - 1, &info), 0);
    assert_int_equal(strlen(info.holder.description), LOCK_DESC_MAX - 1);
    assert_int_equal(decode_with(none, words, sizeof(words), &info), 0);
    assert_int_equal(strlen(info.holder.description), LOCK_DESC_MAX - 1);
    assert_int_equal(decode_with(none, "a\0b", 3, &info), 0);
    assert_string_equal(info.holder.description, "a");
}

static void test_info_hostile(void **state)
{
    static const char *const samples[] = {
        "01 01 11000000 | ffffffff | 01 | 08000000 'internal'",
        "01 01 11000000 | 01000000 | 01 | 08000000 'internal'",
        "02 02 11000000 | 00000000 | 01 | 08000000 'internal'",
        "01 01 11000000 | 00000000 | 01 | ffffffff 'internal'",
        "01 01 ffffffff | 00000000 | 01 | 08000000 'internal'",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct lock_info info = {.count = 77};

        assert_int_equal(decode(samples[i], &info), -EBADMSG);
        assert_int_equal(info.count, 77);
    }
}

static void test_info_newer(void **state)
{
    struct lock_info info;

    (void)state;
    assert_int_equal(decode("02 01 13000000 | 00000000 | 01 | 08000000 'internal' | ffff", &info),
                     0);
    assert_string_equal(info.tag, "internal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_lock),      cmocka_unit_test(test_encode_unlock_and_break),
        cmocka_unit_test(test_encode_questions), cmocka_unit_test(test_encode_set_cookie),
        cmocka_unit_test(test_info_free),        cmocka_unit_test(test_info_owned),
        cmocka_unit_test(test_info_shared),      cmocka_unit_test(test_info_truncated),
        cmocka_unit_test(test_addresses),        cmocka_unit_test(test_addresses_bad),
        cmocka_unit_test(test_description_any),  cmocka_unit_test(test_info_hostile),
        cmocka_unit_test(test_info_newer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
