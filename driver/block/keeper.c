/* SPDX-License-Identifier: Apache-2.0 */
#include "block/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/packet.h"
#include "block/nbd_device.h"

/* The supervisor sends what it has as soon as it has started us. */
#define OPEN_WAIT_MS 10000

int keeper_send(int socket, const char *name, int fd)
{
    struct keeper_packet packet = {.version = KEEPER_VERSION};
    size_t len = strlen(name);

    if (len >= sizeof(packet.name))
        return -ENAMETOOLONG;
    memcpy(packet.name, name, len);
    return packet_send(socket, &packet, sizeof(packet), fd, MSG_DONTWAIT);
}

int keeper_send_all(int socket, const struct fd_list *list)
{
    int r = 0;

    for (unsigned i = 0; i < list->count && r == 0; i++)
        r = keeper_send(socket, list->items[i].name, list->items[i].fd);
    return r;
}

int keeper_receive(int socket, char ret_name[KEEPER_NAME_MAX], int *ret_fd)
{
    struct keeper_packet packet;
    cleanup_close int fd = -1;
    ssize_t len = packet_receive(socket, &packet, sizeof(packet), 0, &fd);

    if (len == 0)
        return -ECONNRESET;
    if (len < 0)
        return len == -EMSGSIZE ? -EBADMSG : (int)len;
    if (len != sizeof(packet) || packet.version != KEEPER_VERSION ||
        !memchr(packet.name, 0, sizeof(packet.name)))
        return -EBADMSG;
    memcpy(ret_name, packet.name, sizeof(packet.name));
    *ret_fd = steal_fd(&fd);
    return 0;
}

struct keeper_client {
    struct fd_keeper keeper; /* first, so that one is the other */
    pthread_mutex_t lock;    /* everything below: what is kept here and there never differs */
    int socket;
    /* What the supervisor has, or will have once there is one again. The copies are our own, so
     * that they can be given to a new supervisor whatever their user does with his. */
    struct fd_list kept;
};

static struct keeper_client *client_of(struct fd_keeper *keeper)
{
    return (struct keeper_client *)keeper;
}

static bool is_gone(int r)
{
    return r == -EPIPE || r == -ECONNRESET || r == -ECONNREFUSED || r == -ENOTCONN;
}

static int store(struct fd_keeper *keeper, const char *name, int fd)
{
    struct keeper_client *client = client_of(keeper);
    WITH_LOCK(&client->lock);
    int r = 0;

    if (name[0] == '\0' || strlen(name) >= KEEPER_NAME_MAX)
        return -EINVAL;
    if (fd >= 0) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

        r = copy < 0 ? -errno : fd_list_put(&client->kept, name, copy);
    } else {
        fd_list_remove(&client->kept, name);
    }
    if (r == 0)
        r = keeper_send(client->socket, name, fd);
    if (r == 0 || is_gone(r))
        return 0;
    fd_list_remove(&client->kept, name);
    return r;
}

static int fetch(struct fd_keeper *keeper, const char *name)
{
    struct keeper_client *client = client_of(keeper);
    WITH_LOCK(&client->lock);
    int fd = fd_list_get(&client->kept, name);

    return fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
}

int keeper_client_adopt(struct fd_keeper *keeper, int socket, const char *control_name, int control)
{
    struct keeper_client *client = client_of(keeper);
    WITH_LOCK(&client->lock);
    int r;

    close(client->socket);
    client->socket = socket;
    r = keeper_send_all(socket, &client->kept);
    return r < 0 ? r : keeper_send(socket, control_name, control);
}

unsigned keeper_client_count(struct fd_keeper *keeper)
{
    struct keeper_client *client = client_of(keeper);
    WITH_LOCK(&client->lock);

    return client->kept.count;
}

/* Nobody will serve what is behind FD any more. A FUSE session ends with its last descriptor. */
static void give_up(const char *name, int fd)
{
    struct error err;
    unsigned index;

    if (strcmp(name, NBD_DEVICE_KEPT) == 0 &&
        (nbd_device_index(fd, &index, &err) < 0 || nbd_device_disconnect(index, &err) < 0))
        log_warning("%s", err.text);
}

void keeper_drop(struct fd_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        give_up(list->items[i].name, list->items[i].fd);
    fd_list_drop(list);
}

/* Take one packet in: 0, 1 at the end of the list, or negative errno. */
static int take(struct keeper_client *client, int64_t deadline)
{
    struct pollfd ready = {.fd = client->socket, .events = POLLIN};
    char name[KEEPER_NAME_MAX] = "";
    int fd = -1;
    int r;

    r = poll(&ready, 1, deadline_left_ms(deadline));
    if (r < 0)
        return errno == EINTR ? 0 : -errno;
    if (r == 0)
        return -ETIMEDOUT;
    r = keeper_receive(client->socket, name, &fd);
    if (r < 0)
        return r;
    if (fd >= 0)
        return name[0] == '\0' ? (close(fd), -EBADMSG) : fd_list_put(&client->kept, name, fd);
    return name[0] == '\0' ? 1 : -EBADMSG;
}

int keeper_client_open(int socket, struct fd_keeper **ret, struct error *err)
{
    const int64_t deadline = deadline_in_ms(OPEN_WAIT_MS);
    struct keeper_client *client = calloc(1, sizeof(*client));
    int r;

    if (!client) {
        close(socket);
        return error_errno(err, -ENOMEM, "cannot talk to the supervisor");
    }
    client->keeper = (struct fd_keeper){.store = store, .fetch = fetch};
    client->socket = socket;
    pthread_mutex_init(&client->lock, NULL);
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

void keeper_client_forget(struct fd_keeper *keeper)
{
    struct keeper_client *client = client_of(keeper);
    char name[KEEPER_NAME_MAX];

    while (keeper_client_count(keeper) > 0) {
        memcpy(name, client->kept.items[0].name, sizeof(name));
        give_up(name, client->kept.items[0].fd);
        keeper->store(keeper, name, -1);
    }
}

void keeper_client_free(struct fd_keeper *keeper)
{
    struct keeper_client *client;

    if (!keeper)
        return;
    client = client_of(keeper);
    fd_list_drop(&client->kept);
    close(client->socket);
    pthread_mutex_destroy(&client->lock);
    free(client);
}
