/* SPDX-License-Identifier: Apache-2.0 */

/* The FUSE server on a socket in place of /dev/fuse, and an image that completes nothing until it
 * is told to. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/fuse_serve.h"
#include "block/fuse_wire.h"

#define IMAGE_SIZE 65536
#define CALLS      4

struct image_io {
    uint64_t size;
    struct image_request *held[2 * CALLS];
    unsigned count;
};

struct fixture {
    struct image_io io;
    struct fuse_server server;
    int kernel; /* the other end */
};

uint64_t image_io_size(const struct image_io *io)
{
    return io->size;
}

void image_submit(struct image_io *io, struct image_request *request)
{
    assert_true(io->count < 2 * CALLS);
    io->held[io->count++] = request;
}

static void complete(struct fixture *f, unsigned i, int result)
{
    struct image_request *request = f->io.held[i];

    f->io.held[i] = NULL;
    request->done(request, result);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int ends[2];

    assert_non_null(f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    f->io.size = IMAGE_SIZE;
    f->kernel = ends[0];
    f->server =
        (struct fuse_server){.fd = ends[1], .io = &f->io, .name = "volume", .block_bytes = 4096};
    assert_int_equal(io_pool_open(CALLS, FUSE_WIRE_IO_MAX, &f->server.pool), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    io_pool_free(f->server.pool);
    close(f->kernel);
    close(f->server.fd);
    free(f);
    return 0;
}

static void serve(struct fixture *f, uint32_t opcode, uint64_t unique, uint64_t node,
                  const void *body, size_t len)
{
    static uint8_t packet[8192];
    struct fuse_in_header header = {
        .len = (uint32_t)(sizeof(header) + len),
        .opcode = opcode,
        .unique = unique,
        .nodeid = node,
    };

    assert_true(header.len <= sizeof(packet));
    memcpy(packet, &header, sizeof(header));
    if (len > 0)
        memcpy(packet + sizeof(header), body, len);
    fuse_serve(&f->server, packet, header.len);
    memset(packet, 0xee, sizeof(packet)); /* it may not be looked at any more */
}

struct reply {
    struct fuse_out_header header;
    uint8_t body[IMAGE_SIZE];
    size_t len; /* of the body */
};

static struct reply *take_reply(struct fixture *f)
{
    static struct reply reply;
    ssize_t len = recv(f->kernel, &reply, offsetof(struct reply, len), MSG_DONTWAIT);

    assert_true(len >= (ssize_t)sizeof(reply.header));
    assert_int_equal(reply.header.len, len);
    reply.len = (size_t)len - sizeof(reply.header);
    return &reply;
}

static void assert_silent(struct fixture *f)
{
    char byte;

    assert_int_equal(recv(f->kernel, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void assert_refused(struct fixture *f, uint64_t unique, int result)
{
    struct reply *reply = take_reply(f);

    assert_true(reply->header.unique == unique);
    assert_int_equal(reply->header.error, result);
    assert_int_equal(reply->len, 0);
}

/* How many requests succeeded, each with its time. */
static uint64_t done(const struct fixture *f, enum backend_op op)
{
    struct latency_counts counts;

    latency_read(&f->server.counters.done[op], &counts);
    assert_true((latency_total(&counts) > 0) == (counts.sum_ns > 0));
    return latency_total(&counts);
}

static void test_reads_complete_in_any_order(void **state)
{
    struct fixture *f = *state;
    struct fuse_read_in first = {.offset = 0, .size = 4096};
    struct fuse_read_in second = {.offset = 8192, .size = 512};
    struct reply *reply;

    serve(f, FUSE_READ, 0x8000000000000002, 2, &first, sizeof(first));
    serve(f, FUSE_READ, 4, 2, &second, sizeof(second));
    assert_silent(f);
    assert_int_equal(f->io.count, 2);
    assert_int_equal(f->io.held[1]->kind, IMAGE_READ);
    assert_int_equal(f->io.held[1]->offset, 8192);
    memset(f->io.held[0]->buffer, 'a', 4096);
    memset(f->io.held[1]->buffer, 'b', 512);
    complete(f, 1, 0);
    reply = take_reply(f);
    assert_int_equal(reply->header.unique, 4);
    assert_int_equal(reply->len, 512);
    assert_int_equal(reply->body[511], 'b');
    complete(f, 0, 0);
    reply = take_reply(f);
    assert_true(reply->header.unique == 0x8000000000000002);
    assert_int_equal(reply->header.error, 0);
    assert_int_equal(reply->len, 4096);
    assert_int_equal(reply->body[0], 'a');
    assert_int_equal(done(f, BACKEND_READ), 2);
    assert_int_equal(f->server.counters.read_bytes, 4096 + 512);
}

static void test_read_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct fuse_read_in in = {.offset = IMAGE_SIZE - 512, .size = 4096};

    serve(f, FUSE_READ, 2, 2, &in, sizeof(in));
    assert_int_equal(f->io.held[0]->length, 512);
    memset(f->io.held[0]->buffer, 0, 512);
    complete(f, 0, 0);
    assert_int_equal(take_reply(f)->len, 512);
    in.offset = IMAGE_SIZE;
    serve(f, FUSE_READ, 4, 2, &in, sizeof(in));
    assert_refused(f, 4, 0);
}

static void test_write(void **state)
{
    struct fixture *f = *state;
    struct {
        struct fuse_write_in in;
        char data[4096];
    } body = {.in = {.offset = 4096, .size = 4096}};
    struct reply *reply;

    serve(f, FUSE_WRITE, 2, 2, &body, sizeof(body));
    assert_int_equal(f->io.held[0]->kind, IMAGE_WRITE);
    assert_int_equal(f->io.held[0]->offset, 4096);
    assert_int_equal(f->io.held[0]->length, 4096);
    complete(f, 0, 0);
    reply = take_reply(f);
    assert_int_equal(reply->header.error, 0);
    assert_int_equal(((struct fuse_write_out *)reply->body)->size, 4096);
    assert_int_equal(done(f, BACKEND_WRITE), 1);

    body.in.offset = IMAGE_SIZE - 2048; /* past the end */
    serve(f, FUSE_WRITE, 4, 2, &body, sizeof(body));
    assert_refused(f, 4, -EIO);
    assert_int_equal(f->io.count, 1);
    assert_int_equal(f->server.counters.errors, 1);
}

static void serve_zeroes(struct fixture *f, uint64_t unique)
{
    const struct fuse_fallocate_in in = {.length = 4096,
                                         .mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};

    serve(f, FUSE_FALLOCATE, unique, 2, &in, sizeof(in));
}

static void test_errors(void **state)
{
    static const int errors[][2] = {
        {-EIO, -EIO},       {-ESHUTDOWN, -EIO}, {-ETIMEDOUT, -EIO},         {-ENOMEM, -EIO},
        {-ENOSPC, -ENOSPC}, {-EDQUOT, -ENOSPC}, {-EOPNOTSUPP, -EOPNOTSUPP},
    };
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        serve_zeroes(f, 2 * i + 2);
        complete(f, 0, errors[i][0]);
        f->io.count = 0;
        assert_refused(f, 2 * i + 2, errors[i][1]);
    }
    assert_int_equal(done(f, BACKEND_DISCARD), 0);
    assert_int_equal(f->server.counters.errors, 7);
}

static void test_holes_are_exact_zeroes(void **state)
{
    struct fixture *f = *state;
    struct fuse_fallocate_in in = {
        .offset = 4096, .length = 8192, .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};

    serve(f, FUSE_FALLOCATE, 2, 2, &in, sizeof(in));
    assert_int_equal(f->io.held[0]->kind, IMAGE_WRITE_ZEROES);
    assert_int_equal(f->io.held[0]->length, 8192);
    complete(f, 0, 0);
    assert_refused(f, 2, 0);
    in.mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    serve(f, FUSE_FALLOCATE, 4, 2, &in, sizeof(in));
    assert_int_equal(f->io.held[1]->kind, IMAGE_WRITE_ZEROES);
    complete(f, 1, 0);
    assert_refused(f, 4, 0);
    assert_int_equal(done(f, BACKEND_DISCARD), 2);

    in.mode = 0;
    serve(f, FUSE_FALLOCATE, 6, 2, &in, sizeof(in));
    assert_refused(f, 6, -EOPNOTSUPP);
    in.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    in.length = IMAGE_SIZE;
    serve(f, FUSE_FALLOCATE, 8, 2, &in, sizeof(in));
    assert_refused(f, 8, -EIO);
    assert_int_equal(f->io.count, 2);
}

static void test_read_only(void **state)
{
    struct fixture *f = *state;
    struct {
        struct fuse_write_in in;
        char data[512];
    } body = {.in = {.size = 512}};
    struct fuse_fallocate_in hole = {.length = 4096,
                                     .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};

    f->server.read_only = 1;
    serve(f, FUSE_WRITE, 2, 2, &body, sizeof(body));
    assert_refused(f, 2, -EROFS);
    serve(f, FUSE_FALLOCATE, 4, 2, &hole, sizeof(hole));
    assert_refused(f, 4, -EROFS);
    assert_int_equal(f->io.count, 0);
}

static void test_metadata(void **state)
{
    struct fixture *f = *state;
    const struct fuse_entry_out *entry;
    const struct fuse_attr_out *attr;
    struct fuse_getattr_in getattr = {0};
    struct fuse_open_in open_in = {0};
    struct reply *reply;

    serve(f, FUSE_LOOKUP, 2, 1, "volume", 7);
    reply = take_reply(f);
    assert_int_equal(reply->header.error, 0);
    entry = (const struct fuse_entry_out *)reply->body;
    assert_int_equal(entry->nodeid, 2);
    assert_int_equal(entry->attr.size, IMAGE_SIZE);
    serve(f, FUSE_LOOKUP, 4, 1, "other", 6);
    assert_refused(f, 4, -ENOENT);

    /* The size is the image's size now, in whole blocks. */
    f->io.size = IMAGE_SIZE + 4096 + 512;
    serve(f, FUSE_GETATTR, 6, 2, &getattr, sizeof(getattr));
    reply = take_reply(f);
    attr = (const struct fuse_attr_out *)reply->body;
    assert_int_equal(attr->attr.size, IMAGE_SIZE + 4096);
    assert_true(attr->attr_valid > 3600);
    serve(f, FUSE_GETATTR, 8, 7, &getattr, sizeof(getattr));
    assert_refused(f, 8, -ENOENT);

    serve(f, FUSE_OPEN, 10, 2, &open_in, sizeof(open_in));
    reply = take_reply(f);
    assert_int_equal(((const struct fuse_open_out *)reply->body)->open_flags, FOPEN_NOFLUSH);
    serve(f, FUSE_OPEN, 12, 1, &open_in, sizeof(open_in));
    assert_refused(f, 12, -EISDIR);
}

static void test_unknown_and_malformed(void **state)
{
    struct fixture *f = *state;
    struct fuse_read_in in = {.offset = UINT64_MAX, .size = 4096};

    serve(f, FUSE_FLUSH, 2, 2, NULL, 0);
    assert_refused(f, 2, -ENOSYS);
    serve(f, FUSE_FSYNC, 12, 2, NULL, 0);
    assert_refused(f, 12, -ENOSYS);
    serve(f, 4000, 4, 2, NULL, 0);
    assert_refused(f, 4, -ENOSYS);
    serve(f, FUSE_READ, 6, 2, &in, sizeof(in));
    assert_refused(f, 6, -EIO);
    serve(f, FUSE_FORGET, 8, 2, NULL, 0);
    serve(f, FUSE_INTERRUPT, 10, 2, NULL, 0);
    fuse_serve(&f->server, "short", 5);
    assert_silent(f);
    assert_int_equal(f->io.count, 0);
}

static void *serve_one(void *arg)
{
    serve_zeroes(arg, 100);
    return NULL;
}

/* With all calls in use a reader waits, and goes on when one comes back. */
static void test_waits_for_a_call(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    for (unsigned i = 0; i < CALLS; i++)
        serve_zeroes(f, 2 * i + 2);
    assert_int_equal(pthread_create(&thread, NULL, serve_one, f), 0);
    for (unsigned i = 1; i < CALLS; i++)
        complete(f, i, 0);
    pthread_join(thread, NULL);
    assert_int_equal(f->io.count, CALLS + 1);
    for (unsigned i = 1; i < CALLS; i++)
        assert_refused(f, 2 * i + 2, 0);
    complete(f, CALLS, 0);
    assert_refused(f, 100, 0);
    complete(f, 0, 0);
    assert_refused(f, 2, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_complete_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_holes_are_exact_zeroes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metadata, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_and_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waits_for_a_call, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
