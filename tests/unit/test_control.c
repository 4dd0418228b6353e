/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "block/blockd_clients.h"
#include "block/control.h"

#define WAIT_MS 20000

static void test_request_check(void **state)
{
    struct blockd_request request = {.version = BLOCKD_VERSION, .op = BLOCKD_DETACH};
    struct blockd_request got;

    (void)state;
    assert_int_equal(blockd_request_check(&request, sizeof(request), &got), 0);
    assert_int_equal(got.op, BLOCKD_DETACH);
    assert_int_equal(blockd_request_check(&request, sizeof(request) - 1, &got), -EBADMSG);
    assert_int_equal(blockd_request_check(&request, 0, &got), -EBADMSG);
    request.op = 4;
    assert_int_equal(blockd_request_check(&request, sizeof(request), &got), -EBADMSG);
    request.op = 0;
    assert_int_equal(blockd_request_check(&request, sizeof(request), &got), -EBADMSG);
    request.version++;
    assert_int_equal(blockd_request_check(&request, sizeof(request), &got), -EPROTO);
}

static void test_reply_check(void **state)
{
    const struct blockd_reply good = {
        .version = BLOCKD_VERSION,
        .state = BLOCKD_ATTACHED,
        .device = "/dev/loop3",
        .backend = "fuse",
    };
    struct blockd_reply reply = good;
    struct blockd_reply got;

    (void)state;
    assert_int_equal(blockd_reply_check(&reply, sizeof(reply), &got), 0);
    assert_string_equal(got.device, "/dev/loop3");
    assert_int_equal(blockd_reply_check(&reply, sizeof(reply) - 1, &got), -EBADMSG);
    reply.result = 1;
    assert_int_equal(blockd_reply_check(&reply, sizeof(reply), &got), -EBADMSG);
    reply.result = -5000;
    assert_int_equal(blockd_reply_check(&reply, sizeof(reply), &got), -EBADMSG);
    reply = good;
    reply.state = 7;
    assert_int_equal(blockd_reply_check(&reply, sizeof(reply), &got), -EBADMSG);
    reply = good;
    memset(reply.text, 'x', sizeof(reply.text));
    assert_int_equal(blockd_reply_check(&reply, sizeof(reply), &got), -EBADMSG);
    reply = good;
    memset(reply.device, 'x', sizeof(reply.device));
    assert_int_equal(blockd_reply_check(&reply, sizeof(reply), &got), -EBADMSG);
    reply = good;
    reply.version = 0;
    assert_int_equal(blockd_reply_check(&reply, sizeof(reply), &got), -EPROTO);
}

static void test_stats_check(void **state)
{
    const struct blockd_stats good = {.version = BLOCKD_VERSION,
                                      .state = BLOCKD_FENCED,
                                      .size = 1 << 30,
                                      .io = {.read_bytes = 4096}};
    struct blockd_stats stats = good;
    struct blockd_stats got;

    (void)state;
    assert_int_equal(blockd_stats_check(&stats, sizeof(stats), &got), 0);
    assert_memory_equal(&got, &good, sizeof(got));
    assert_int_equal(blockd_stats_check(&stats, sizeof(stats) - 1, &got), -EBADMSG);
    assert_int_equal(blockd_stats_check(&stats, 0, &got), -EBADMSG);
    stats.result = 1;
    assert_int_equal(blockd_stats_check(&stats, sizeof(stats), &got), -EBADMSG);
    stats = good;
    stats.state = 0;
    assert_int_equal(blockd_stats_check(&stats, sizeof(stats), &got), -EBADMSG);
    stats = good;
    stats.reserved = 1;
    assert_int_equal(blockd_stats_check(&stats, sizeof(stats), &got), -EBADMSG);
    stats = good;
    stats.version = 2;
    assert_int_equal(blockd_stats_check(&stats, sizeof(stats), &got), -EPROTO);
}

/* ---- calls to a blockd that is a thread ---- */

struct blockd {
    char dir[32];
    char path[64];
    int listener;
    struct blockd_clients clients;
    pthread_t thread;
    int stats_result;
};

static void open_blockd(struct blockd *blockd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(blockd->dir, "/tmp/test-control.XXXXXX");
    assert_non_null(mkdtemp(blockd->dir));
    snprintf(blockd->path, sizeof(blockd->path), "%s/blockd", blockd->dir);
    strcpy(address.sun_path, blockd->path);
    blockd->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(blockd->listener >= 0);
    assert_int_equal(bind(blockd->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(blockd->listener, 16), 0);
    blockd_clients_init(&blockd->clients, blockd->listener);
}

static void close_blockd(struct blockd *blockd)
{
    blockd_clients_close(&blockd->clients);
    close(blockd->listener);
    unlink(blockd->path);
    rmdir(blockd->dir);
}

static void step(struct blockd *blockd)
{
    struct pollfd polls[BLOCKD_CLIENTS_POLLS];

    blockd_clients_poll(&blockd->clients, polls);
    poll(polls, BLOCKD_CLIENTS_POLLS, 10);
    blockd_clients_take(&blockd->clients, polls);
}

/* Wait until somebody waits for OP. */
static void serve_until(struct blockd *blockd, uint32_t op)
{
    const int64_t deadline = deadline_in_ms(WAIT_MS);

    while (!blockd_clients_waiting(&blockd->clients, op) && clock_now() < deadline)
        step(blockd);
}

static void *answer_status(void *arg)
{
    struct blockd *blockd = arg;
    struct blockd_reply reply = {
        .version = BLOCKD_VERSION,
        .state = BLOCKD_FENCED,
        .size = 1 << 30,
        .device = "/dev/loop3",
    };

    serve_until(blockd, BLOCKD_STATUS);
    blockd_clients_answer(&blockd->clients, BLOCKD_STATUS, &reply);
    return NULL;
}

static void *answer_stats(void *arg)
{
    struct blockd *blockd = arg;
    struct blockd_stats stats = {.version = BLOCKD_VERSION,
                                 .result = blockd->stats_result,
                                 .state = BLOCKD_ATTACHED,
                                 .io = {.errors = 7}};

    serve_until(blockd, BLOCKD_STATS);
    blockd_clients_answer_stats(&blockd->clients, &stats);
    return NULL;
}

static void *answer_failure(void *arg)
{
    struct blockd *blockd = arg;
    struct blockd_reply reply = {
        .version = BLOCKD_VERSION,
        .result = -EBUSY,
        .state = BLOCKD_ATTACHED,
        .text = "/dev/loop3 is mounted",
    };

    serve_until(blockd, BLOCKD_DETACH);
    blockd_clients_answer(&blockd->clients, BLOCKD_DETACH, &reply);
    return NULL;
}

static void *end_without_answer(void *arg)
{
    struct blockd *blockd = arg;

    serve_until(blockd, BLOCKD_STATUS);
    blockd_clients_close(&blockd->clients);
    return NULL;
}

static int call(struct blockd *blockd, void *(*serve)(void *), enum blockd_op op,
                struct blockd_reply *reply, struct error *err)
{
    int r;

    assert_int_equal(pthread_create(&blockd->thread, NULL, serve, blockd), 0);
    r = blockd_call(blockd->path, op, deadline_in_ms(WAIT_MS), reply, err);
    pthread_join(blockd->thread, NULL);
    return r;
}

static void test_calls(void **state)
{
    struct blockd blockd;
    struct blockd_reply reply;
    struct error err;

    (void)state;
    open_blockd(&blockd);
    assert_int_equal(call(&blockd, answer_status, BLOCKD_STATUS, &reply, &err), 0);
    assert_string_equal(reply.device, "/dev/loop3");
    assert_int_equal(reply.state, BLOCKD_FENCED);
    assert_int_equal(reply.size, 1 << 30);
    assert_int_equal(call(&blockd, answer_failure, BLOCKD_DETACH, &reply, &err), -EBUSY);
    assert_string_equal(err.text, "/dev/loop3 is mounted");
    assert_int_equal(call(&blockd, end_without_answer, BLOCKD_STATUS, &reply, &err), -ECONNRESET);
    close_blockd(&blockd);
}

static int call_stats(struct blockd *blockd, struct blockd_stats *stats, struct error *err)
{
    int r;

    assert_int_equal(pthread_create(&blockd->thread, NULL, answer_stats, blockd), 0);
    r = blockd_call_stats(blockd->path, deadline_in_ms(WAIT_MS), stats, err);
    pthread_join(blockd->thread, NULL);
    return r;
}

static void test_stats_calls(void **state)
{
    struct blockd blockd = {0};
    struct blockd_stats stats;
    struct error err;

    (void)state;
    open_blockd(&blockd);
    assert_int_equal(call_stats(&blockd, &stats, &err), 0);
    assert_int_equal(stats.io.errors, 7);
    blockd.stats_result = -EAGAIN;
    assert_int_equal(call_stats(&blockd, &stats, &err), -EAGAIN);
    assert_int_equal(blockd_call_stats(blockd.path, deadline_in_ms(20), &stats, &err), -ETIMEDOUT);
    close_blockd(&blockd);
    assert_int_equal(blockd_call_stats(blockd.path, deadline_in_ms(20), &stats, &err), -ENOENT);
}

static void test_nobody_answers(void **state)
{
    struct blockd blockd;
    struct blockd_reply reply;
    struct error err;
    char longer[200];

    (void)state;
    open_blockd(&blockd);
    assert_int_equal(blockd_call(blockd.path, BLOCKD_STATUS, deadline_in_ms(50), &reply, &err),
                     -ETIMEDOUT);
    close(blockd.listener);
    assert_int_equal(blockd_call(blockd.path, BLOCKD_STATUS, deadline_in_ms(50), &reply, &err),
                     -ECONNREFUSED);
    unlink(blockd.path);
    assert_int_equal(blockd_call(blockd.path, BLOCKD_STATUS, deadline_in_ms(50), &reply, &err),
                     -ENOENT);
    rmdir(blockd.dir);
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(blockd_call(longer, BLOCKD_STATUS, deadline_in_ms(50), &reply, &err),
                     -ENAMETOOLONG);
}

static int connect_raw(const struct blockd *blockd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    strcpy(address.sun_path, blockd->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void test_garbage_is_closed(void **state)
{
    static const char garbage[] = "GET / HTTP/1.1";
    struct blockd blockd;
    char byte;
    int fd;

    (void)state;
    open_blockd(&blockd);
    fd = connect_raw(&blockd);
    assert_int_equal(send(fd, garbage, sizeof(garbage), 0), sizeof(garbage));
    step(&blockd);
    step(&blockd);
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    close(fd);
    close_blockd(&blockd);
}

/* One client more than there is room for waits in the queue until another one leaves. */
static void test_many_clients(void **state)
{
    const struct blockd_request request = {.version = BLOCKD_VERSION, .op = BLOCKD_STATUS};
    const struct blockd_reply reply = {.version = BLOCKD_VERSION, .state = BLOCKD_ATTACHED};
    struct blockd_reply got;
    struct blockd blockd;
    int fds[BLOCKD_CLIENTS_MAX + 1];

    (void)state;
    open_blockd(&blockd);
    for (unsigned i = 0; i <= BLOCKD_CLIENTS_MAX; i++) {
        fds[i] = connect_raw(&blockd);
        assert_int_equal(send(fds[i], &request, sizeof(request), 0), sizeof(request));
    }
    for (unsigned i = 0; i < 3 * BLOCKD_CLIENTS_MAX; i++)
        step(&blockd);
    assert_int_equal(blockd_clients_answer(&blockd.clients, BLOCKD_STATUS, &reply),
                     BLOCKD_CLIENTS_MAX);
    assert_int_equal(recv(fds[BLOCKD_CLIENTS_MAX], &got, sizeof(got), MSG_DONTWAIT), -1);
    assert_int_equal(recv(fds[0], &got, sizeof(got), MSG_DONTWAIT), sizeof(got));
    close(fds[0]);
    serve_until(&blockd, BLOCKD_STATUS);
    assert_int_equal(blockd_clients_answer(&blockd.clients, BLOCKD_STATUS, &reply), 1);
    assert_int_equal(recv(fds[BLOCKD_CLIENTS_MAX], &got, sizeof(got), MSG_DONTWAIT), sizeof(got));
    for (unsigned i = 1; i <= BLOCKD_CLIENTS_MAX; i++)
        close(fds[i]);
    close_blockd(&blockd);
}

/* The descriptor of an adoption is kept for it; one that comes with another request is closed. */
static void test_descriptors(void **state)
{
    struct blockd_request request = {.version = BLOCKD_VERSION, .op = BLOCKD_ADOPT};
    const struct blockd_reply reply = {.version = BLOCKD_VERSION, .state = BLOCKD_ATTACHED};
    struct iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct blockd_client *client;
    struct blockd blockd;
    int fd;
    int next;

    (void)state;
    open_blockd(&blockd);
    fd = connect_raw(&blockd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    assert_true(sendmsg(fd, &message, 0) > 0);
    serve_until(&blockd, BLOCKD_ADOPT);
    client = blockd_clients_waiting(&blockd.clients, BLOCKD_ADOPT);
    assert_non_null(client);
    assert_true(client->adoption_fd >= 0);
    next = client->adoption_fd;
    blockd_client_answer(client, &reply);

    request.op = BLOCKD_STATUS;
    assert_true(sendmsg(fd, &message, 0) > 0);
    serve_until(&blockd, BLOCKD_STATUS);
    client = blockd_clients_waiting(&blockd.clients, BLOCKD_STATUS);
    assert_non_null(client);
    assert_int_equal(client->adoption_fd, -1);
    assert_int_equal(dup(fd), next); /* all were closed */
    close(next);
    close(fd);
    close_blockd(&blockd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_check),     cmocka_unit_test(test_reply_check),
        cmocka_unit_test(test_stats_check),       cmocka_unit_test(test_calls),
        cmocka_unit_test(test_stats_calls),       cmocka_unit_test(test_nobody_answers),
        cmocka_unit_test(test_garbage_is_closed), cmocka_unit_test(test_many_clients),
        cmocka_unit_test(test_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
