/* SPDX-License-Identifier: Apache-2.0 */

/* The NBD server on a socket whose other end is not the kernel, and an image that completes nothing
 * until it is told to. */

#include <endian.h>
#include <errno.h>
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

#include "block/nbd_serve.h"
#include "block/nbd_wire.h"

#define IMAGE_SIZE (4u << 20)
#define CALLS      4

struct image_io {
    uint64_t size;
    struct image_request *held[CALLS];
    unsigned count;
};

struct fixture {
    struct image_io io;
    struct nbd_server server;
    int kernel; /* the other end */
    uint8_t *buffer;
};

uint64_t image_io_size(const struct image_io *io)
{
    return io->size;
}

void image_submit(struct image_io *io, struct image_request *request)
{
    assert_true(io->count < CALLS);
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
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    f->io.size = IMAGE_SIZE;
    f->kernel = ends[0];
    f->buffer = malloc(NBD_WIRE_IO_MAX);
    assert_non_null(f->buffer);
    f->server = (struct nbd_server){
        .socket = ends[1],
        .io = &f->io,
        .block_bytes = 4096,
        .receiving = PTHREAD_MUTEX_INITIALIZER,
        .sending = PTHREAD_MUTEX_INITIALIZER,
    };
    assert_int_equal(io_pool_open(CALLS, NBD_WIRE_IO_MAX, &f->server.pool), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    io_pool_free(f->server.pool);
    close(f->kernel);
    close(f->server.socket);
    free(f->buffer);
    free(f);
    return 0;
}

static void send_all(struct fixture *f, const void *data, size_t len)
{
    assert_int_equal(send(f->kernel, data, len, MSG_NOSIGNAL), len);
}

static void send_request(struct fixture *f, uint32_t type, uint64_t handle, uint64_t offset,
                         uint32_t length)
{
    struct nbd_request request = {
        .magic = htobe32(NBD_REQUEST_MAGIC),
        .type = htobe32(type),
        .from = htobe64(offset),
        .len = htobe32(length),
    };

    handle = htobe64(handle);
    memcpy(request.handle, &handle, sizeof(handle));
    send_all(f, &request, sizeof(request));
}

static void serve(struct fixture *f, uint32_t type, uint64_t handle, uint64_t offset,
                  uint32_t length)
{
    send_request(f, type, handle, offset, length);
    assert_int_equal(nbd_serve(&f->server, f->buffer), 0);
}

static void take(struct fixture *f, void *data, size_t len)
{
    assert_int_equal(recv(f->kernel, data, len, MSG_WAITALL), len);
}

static void assert_reply(struct fixture *f, uint64_t handle, uint32_t error)
{
    struct nbd_reply reply;
    uint64_t got;

    take(f, &reply, sizeof(reply));
    memcpy(&got, reply.handle, sizeof(got));
    assert_int_equal(be32toh(reply.magic), NBD_REPLY_MAGIC);
    assert_true(be64toh(got) == handle);
    assert_int_equal(be32toh(reply.error), error);
}

static void assert_silent(struct fixture *f)
{
    char byte;

    assert_int_equal(recv(f->kernel, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static uint64_t done(const struct fixture *f, enum backend_op op)
{
    struct backend_stats stats;

    backend_counters_read(&f->server.counters, &stats);
    return latency_total(&stats.done[op]);
}

static void test_reads_complete_in_any_order(void **state)
{
    struct fixture *f = *state;
    uint8_t data[4096];

    serve(f, NBD_CMD_READ, 1, 0, 4096);
    serve(f, NBD_CMD_READ, UINT64_MAX, 8192, 512);
    assert_silent(f);
    assert_int_equal(f->io.held[1]->kind, IMAGE_READ);
    assert_int_equal(f->io.held[1]->offset, 8192);
    memset(f->io.held[0]->buffer, 'a', 4096);
    memset(f->io.held[1]->buffer, 'b', 512);
    complete(f, 1, 0);
    assert_reply(f, UINT64_MAX, 0);
    take(f, data, 512);
    assert_int_equal(data[511], 'b');
    complete(f, 0, 0);
    assert_reply(f, 1, 0);
    take(f, data, 4096);
    assert_int_equal(data[0], 'a');
    assert_silent(f);
    assert_int_equal(done(f, BACKEND_READ), 2);
    assert_int_equal(f->server.counters.read_bytes, 4096 + 512);
}

static void test_a_failed_read_has_no_data(void **state)
{
    struct fixture *f = *state;

    serve(f, NBD_CMD_READ, 1, 0, 4096);
    complete(f, 0, -ESHUTDOWN);
    assert_reply(f, 1, EIO);
    assert_silent(f);
    assert_int_equal(done(f, BACKEND_READ), 0);
    assert_int_equal(f->server.counters.errors, 1);
}

static void test_write(void **state)
{
    struct fixture *f = *state;
    uint8_t data[4096];

    memset(data, 'w', sizeof(data));
    send_request(f, NBD_CMD_WRITE | NBD_CMD_FLAG_FUA, 3, 4096, sizeof(data));
    send_all(f, data, sizeof(data));
    assert_int_equal(nbd_serve(&f->server, f->buffer), 0);
    assert_int_equal(f->io.held[0]->kind, IMAGE_WRITE);
    assert_int_equal(f->io.held[0]->offset, 4096);
    assert_int_equal(f->io.held[0]->length, 4096);
    assert_memory_equal(f->io.held[0]->buffer, data, sizeof(data));
    assert_silent(f);
    complete(f, 0, 0);
    assert_reply(f, 3, 0);
    assert_int_equal(done(f, BACKEND_WRITE), 1);
    assert_int_equal(f->server.counters.write_bytes, 4096);
}

static void test_trim_and_zeroes(void **state)
{
    struct fixture *f = *state;

    serve(f, NBD_CMD_TRIM, 1, 4096, 1 << 20);
    serve(f, NBD_WIRE_WRITE_ZEROES, 2, 0, 4096);
    assert_int_equal(f->io.held[0]->kind, IMAGE_DISCARD);
    assert_int_equal(f->io.held[0]->length, 1 << 20);
    assert_int_equal(f->io.held[1]->kind, IMAGE_WRITE_ZEROES);
    complete(f, 0, 0);
    assert_reply(f, 1, 0);
    complete(f, 1, -ENOSPC);
    assert_reply(f, 2, ENOSPC);
    assert_int_equal(done(f, BACKEND_DISCARD), 1);
}

static void test_flush_has_nothing_to_do(void **state)
{
    struct fixture *f = *state;

    serve(f, NBD_CMD_FLUSH, 1, 0, 0);
    assert_reply(f, 1, 0);
    assert_int_equal(f->io.count, 0);
}

static void test_outside(void **state)
{
    struct fixture *f = *state;
    uint8_t data[4096] = {0};

    f->io.size = IMAGE_SIZE + 4095; /* the device ends with the last whole block */
    serve(f, NBD_CMD_READ, 1, IMAGE_SIZE, 512);
    assert_reply(f, 1, EIO);
    send_request(f, NBD_CMD_WRITE, 2, IMAGE_SIZE - 512, sizeof(data));
    send_all(f, data, sizeof(data));
    assert_int_equal(nbd_serve(&f->server, f->buffer), 0);
    assert_reply(f, 2, EIO);
    serve(f, NBD_CMD_TRIM, 3, UINT64_MAX - 4096, 4096);
    assert_reply(f, 3, EIO);
    assert_int_equal(f->io.count, 0);
    assert_int_equal(f->server.counters.errors, 3);
}

static void test_read_only(void **state)
{
    struct fixture *f = *state;
    uint8_t data[512] = {0};

    f->server.read_only = 1;
    send_request(f, NBD_CMD_WRITE, 1, 0, sizeof(data));
    send_all(f, data, sizeof(data));
    assert_int_equal(nbd_serve(&f->server, f->buffer), 0);
    assert_reply(f, 1, EPERM);
    serve(f, NBD_CMD_TRIM, 2, 0, 4096);
    assert_reply(f, 2, EPERM);
    serve(f, NBD_CMD_READ, 3, 0, 512);
    assert_int_equal(f->io.count, 1);
    complete(f, 0, -EIO);
    assert_reply(f, 3, EIO);
}

static void *complete_first(void *arg)
{
    complete(arg, 0, 0);
    return NULL;
}

/* More than a socket holds, so that it goes out in pieces. */
static void test_a_large_read(void **state)
{
    struct fixture *f = *state;
    uint8_t *data = malloc(IMAGE_SIZE);
    pthread_t thread;

    assert_non_null(data);
    serve(f, NBD_CMD_READ, 1, 0, IMAGE_SIZE);
    memset(f->io.held[0]->buffer, 'a', IMAGE_SIZE);
    memset((char *)f->io.held[0]->buffer + IMAGE_SIZE - 4096, 'z', 4096);
    assert_int_equal(pthread_create(&thread, NULL, complete_first, f), 0);
    assert_reply(f, 1, 0);
    take(f, data, IMAGE_SIZE);
    pthread_join(thread, NULL);
    assert_int_equal(data[0], 'a');
    assert_int_equal(data[IMAGE_SIZE - 4097], 'a');
    assert_int_equal(data[IMAGE_SIZE - 4096], 'z');
    assert_silent(f);
    free(data);
}

static void test_ends(void **state)
{
    struct fixture *f = *state;
    uint8_t half[NBD_WIRE_REQUEST_BYTES] = {0};

    send_request(f, NBD_CMD_DISC, 0, 0, 0);
    assert_int_equal(nbd_serve(&f->server, f->buffer), -ECONNRESET);
    send_all(f, half, sizeof(half));
    assert_int_equal(nbd_serve(&f->server, f->buffer), -EBADMSG);
    send_all(f, half, sizeof(half) / 2);
    shutdown(f->kernel, SHUT_WR);
    assert_int_equal(nbd_serve(&f->server, f->buffer), -ECONNRESET);
}

/* What was under way when the kernel closed is answered to nobody. */
static void test_answer_after_the_end(void **state)
{
    struct fixture *f = *state;

    serve(f, NBD_CMD_READ, 1, 0, 4096);
    shutdown(f->kernel, SHUT_RDWR);
    complete(f, 0, 0);
    assert_int_equal(io_pool_busy(f->server.pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_complete_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_failed_read_has_no_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trim_and_zeroes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flush_has_nothing_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_large_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_after_the_end, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
