/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "block/fuse_wire.h"

static uint8_t packet[FUSE_WIRE_PACKET_MAX + 4096];

/* A request as the kernel writes it. Returns its length. */
static size_t make(uint32_t opcode, uint64_t unique, uint64_t node, const void *body, size_t len)
{
    struct fuse_in_header header = {
        .len = (uint32_t)(sizeof(header) + len),
        .opcode = opcode,
        .unique = unique,
        .nodeid = node,
    };

    memcpy(packet, &header, sizeof(header));
    if (len > 0)
        memcpy(packet + sizeof(header), body, len);
    return header.len;
}

static void test_header(void **state)
{
    struct fuse_wire_request request;
    size_t len = make(FUSE_STATFS, 0x8000000000000004, 1, NULL, 0);

    (void)state;
    assert_int_equal(fuse_wire_decode(packet, len, &request), 0);
    assert_int_equal(request.opcode, FUSE_STATFS);
    assert_true(request.unique == 0x8000000000000004); /* the mark of a resent request stays */
    assert_int_equal(request.node, 1);

    for (size_t cut = 1; cut <= len; cut++)
        assert_int_equal(fuse_wire_decode(packet, len - cut, &request), -EBADMSG);
    assert_int_equal(request.unique, 0);
    /* More than it says: a whole header, so that the request can be refused. */
    assert_int_equal(fuse_wire_decode(packet, len + 1, &request), -EBADMSG);
    assert_true(request.unique == 0x8000000000000004);
}

static void test_read(void **state)
{
    struct fuse_read_in in = {.offset = 4096, .size = FUSE_WIRE_IO_MAX};
    struct fuse_wire_request request;
    size_t len = make(FUSE_READ, 2, 2, &in, sizeof(in));

    (void)state;
    assert_int_equal(fuse_wire_decode(packet, len, &request), 0);
    assert_int_equal(request.io.offset, 4096);
    assert_int_equal(request.io.length, FUSE_WIRE_IO_MAX);
    assert_null(request.io.data);

    in.size = FUSE_WIRE_IO_MAX + 1;
    len = make(FUSE_READ, 2, 2, &in, sizeof(in));
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
    in = (struct fuse_read_in){.offset = UINT64_MAX - 100, .size = 4096};
    len = make(FUSE_READ, 2, 2, &in, sizeof(in));
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
    len = make(FUSE_READ, 2, 2, &in, sizeof(in) - 1);
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
}

static void test_write(void **state)
{
    struct {
        struct fuse_write_in in;
        char data[8];
    } body = {.in = {.offset = 512, .size = 8}, .data = "abcdefg"};
    struct fuse_wire_request request;
    size_t len = make(FUSE_WRITE, 6, 2, &body, sizeof(body));

    (void)state;
    assert_int_equal(fuse_wire_decode(packet, len, &request), 0);
    assert_int_equal(request.io.offset, 512);
    assert_int_equal(request.io.length, 8);
    assert_string_equal(request.io.data, "abcdefg");

    /* Fewer or more bytes than it says. */
    len = make(FUSE_WRITE, 6, 2, &body, sizeof(body) - 1);
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
    assert_int_equal(request.unique, 6);
    body.in.size = 7;
    len = make(FUSE_WRITE, 6, 2, &body, sizeof(body));
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
    len = make(FUSE_WRITE, 6, 2, &body, sizeof(body.in) - 1);
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
}

static void test_fallocate(void **state)
{
    struct fuse_fallocate_in in = {
        .offset = 4096,
        .length = UINT64_C(1) << 40,
        .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
    };
    struct fuse_wire_request request;
    size_t len = make(FUSE_FALLOCATE, 2, 2, &in, sizeof(in));

    (void)state;
    assert_int_equal(fuse_wire_decode(packet, len, &request), 0);
    assert_int_equal(request.fallocate.offset, 4096);
    assert_true(request.fallocate.length == UINT64_C(1) << 40);
    assert_int_equal(request.fallocate.mode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    in.length = UINT64_MAX;
    len = make(FUSE_FALLOCATE, 2, 2, &in, sizeof(in));
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
    in.length = INT64_MAX;
    len = make(FUSE_FALLOCATE, 2, 2, &in, sizeof(in));
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
}

static void test_lookup(void **state)
{
    struct fuse_wire_request request;
    size_t len = make(FUSE_LOOKUP, 2, 1, "volume", 7);

    (void)state;
    assert_int_equal(fuse_wire_decode(packet, len, &request), 0);
    assert_string_equal(request.lookup.name, "volume");
    len = make(FUSE_LOOKUP, 2, 1, "volume", 6); /* without its NUL */
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
    len = make(FUSE_LOOKUP, 2, 1, NULL, 0);
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
}

static void test_init(void **state)
{
    struct fuse_init_in in = {
        .major = 7,
        .minor = 45,
        .max_readahead = 131072,
        .flags = 0xffffffff,
        .flags2 = 0xffffffff,
    };
    struct fuse_wire_request request;
    struct fuse_init_out out;
    size_t len = make(FUSE_INIT, 2, 0, &in, sizeof(in));

    (void)state;
    assert_int_equal(fuse_wire_decode(packet, len, &request), 0);
    assert_true(request.init.flags == UINT64_MAX);
    assert_int_equal(fuse_wire_init(&request, 4096, 128, &out), 0);
    assert_int_equal(out.major, 7);
    assert_int_equal(out.minor, 38);
    assert_int_equal(out.max_write, 1024 * 1024);
    assert_int_equal(out.max_pages, 256);
    assert_int_equal(out.max_background, 128);
    assert_int_equal(out.congestion_threshold, 96);
    assert_int_equal(out.flags, FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO |
                                    FUSE_MAX_PAGES | FUSE_INIT_EXT);
    assert_int_equal(out.flags2, 1u << 7);
    assert_int_equal(fuse_wire_init(&request, 65536, 128, &out), 0);
    assert_int_equal(out.max_pages, 16);
}

static void test_init_of_older_kernels(void **state)
{
    struct fuse_init_in in = {.major = 7, .minor = 31, .flags = 0x3fffffff, .flags2 = 0x80};
    struct fuse_wire_request request;
    struct fuse_init_out out;
    size_t len = make(FUSE_INIT, 2, 0, &in, offsetof(struct fuse_init_in, flags2));

    (void)state;
    assert_int_equal(fuse_wire_decode(packet, len, &request), 0);
    assert_int_equal(fuse_wire_init(&request, 4096, 128, &out), 0);
    assert_int_equal(out.minor, 31);
    assert_int_equal(out.flags2, 0);

    /* Without FUSE_INIT_EXT, what stands in flags2 means nothing. */
    len = make(FUSE_INIT, 2, 0, &in, sizeof(in));
    assert_int_equal(fuse_wire_decode(packet, len, &request), 0);
    assert_true(request.init.flags == 0x3fffffff);

    request.init.minor = 30;
    assert_int_equal(fuse_wire_init(&request, 4096, 128, &out), -EPROTO);
    request.init.minor = 31;
    request.init.major = 8;
    assert_int_equal(fuse_wire_init(&request, 4096, 128, &out), -EPROTO);
    request.init.major = 7;
    request.init.flags &= ~(uint64_t)FUSE_MAX_PAGES;
    assert_int_equal(fuse_wire_init(&request, 4096, 128, &out), -EPROTO);
    len = make(FUSE_INIT, 2, 0, &in, offsetof(struct fuse_init_in, flags2) - 1);
    assert_int_equal(fuse_wire_decode(packet, len, &request), -EBADMSG);
}

static void test_attributes(void **state)
{
    struct fuse_attr attr;

    (void)state;
    assert_int_equal(fuse_wire_attributes(FUSE_WIRE_ROOT, 1 << 20, 4096, 0, &attr), 0);
    assert_true(S_ISDIR(attr.mode));
    assert_int_equal(fuse_wire_attributes(FUSE_WIRE_IMAGE, 1 << 20, 512, 0, &attr), 0);
    assert_int_equal(attr.mode, S_IFREG | 0600);
    assert_int_equal(attr.size, 1 << 20);
    assert_int_equal(attr.blocks, 2048);
    assert_int_equal(attr.blksize, 512);
    assert_int_equal(fuse_wire_attributes(FUSE_WIRE_IMAGE, 1 << 20, 512, 1, &attr), 0);
    assert_int_equal(attr.mode, S_IFREG | 0400);
    assert_int_equal(fuse_wire_attributes(3, 1 << 20, 512, 1, &attr), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_fallocate),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_init_of_older_kernels),
        cmocka_unit_test(test_attributes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
