/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <poll.h>
#include <stdint.h>

#include "block/control.h"

/* The connections to a blockd's control socket: what each of them waits for. One thread. */

#define BLOCKD_CLIENTS_MAX 16

struct blockd_client {
    int fd;          /* -1: a free place */
    uint32_t waits;  /* enum blockd_op whose answer is due, or 0 */
    int adoption_fd; /* of BLOCKD_ADOPT: what came along, or -1 */
};

struct blockd_clients {
    int listener; /* borrowed */
    struct blockd_client clients[BLOCKD_CLIENTS_MAX];
};

#define BLOCKD_CLIENTS_POLLS (BLOCKD_CLIENTS_MAX + 1)

void blockd_clients_init(struct blockd_clients *clients, int listener);
void blockd_clients_close(struct blockd_clients *clients);

/* What to poll for; then take in what came: new connections, requests, ends. A client that sends
 * anything but a proper request is closed. A client with a request is not listened to until it is
 * answered. */
void blockd_clients_poll(const struct blockd_clients *clients, struct pollfd polls[]);
void blockd_clients_take(struct blockd_clients *clients, const struct pollfd polls[]);

/* A client that waits for OP, or NULL. */
struct blockd_client *blockd_clients_waiting(struct blockd_clients *clients, uint32_t op);

/* Answer: one client, or all that wait for OP. How many were answered. */
void blockd_client_answer(struct blockd_client *client, const struct blockd_reply *reply);
unsigned blockd_clients_answer(struct blockd_clients *clients, uint32_t op,
                               const struct blockd_reply *reply);
/* Answer all that wait for BLOCKD_STATS. */
void blockd_clients_answer_stats(struct blockd_clients *clients, const struct blockd_stats *stats);
