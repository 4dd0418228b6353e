/* SPDX-License-Identifier: Apache-2.0 */
#include "block/keeper.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* The supervisor sends what it has as soon as it has started us. */
#define OPEN_WAIT_MS 10000

union descriptor_message {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(int))];
};

int keeper_send(int socket, const char *name, int fd)
{
    struct keeper_packet packet = {.version = KEEPER_VERSION};
    struct iovec part = {.iov_base = &packet, .iov_len = sizeof(packet)};
    union descriptor_message control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    size_t len = strlen(name);

    if (len >= sizeof(packet.name))
        return -ENAMETOOLONG;
    memcpy(packet.name, name, len);
    if (fd >= 0) {
        struct cmsghdr *header = &control.header;

        *header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(fd)),
            .cmsg_level = SOL_SOCKET,
            .cmsg_type = SCM_RIGHTS,
        };
        memcpy(CMSG_DATA(header), &fd, sizeof(fd));
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
    }
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return -errno;
    return 0;
}

/* The one descriptor that came along, or -1. */
static int received_fd(struct msghdr *message)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    int fd;

    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(fd)))
        return -1;
    memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

int keeper_receive(int socket, char ret_name[KEEPER_NAME_MAX], int *ret_fd)
{
    struct keeper_packet packet;
    struct iovec part = {.iov_base = &packet, .iov_len = sizeof(packet)};
    union descriptor_message control;
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_LEN(sizeof(int)), /* without padding, which has room for a second */
    };
    cleanup_close int fd = -1;
    ssize_t len;

    do {
        len = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (len < 0 && errno == EINTR);
    if (len < 0)
        return -errno;
    if (len == 0)
        return -ECONNRESET;
    fd = received_fd(&message);
    if (len != sizeof(packet) || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
        packet.version != KEEPER_VERSION || !memchr(packet.name, 0, sizeof(packet.name)))
        return -EBADMSG;
    memcpy(ret_name, packet.name, sizeof(packet.name));
    *ret_fd = steal_fd(&fd);
    return 0;
}

struct kept {
    char name[KEEPER_NAME_MAX];
    int fd;
};

struct keeper_client {
    struct fd_keeper keeper;
    int socket;
    unsigned count;
    struct kept kept[KEEPER_FDS_MAX];
};

/* The keeper is the client's first member, so that one is the other. */
_Static_assert(offsetof(struct keeper_client, keeper) == 0, "keeper must come first");

static struct keeper_client *client_of(struct fd_keeper *keeper)
{
    return (struct keeper_client *)keeper;
}

static int store(struct fd_keeper *keeper, const char *name, int fd)
{
    if (name[0] == '\0')
        return -EINVAL;
    return keeper_send(client_of(keeper)->socket, name, fd);
}

static int fetch(struct fd_keeper *keeper, const char *name)
{
    struct keeper_client *client = client_of(keeper);

    for (unsigned i = 0; i < client->count; i++) {
        if (strcmp(client->kept[i].name, name) == 0)
            return steal_fd(&client->kept[i].fd);
    }
    return -1;
}

/* Take one packet in: 0, 1 at the end of the list, or negative errno. */
static int take(struct keeper_client *client, int64_t deadline)
{
    struct pollfd ready = {.fd = client->socket, .events = POLLIN};
    char name[KEEPER_NAME_MAX];
    cleanup_close int fd = -1;
    int r;

    r = poll(&ready, 1, deadline_left_ms(deadline));
    if (r < 0)
        return errno == EINTR ? 0 : -errno;
    if (r == 0)
        return -ETIMEDOUT;
    r = keeper_receive(client->socket, name, &fd);
    if (r < 0)
        return r;
    if (name[0] == '\0')
        return 1;
    if (fd < 0 || client->count == KEEPER_FDS_MAX)
        return -EBADMSG;
    memcpy(client->kept[client->count].name, name, sizeof(name));
    client->kept[client->count].fd = steal_fd(&fd);
    client->count++;
    return 0;
}

int keeper_client_open(int socket, struct fd_keeper **ret, struct error *err)
{
    const int64_t deadline = deadline_in_ms(OPEN_WAIT_MS);
    struct keeper_client *client = calloc(1, sizeof(*client));
    int r;

    if (!client)
        return error_errno(err, -ENOMEM, "cannot talk to the supervisor");
    client->keeper = (struct fd_keeper){.store = store, .fetch = fetch};
    client->socket = socket;
    do {
        r = take(client, deadline);
    } while (r == 0);
    if (r < 0) {
        keeper_client_free(&client->keeper);
        return error_errno(err, r, "cannot learn from the supervisor what a predecessor left");
    }
    *ret = &client->keeper;
    return 0;
}

void keeper_client_free(struct fd_keeper *keeper)
{
    struct keeper_client *client;

    if (!keeper)
        return;
    client = client_of(keeper);
    for (unsigned i = 0; i < client->count; i++) {
        if (client->kept[i].fd >= 0)
            close(client->kept[i].fd);
    }
    free(client);
}
