/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "block/nbd_wire.h"

/* As the kernel sent it: 4 KiB written at 1 MiB, with FUA. */
static const uint8_t write_packet[NBD_WIRE_REQUEST_BYTES] = {
    0x25, 0x60, 0x95, 0x13, 0x00, 0x01, 0x00, 0x01, 0x00, 0x00, 0x00, 0x2a, 0x00, 0x00,
    0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00,
};

enum { MAGIC = 0, TYPE = 7, OFFSET = 16, LENGTH = 24 };

static int decode_with(unsigned at, uint8_t byte, struct nbd_wire_request *ret)
{
    uint8_t packet[NBD_WIRE_REQUEST_BYTES];

    memcpy(packet, write_packet, sizeof(packet));
    packet[at] = byte;
    return nbd_wire_decode(packet, ret);
}

static void test_write(void **state)
{
    struct nbd_wire_request request;

    (void)state;
    assert_int_equal(nbd_wire_decode(write_packet, &request), 0);
    assert_int_equal(request.type, NBD_CMD_WRITE);
    assert_true(request.handle == 0x0000002a00000007);
    assert_int_equal(request.offset, 1 << 20);
    assert_int_equal(request.length, 4096);
}

static void test_types(void **state)
{
    static const uint8_t known[] = {NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM,
                                    NBD_WIRE_WRITE_ZEROES};
    struct nbd_wire_request request;

    (void)state;
    for (size_t i = 0; i < sizeof(known); i++) {
        assert_int_equal(decode_with(TYPE, known[i], &request), 0);
        assert_int_equal(request.type, known[i]);
        assert_int_equal(request.length, 4096);
    }
    /* These have no range, whatever they say. */
    assert_int_equal(decode_with(TYPE, NBD_CMD_FLUSH, &request), 0);
    assert_true(request.offset == 0 && request.length == 0);
    assert_int_equal(decode_with(TYPE, NBD_CMD_DISC, &request), 0);
    assert_true(request.offset == 0 && request.length == 0);
    assert_int_equal(decode_with(TYPE, 5, &request), -EBADMSG);
    assert_int_equal(decode_with(TYPE, 7, &request), -EBADMSG);
    assert_int_equal(decode_with(MAGIC, 0x24, &request), -EBADMSG);
}

static void test_limits(void **state)
{
    uint8_t packet[NBD_WIRE_REQUEST_BYTES];
    struct nbd_wire_request request;

    (void)state;
    /* 32 MiB and 4 KiB: not with data, but it may be discarded. */
    assert_int_equal(decode_with(LENGTH, 0x02, &request), -EBADMSG);
    memcpy(packet, write_packet, sizeof(packet));
    packet[LENGTH] = 0x02;
    packet[LENGTH + 2] = 0;
    assert_int_equal(nbd_wire_decode(packet, &request), 0);
    assert_int_equal(request.length, NBD_WIRE_IO_MAX);
    packet[TYPE] = NBD_CMD_TRIM;
    packet[LENGTH] = 0xff;
    assert_int_equal(nbd_wire_decode(packet, &request), 0);
    assert_true(request.length == 0xff000000);
    memset(packet + OFFSET, 0xff, 8);
    assert_int_equal(nbd_wire_decode(packet, &request), -EBADMSG);
}

static void test_reply(void **state)
{
    static const uint8_t good[NBD_WIRE_REPLY_BYTES] = {0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0,
                                                       0,    0,    0,    0x2a, 0, 0, 0, 7};
    static const struct {
        int result;
        uint8_t error;
    } errors[] = {{-EROFS, 1}, {-EPERM, 1},     {-ENOSPC, 28},  {-EDQUOT, 28},
                  {-EIO, 5},   {-ESHUTDOWN, 5}, {-ETIMEDOUT, 5}};
    uint8_t reply[NBD_WIRE_REPLY_BYTES];

    (void)state;
    nbd_wire_encode_reply(0x0000002a00000007, 0, reply);
    assert_memory_equal(reply, good, sizeof(good));
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        nbd_wire_encode_reply(0x0000002a00000007, errors[i].result, reply);
        assert_int_equal(reply[7], errors[i].error);
        reply[7] = 0;
        assert_memory_equal(reply, good, sizeof(good));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_reply),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
