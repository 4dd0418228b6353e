/* SPDX-License-Identifier: Apache-2.0 */
#include "block/blockd_clients.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/packet.h"

void blockd_clients_init(struct blockd_clients *clients, int listener)
{
    clients->listener = listener;
    for (unsigned i = 0; i < BLOCKD_CLIENTS_MAX; i++)
        clients->clients[i] = (struct blockd_client){.fd = -1, .adoption_fd = -1};
}

static void close_client(struct blockd_client *client)
{
    if (client->adoption_fd >= 0)
        close(client->adoption_fd);
    close(client->fd);
    *client = (struct blockd_client){.fd = -1, .adoption_fd = -1};
}

void blockd_clients_close(struct blockd_clients *clients)
{
    for (unsigned i = 0; i < BLOCKD_CLIENTS_MAX; i++) {
        if (clients->clients[i].fd >= 0)
            close_client(&clients->clients[i]);
    }
}

static struct blockd_client *free_place(struct blockd_clients *clients)
{
    for (unsigned i = 0; i < BLOCKD_CLIENTS_MAX; i++) {
        if (clients->clients[i].fd < 0)
            return &clients->clients[i];
    }
    return NULL;
}

void blockd_clients_poll(const struct blockd_clients *clients, struct pollfd polls[])
{
    bool room = false;

    for (unsigned i = 0; i < BLOCKD_CLIENTS_MAX; i++) {
        const struct blockd_client *client = &clients->clients[i];

        room = room || client->fd < 0;
        polls[i] = (struct pollfd){.fd = client->fd, .events = client->waits ? 0 : POLLIN};
    }
    polls[BLOCKD_CLIENTS_MAX] =
        (struct pollfd){.fd = room ? clients->listener : -1, .events = POLLIN};
}

/* 0, -EAGAIN, or the client is to be closed. */
static int take_request(struct blockd_client *client)
{
    char packet[sizeof(struct blockd_request)];
    cleanup_close int fd = -1;
    struct blockd_request request;
    ssize_t len = packet_receive(client->fd, packet, sizeof(packet), MSG_DONTWAIT, &fd);
    int r;

    if (len < 0)
        return (int)len;
    r = len == 0 ? -ECONNRESET : blockd_request_check(packet, (size_t)len, &request);
    if (r < 0)
        return r;
    client->waits = request.op;
    if (request.op == BLOCKD_ADOPT)
        client->adoption_fd = steal_fd(&fd);
    return 0;
}

static void take_from(struct blockd_client *client, short events)
{
    int r;

    if (events & POLLIN) {
        r = take_request(client);
        if (r == 0 || r == -EAGAIN || r == -EINTR)
            return;
        if (r != -ECONNRESET)
            log_debug("closing a control connection: %s", error_words(r));
        close_client(client);
    } else if (events & (POLLHUP | POLLERR | POLLNVAL)) {
        close_client(client);
    }
}

void blockd_clients_take(struct blockd_clients *clients, const struct pollfd polls[])
{
    struct blockd_client *place;
    int fd;

    for (unsigned i = 0; i < BLOCKD_CLIENTS_MAX; i++) {
        if (clients->clients[i].fd >= 0 && polls[i].revents)
            take_from(&clients->clients[i], polls[i].revents);
    }
    if (!(polls[BLOCKD_CLIENTS_MAX].revents & POLLIN))
        return;
    place = free_place(clients);
    if (!place)
        return;
    fd = accept4(clients->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        place->fd = fd;
}

struct blockd_client *blockd_clients_waiting(struct blockd_clients *clients, uint32_t op)
{
    for (unsigned i = 0; i < BLOCKD_CLIENTS_MAX; i++) {
        if (clients->clients[i].fd >= 0 && clients->clients[i].waits == op)
            return &clients->clients[i];
    }
    return NULL;
}

/* A client that does not take its answer at once has gone, or never reads: not worth waiting. */
static void answer(struct blockd_client *client, const void *packet, size_t len)
{
    if (client->adoption_fd >= 0)
        close(client->adoption_fd);
    client->adoption_fd = -1;
    client->waits = 0;
    if (send(client->fd, packet, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        close_client(client);
}

void blockd_client_answer(struct blockd_client *client, const struct blockd_reply *reply)
{
    answer(client, reply, sizeof(*reply));
}

static unsigned answer_all(struct blockd_clients *clients, uint32_t op, const void *packet,
                           size_t len)
{
    struct blockd_client *client;
    unsigned answered = 0;

    for (; (client = blockd_clients_waiting(clients, op)); answered++)
        answer(client, packet, len);
    return answered;
}

unsigned blockd_clients_answer(struct blockd_clients *clients, uint32_t op,
                               const struct blockd_reply *reply)
{
    return answer_all(clients, op, reply, sizeof(*reply));
}

void blockd_clients_answer_stats(struct blockd_clients *clients, const struct blockd_stats *stats)
{
    answer_all(clients, BLOCKD_STATS, stats, sizeof(*stats));
}
