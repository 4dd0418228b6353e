/* SPDX-License-Identifier: Apache-2.0 */
#include "block/control.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* A Unix socket with a full queue cannot be waited for, only asked again. */
#define CONNECT_PAUSE_MS 20

int blockd_request_check(const void *packet, size_t len, struct blockd_request *ret)
{
    struct blockd_request request;

    if (len != sizeof(request))
        return -EBADMSG;
    memcpy(&request, packet, sizeof(request));
    if (request.version != BLOCKD_VERSION)
        return -EPROTO;
    switch (request.op) {
    case BLOCKD_STATUS:
    case BLOCKD_DETACH:
    case BLOCKD_ADOPT:
    case BLOCKD_STATS:
        *ret = request;
        return 0;
    default:
        return -EBADMSG;
    }
}

static bool is_text(const char *bytes, size_t size)
{
    return memchr(bytes, 0, size) != NULL;
}

int blockd_reply_check(const void *packet, size_t len, struct blockd_reply *ret)
{
    struct blockd_reply reply;

    if (len != sizeof(reply))
        return -EBADMSG;
    memcpy(&reply, packet, sizeof(reply));
    if (reply.version != BLOCKD_VERSION)
        return -EPROTO;
    if (reply.result > 0 || reply.result < -4095 || reply.read_only > 1 ||
        (reply.state != BLOCKD_ATTACHED && reply.state != BLOCKD_FENCED) ||
        !is_text(reply.device, sizeof(reply.device)) ||
        !is_text(reply.backend, sizeof(reply.backend)) || !is_text(reply.text, sizeof(reply.text)))
        return -EBADMSG;
    *ret = reply;
    return 0;
}

int blockd_stats_check(const void *packet, size_t len, struct blockd_stats *ret)
{
    struct blockd_stats stats;

    if (len != sizeof(stats))
        return -EBADMSG;
    memcpy(&stats, packet, sizeof(stats));
    if (stats.version != BLOCKD_VERSION)
        return -EPROTO;
    if (stats.result > 0 || stats.result < -4095 || stats.reserved != 0 ||
        (stats.state != BLOCKD_ATTACHED && stats.state != BLOCKD_FENCED))
        return -EBADMSG;
    *ret = stats;
    return 0;
}

static int connect_to(const char *path, int64_t deadline, int *ret, struct error *err)
{
    cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct timespec pause = {.tv_nsec = CONNECT_PAUSE_MS * NS_PER_MS};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);

    if (fd < 0)
        return error_errno(err, -errno, "cannot make a socket");
    if (len >= sizeof(address.sun_path))
        return error_set(err, -ENAMETOOLONG, "socket path '%s' is too long", path);
    memcpy(address.sun_path, path, len);
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return error_errno(err, -errno, "cannot connect to the volume's process at '%s'", path);
        if (clock_now() >= deadline)
            return error_errno(err, -ETIMEDOUT, "the volume's process at '%s'", path);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    *ret = steal_fd(&fd);
    return 0;
}

/* 0 when readable, also at the end of the connection. */
static int wait_readable(int fd, int64_t deadline)
{
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int r = poll(&ready, 1, deadline_left_ms(deadline));

        if (r > 0)
            return 0;
        if (r == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* *ret_len: of what was received, up to SIZE. */
static int receive_packet(int fd, int64_t deadline, char *packet, size_t size, size_t *ret_len,
                          struct error *err)
{
    ssize_t len;
    int r = wait_readable(fd, deadline);

    if (r < 0)
        return error_errno(err, r, "the volume's process");
    len = recv(fd, packet, size, 0);
    if (len == 0 || (len < 0 && (errno == ECONNRESET || errno == EPIPE)))
        return error_set(err, -ECONNRESET, "the volume's process ended without an answer");
    if (len < 0)
        return error_errno(err, -errno, "cannot receive from the volume's process");
    *ret_len = (size_t)len;
    return 0;
}

/* One request, one packet back. */
static int exchange(const char *socket, enum blockd_op op, int64_t deadline, char *packet,
                    size_t size, size_t *ret_len, struct error *err)
{
    const struct blockd_request request = {.version = BLOCKD_VERSION, .op = op};
    cleanup_close int fd = -1;
    int r = connect_to(socket, deadline, &fd, err);

    if (r < 0)
        return r;
    if (send(fd, &request, sizeof(request), MSG_NOSIGNAL) < 0) {
        r = errno == EPIPE ? -ECONNRESET : -errno;
        return error_errno(err, r, "cannot send to the volume's process");
    }
    return receive_packet(fd, deadline, packet, size, ret_len, err);
}

static int out_of_order(int r, struct error *err)
{
    return error_errno(err, r, "the volume's process answered out of order");
}

int blockd_call(const char *socket, enum blockd_op op, int64_t deadline, struct blockd_reply *ret,
                struct error *err)
{
    char packet[sizeof(*ret) + 1]; /* one more, so that a longer one shows */
    size_t len = 0;
    int r = exchange(socket, op, deadline, packet, sizeof(packet), &len, err);

    if (r < 0)
        return r;
    r = blockd_reply_check(packet, len, ret);
    if (r < 0)
        return out_of_order(r, err);
    if (ret->result < 0)
        return error_set(err, ret->result, "%s", ret->text);
    return 0;
}

int blockd_call_stats(const char *socket, int64_t deadline, struct blockd_stats *ret,
                      struct error *err)
{
    char packet[sizeof(*ret) + 1];
    size_t len = 0;
    int r = exchange(socket, BLOCKD_STATS, deadline, packet, sizeof(packet), &len, err);

    if (r < 0)
        return r;
    r = blockd_stats_check(packet, len, ret);
    if (r < 0)
        return out_of_order(r, err);
    if (ret->result < 0)
        return error_errno(err, ret->result, "the volume's process has no measurements");
    return 0;
}
