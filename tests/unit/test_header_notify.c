/* SPDX-License-Identifier: Apache-2.0 */
#include "hex.h"

#include "rados/header_notify.h"

/* The notifies on an image's header. Samples named REAL_ were sent by the stock rbd command of Ceph
 * 16.2.15 while one client wrote to an image and others snapshotted and resized it; REAL_ANSWER is
 * what rados_notify2 gave for a REQUEST_LOCK: the owner's result, and an empty acknowledgement. */

#define REAL_ACQUIRED      "07 01 14000000 | 00000000 | 8837000000000000 b0170008857f0000"
#define REAL_RELEASED      "07 01 14000000 | 01000000 | 8837000000000000 b0170008857f0000"
#define REAL_HEADER_UPDATE "07 01 04000000 | 03000000"
#define REAL_ASYNC_PROGRESS                                                                        \
    "07 01 2c000000 | 04000000 | 8a37000000000000 405000cc247f0000 0100000000000000"               \
    "0100000000000000 0a00000000000000"
#define REAL_ASYNC_COMPLETE                                                                        \
    "07 01 20000000 | 05000000 | 8a37000000000000 405000cc247f0000 0100000000000000 00000000"
#define REAL_FLATTEN                                                                               \
    "07 01 1c000000 | 06000000 | e512000000000000 007305c0917f0000 0100000000000000"
#define REAL_RESIZE                                                                                \
    "07 01 25000000 | 07000000 | 0000000800000000 | 1a10000000000000 507c01d0397f0000"             \
    "0100000000000000 | 00"
#define REAL_SNAP_CREATE                                                                           \
    "07 01 34000000 | 08000000 | 02000000 's1' | 01 01 04000000 00000000"                          \
    "8a37000000000000 405000cc247f0000 0100000000000000 | 0000000000000000"
#define REAL_SNAP_CREATE_SKIP                                                                      \
    "07 01 34000000 | 08000000 | 02000000 's1' | 01 01 04000000 00000000"                          \
    "d537000000000000 305d01187b7f0000 0100000000000000 | 0200000000000000"
#define REAL_SNAP_CREATE_IGNORE                                                                    \
    "07 01 35000000 | 08000000 | 03000000 's1i' | 01 01 04000000 00000000"                         \
    "d737000000000000 509101a46e7f0000 0100000000000000 | 0400000000000000"
#define REAL_SNAP_REMOVE                                                                           \
    "07 01 2c000000 | 09000000 | 02000000 's0' | 01 01 04000000 00000000"                          \
    "1e10000000000000 807a01c0717f0000 0100000000000000"
#define REAL_QUIESCE                                                                               \
    "07 01 1c000000 | 12000000 | 8837000000000000 b0170008857f0000 0100000000000000"
#define REAL_UNQUIESCE                                                                             \
    "07 01 1c000000 | 13000000 | 8837000000000000 b0170008857f0000 0100000000000000"
#define REAL_ANSWER                                                                                \
    "02000000"                                                                                     \
    "8637000000000000 600d4aceef550000 00000000"                                                   \
    "8837000000000000 b0170008857f0000 0a000000 | 01 01 04000000 00000000"                         \
    "00000000"

static int decode(const char *hex, struct header_notify *ret)
{
    uint8_t *bytes;
    int r = notify_decode(hex_decoder(hex, &bytes), ret);

    free(bytes);
    return r;
}

static int try_notify(struct decoder d)
{
    struct header_notify notify;

    return notify_decode(d, &notify);
}

static void test_decode_with_client(void **state)
{
    struct header_notify notify;

    (void)state;
    assert_int_equal(decode(REAL_ACQUIRED, &notify), 0);
    assert_int_equal(notify.op, NOTIFY_ACQUIRED_LOCK);
    assert_int_equal(notify.client_id, 14216);
    assert_int_equal(notify.handle, INT64_C(0x7f85080017b0));
    assert_int_equal(decode(REAL_RELEASED, &notify), 0);
    assert_int_equal(notify.op, NOTIFY_RELEASED_LOCK);
    assert_int_equal(notify.client_id, 14216);
    assert_int_equal(decode("02 01 14000000 | 02000000 | 0100000000000000 0200000000000000",
                            &notify), /* what the Linux kernel sends */
                     0);
    assert_int_equal(notify.op, NOTIFY_REQUEST_LOCK);
    assert_int_equal(notify.client_id, 1);
    assert_int_equal(notify.handle, 2);
}

static void test_decode_without_client(void **state)
{
    static const struct {
        const char *hex;
        uint32_t op;
    } samples[] = {
        {"", NOTIFY_HEADER_UPDATE}, /* the old form */
        {REAL_HEADER_UPDATE, NOTIFY_HEADER_UPDATE},
        {REAL_ASYNC_PROGRESS, NOTIFY_ASYNC_PROGRESS},
        {REAL_ASYNC_COMPLETE, NOTIFY_ASYNC_COMPLETE},
        {REAL_FLATTEN, NOTIFY_FLATTEN},
        {REAL_RESIZE, NOTIFY_RESIZE},
        {REAL_SNAP_CREATE, NOTIFY_SNAP_CREATE},
        {REAL_SNAP_REMOVE, NOTIFY_SNAP_REMOVE},
        {REAL_QUIESCE, NOTIFY_QUIESCE},
        {REAL_UNQUIESCE, NOTIFY_UNQUIESCE},
        {"01 01 04000000 | 00000000", NOTIFY_ACQUIRED_LOCK}, /* version 1 named no client yet */
        {"09 01 05000000 | 39300000 | ff", 12345},           /* newer than this list */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct header_notify notify = {.client_id = 77, .handle = 77};

        assert_int_equal(decode(samples[i].hex, &notify), 0);
        assert_int_equal(notify.op, samples[i].op);
        assert_int_equal(notify.client_id, 0);
        assert_int_equal(notify.handle, 0);
    }
}

static void assert_id(const struct notify_id *id, uint64_t client_id, uint64_t handle,
                      uint64_t number)
{
    assert_true(id->client_id == client_id);
    assert_true(id->handle == handle);
    assert_true(id->number == number);
}

static void test_decode_requests(void **state)
{
    struct header_notify notify;

    (void)state;
    assert_int_equal(decode(REAL_RESIZE, &notify), 0);
    assert_int_equal(notify.size, 128 << 20);
    assert_false(notify.allow_shrink);
    assert_id(&notify.id, 0x101a, 0x7f39d0017c50, 1);

    assert_int_equal(decode(REAL_FLATTEN, &notify), 0);
    assert_id(&notify.id, 0x12e5, 0x7f91c0057300, 1);

    assert_int_equal(decode(REAL_SNAP_CREATE, &notify), 0);
    assert_string_equal(notify.snapshot, "s1");
    assert_int_equal(notify.namespace_type, RBD_NAMESPACE_USER);
    assert_int_equal(notify.flags, 0);
    assert_id(&notify.id, 0x378a, 0x7f24cc005040, 1);
    assert_int_equal(decode(REAL_SNAP_CREATE_SKIP, &notify), 0);
    assert_int_equal(notify.flags, NOTIFY_SNAP_SKIP_QUIESCE);
    assert_int_equal(decode(REAL_SNAP_CREATE_IGNORE, &notify), 0);
    assert_int_equal(notify.flags, NOTIFY_SNAP_IGNORE_QUIESCE_ERROR);

    assert_int_equal(decode(REAL_SNAP_REMOVE, &notify), 0);
    assert_string_equal(notify.snapshot, "s0");
    assert_id(&notify.id, 0x101e, 0x7f71c0017a80, 1);

    assert_int_equal(decode(REAL_QUIESCE, &notify), 0);
    assert_id(&notify.id, 0x3788, 0x7f85080017b0, 1);
    assert_int_equal(decode(REAL_UNQUIESCE, &notify), 0);
    assert_id(&notify.id, 0x3788, 0x7f85080017b0, 1);

    assert_int_equal(decode(REAL_ASYNC_PROGRESS, &notify), 0);
    assert_id(&notify.id, 0x378a, 0x7f24cc005040, 1);
    assert_int_equal(notify.done, 1);
    assert_int_equal(notify.total, 10);
    assert_int_equal(decode(REAL_ASYNC_COMPLETE, &notify), 0);
    assert_id(&notify.id, 0x378a, 0x7f24cc005040, 1);
    assert_int_equal(notify.result, 0);
}

/* What clients of before Octopus send: snapshots without an id. */
static void test_decode_old_requests(void **state)
{
    struct header_notify notify;

    (void)state;
    assert_int_equal(decode("03 01 24000000 | 07000000 | 0000000800000000"
                            "0100000000000000 0200000000000000 0300000000000000",
                            &notify),
                     0);
    assert_int_equal(notify.size, 128 << 20);
    assert_false(notify.allow_shrink);
    assert_id(&notify.id, 1, 2, 3);
    assert_int_equal(decode("06 01 25000000 | 07000000 | 0000000800000000"
                            "0100000000000000 0200000000000000 0300000000000000 | 01",
                            &notify),
                     0);
    assert_true(notify.allow_shrink);
    assert_id(&notify.id, 1, 2, 3);
    assert_int_equal(decode("02 01 0a000000 | 08000000 | 02000000 's1'", &notify), 0);
    assert_string_equal(notify.snapshot, "s1");
    assert_id(&notify.id, 0, 0, 0);
    assert_int_equal(
        decode("06 01 14000000 | 09000000 | 02000000 's1' | 01 01 04000000 01000000", &notify), 0);
    assert_int_equal(notify.namespace_type, RBD_NAMESPACE_GROUP);
    assert_id(&notify.id, 0, 0, 0);
}

static void test_decode_truncated(void **state)
{
    (void)state;
    assert_truncated(REAL_FLATTEN, 1, try_notify);
    assert_truncated(REAL_RESIZE, 1, try_notify);
    assert_truncated(REAL_SNAP_REMOVE, 1, try_notify);
    assert_truncated(REAL_ASYNC_COMPLETE, 1, try_notify);
    assert_truncated(REAL_ACQUIRED, 1, try_notify);
    assert_truncated(REAL_HEADER_UPDATE, 1, try_notify);
    assert_truncated(REAL_SNAP_CREATE, 1, try_notify);
}

static void test_decode_hostile(void **state)
{
    static const char *const samples[] = {
        "07 02 04000000 | 03000000",                             /* too new to read */
        "07 01 ffffffff | 03000000",                             /* longer than it is */
        "07 01 03000000 | 03000000",                             /* cut inside the operation */
        "07 01 0c000000 | 00000000 | 0100000000000000 02000000", /* cut inside the client */
        "07 01 0c000000 | 12000000 | 0100000000000000",          /* cut inside the id */
        "07 01 0a000000 | 08000000 | 02000000 's1'",             /* cut behind the name */
        "02 01 0a000000 | 08000000 | 02000000 7300",             /* a name with a NUL */
        "02 01 08000000 | 08000000 | ffffffff",                  /* a name longer than all */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct header_notify notify = {.op = 77};

        assert_int_equal(decode(samples[i], &notify), -EBADMSG);
        assert_int_equal(notify.op, 77);
    }
}

static void test_encode(void **state)
{
    cleanup_encoder struct encoder e = {0};

    (void)state;
    notify_encode_client(&e, NOTIFY_ACQUIRED_LOCK, 1, 2);
    assert_encoded(&e, "07 01 14000000 | 00000000 | 0100000000000000 0200000000000000");
    notify_encode_client(&e, NOTIFY_RELEASED_LOCK, 1, 2);
    assert_encoded(&e, "07 01 14000000 | 01000000 | 0100000000000000 0200000000000000");
    notify_encode_client(&e, NOTIFY_REQUEST_LOCK, 1, 2);
    assert_encoded(&e, "07 01 15000000 | 02000000 | 0100000000000000 0200000000000000 | 00");
    notify_encode_header_update(&e);
    assert_encoded(&e, "07 01 04000000 | 03000000");
}

static void test_round_trip(void **state)
{
    static const enum notify_op ops[] = {NOTIFY_ACQUIRED_LOCK, NOTIFY_RELEASED_LOCK,
                                         NOTIFY_REQUEST_LOCK};

    (void)state;
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        cleanup_encoder struct encoder e = {0};
        struct header_notify notify;

        notify_encode_client(&e, ops[i], UINT64_MAX - 1, UINT64_C(1) << 47);
        assert_int_equal(notify_decode(decoder_of(e.data, e.len), &notify), 0);
        assert_int_equal(notify.op, ops[i]);
        assert_true(notify.client_id == UINT64_MAX - 1);
        assert_true(notify.handle == UINT64_C(1) << 47);
    }
}

/* What stock clients say comes out the same when we say it. */
static void test_encode_requests(void **state)
{
    static const char *const samples[] = {
        REAL_RESIZE,    REAL_SNAP_CREATE,    REAL_SNAP_REMOVE,    REAL_QUIESCE,
        REAL_UNQUIESCE, REAL_ASYNC_PROGRESS, REAL_ASYNC_COMPLETE, REAL_HEADER_UPDATE};

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        cleanup_encoder struct encoder e = {0};
        struct header_notify notify;

        assert_int_equal(decode(samples[i], &notify), 0);
        notify_encode(&e, &notify);
        assert_encoded(&e, samples[i]);
    }
}

/* A snapshot of what is frozen already. */
static void test_snap_create_flags(void **state)
{
    static const struct header_notify request = {.op = NOTIFY_SNAP_CREATE,
                                                 .snapshot = "s1",
                                                 .flags = NOTIFY_SNAP_SKIP_QUIESCE,
                                                 .id = {1, 2, 3}};
    cleanup_encoder struct encoder e = {0};
    struct header_notify notify;

    (void)state;
    notify_encode(&e, &request);
    assert_int_equal(notify_decode(decoder_of(e.data, e.len), &notify), 0);
    assert_int_equal(notify.flags, NOTIFY_SNAP_SKIP_QUIESCE);
    assert_string_equal(notify.snapshot, "s1");
    assert_id(&notify.id, 1, 2, 3);
    assert_encoded(&e, "07 01 34000000 | 08000000 | 02000000 's1' | 01 01 04000000 00000000"
                       "0100000000000000 0200000000000000 0300000000000000 | 0200000000000000");
}

static void test_wants_result(void **state)
{
    (void)state;
    for (uint32_t op = 0; op < 32; op++) {
        bool announcement = op == 0 || op == 1 || op == 3 || op == 4 || op == 5;

        assert_int_equal(notify_wants_result(op), !announcement);
    }
    assert_true(notify_wants_result(UINT32_MAX));
}

static int try_result(struct decoder d)
{
    int32_t result;

    return notify_decode_result(d, &result);
}

static void test_result(void **state)
{
    cleanup_encoder struct encoder e = {0};
    int32_t result = 77;

    (void)state;
    notify_encode_result(&e, 0);
    assert_encoded(&e, "01 01 04000000 00000000");
    notify_encode_result(&e, -EROFS);
    assert_int_equal(notify_decode_result(decoder_of(e.data, e.len), &result), 0);
    assert_int_equal(result, -30);
    assert_encoded(&e, "01 01 04000000 e2ffffff");
    notify_encode_result(&e, -EOPNOTSUPP);
    assert_encoded(&e, "01 01 04000000 a1ffffff");
    assert_truncated("01 01 04000000 a1ffffff", 0, try_result);
}

static int try_answer(struct decoder d)
{
    struct notify_answer answer = {0};
    int r = notify_decode_answer(d, &answer);

    notify_answer_free(&answer);
    return r;
}

static void test_answer(void **state)
{
    struct notify_answer answer;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(notify_decode_answer(hex_decoder(REAL_ANSWER, &bytes), &answer), 0);
    free(bytes);
    assert_int_equal(answer.ack_count, 2);
    assert_int_equal(answer.timeout_count, 0);
    assert_int_equal(answer.acks[0].client_id, 14214);
    assert_int_equal(answer.acks[0].handle, INT64_C(0x55efce4a0d60));
    assert_int_equal(answer.acks[0].result, 0);
    assert_false(answer.acks[0].answered);
    assert_true(answer.acks[1].answered);
    assert_int_equal(answer.acks[1].client_id, 14216);
    assert_int_equal(answer.acks[1].handle, INT64_C(0x7f85080017b0));
    assert_int_equal(answer.acks[1].result, 0);
    notify_answer_free(&answer);
    assert_null(answer.acks);
    assert_int_equal(answer.ack_count, 0);
    assert_truncated(REAL_ANSWER, 0, try_answer);
}

static void test_answer_timeouts_and_results(void **state)
{
    static const char hex[] = "03000000"
                              "0100000000000000 0200000000000000 0a000000 01 01 04000000 e2ffffff"
                              "0300000000000000 0400000000000000 03000000 010104" /* nonsense */
                              "0500000000000000 0600000000000000 00000000"
                              "02000000"
                              "0700000000000000 0800000000000000"
                              "0900000000000000 0a00000000000000";
    struct notify_answer answer;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(notify_decode_answer(hex_decoder(hex, &bytes), &answer), 0);
    free(bytes);
    assert_int_equal(answer.ack_count, 3);
    assert_int_equal(answer.acks[0].result, -EROFS);
    assert_int_equal(answer.acks[1].client_id, 3);
    assert_int_equal(answer.acks[1].result, -EBADMSG);
    assert_int_equal(answer.acks[2].client_id, 5);
    assert_int_equal(answer.acks[2].result, 0);
    assert_int_equal(answer.timeout_count, 2);
    assert_int_equal(answer.timeouts[0].client_id, 7);
    assert_int_equal(answer.timeouts[0].handle, 8);
    assert_int_equal(answer.timeouts[1].client_id, 9);
    assert_int_equal(answer.timeouts[1].handle, 10);
    notify_answer_free(&answer);
    assert_truncated(hex, 0, try_answer);
}

/* A peer's words are behind what other clients read; what a newer one has there is no error. */
static void test_answer_words(void **state)
{
    static const char newer[] = "01000000"
                                "0100000000000000 0200000000000000 0c000000"
                                "02 01 06000000 00000000 ffff"
                                "00000000";
    static const char words[] = "host=a since=b";
    cleanup_encoder struct encoder answer = {0};
    cleanup_encoder struct encoder list = {0};
    struct notify_answer peers;
    uint8_t *bytes;
    int32_t result = -1;

    (void)state;
    notify_encode_words(&answer, words);
    assert_int_equal(notify_decode_result(decoder_of(answer.data, answer.len), &result), 0);
    assert_int_equal(result, 0);
    encode_u32(&list, 1);
    encode_u64(&list, 4123);
    encode_u64(&list, 1);
    encode_blob(&list, answer.data, answer.len);
    encode_u32(&list, 0);
    assert_int_equal(notify_decode_answer(decoder_of(list.data, list.len), &peers), 0);
    assert_int_equal(peers.ack_count, 1);
    assert_true(peers.acks[0].answered);
    assert_string_equal(peers.acks[0].words, words);
    notify_answer_free(&peers);
    assert_int_equal(notify_decode_answer(hex_decoder(newer, &bytes), &peers), 0);
    free(bytes);
    assert_int_equal(peers.acks[0].result, 0);
    assert_string_equal(peers.acks[0].words, "");
    notify_answer_free(&peers);
}

static void test_answer_nobody(void **state)
{
    struct notify_answer answer;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(notify_decode_answer(hex_decoder("00000000 00000000", &bytes), &answer), 0);
    free(bytes);
    assert_int_equal(answer.ack_count, 0);
    assert_int_equal(answer.timeout_count, 0);
    notify_answer_free(&answer);
}

static void test_answer_hostile(void **state)
{
    static const char *const samples[] = {
        "ffffffff 00000000",
        "00000000 ffffffff",
        "01000000 0100000000000000 0200000000000000 ffffffff 00000000",
        "00000000 02000000 0100000000000000 0200000000000000",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct notify_answer answer = {.ack_count = 77};
        uint8_t *bytes;

        assert_int_equal(notify_decode_answer(hex_decoder(samples[i], &bytes), &answer), -EBADMSG);
        assert_int_equal(answer.ack_count, 77);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_with_client),
        cmocka_unit_test(test_decode_without_client),
        cmocka_unit_test(test_decode_requests),
        cmocka_unit_test(test_decode_old_requests),
        cmocka_unit_test(test_decode_truncated),
        cmocka_unit_test(test_decode_hostile),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_encode_requests),
        cmocka_unit_test(test_snap_create_flags),
        cmocka_unit_test(test_wants_result),
        cmocka_unit_test(test_result),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_answer_timeouts_and_results),
        cmocka_unit_test(test_answer_words),
        cmocka_unit_test(test_answer_nobody),
        cmocka_unit_test(test_answer_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
