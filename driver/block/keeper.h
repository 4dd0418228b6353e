/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "block/backend.h"
#include "block/fd_list.h"

/* The wire between a blockd and the supervisor that keeps its descriptors: SOCK_SEQPACKET,
 * inherited by the blockd as descriptor 4. One packet names one descriptor, which travels with it
 * (SCM_RIGHTS). The supervisor first sends what a crashed predecessor had stored, then a packet
 * with an empty name and no descriptor; after that only the blockd sends. No replies.
 *
 * From the blockd, a packet with a descriptor keeps it under its name in place of any other, and
 * one without a descriptor makes the supervisor close what it has under that name (a loop device
 * goes away only when its last descriptor is closed, so a detach depends on this). When a blockd is
 * given up, the supervisor closes what is left in the order in which it was stored (fd_list.h). */

#define KEEPER_VERSION  1
#define KEEPER_NAME_MAX FD_NAME_MAX

struct keeper_packet {
    uint32_t version;
    char name[KEEPER_NAME_MAX]; /* NUL-terminated */
};

/* Send a packet, with FD unless it is -1. 0 or negative errno. */
int keeper_send(int socket, const char *name, int fd);

/* A packet for each of LIST, in their order. */
int keeper_send_all(int socket, const struct fd_list *list);

/* Receive a packet; *ret_fd is -1 when none came along, else the caller's. 0, -ECONNRESET at the
 * end, -EBADMSG, or another errno. */
int keeper_receive(int socket, char ret_name[KEEPER_NAME_MAX], int *ret_fd);

/* Let go of what was kept for a blockd that is gone for good, so that what its device's users wait
 * for fails: closing "fuse" does that, while an NBD device has to be ended first. */
void keeper_drop(struct fd_list *list);

/* The blockd's side: reads what a predecessor left, then implements fd_keeper. Takes SOCKET over,
 * also on failure. A supervisor that is gone is no failure of store(): what was meant for it goes
 * to the next one. Any thread. Freed with keeper_client_free. */
int keeper_client_open(int socket, struct fd_keeper **ret, struct error *err);
void keeper_client_free(struct fd_keeper *keeper); /* accepts NULL */

/* Have the supervisor forget everything a predecessor left, so that its device's users get I/O
 * errors instead of waiting for ever. */
void keeper_client_forget(struct fd_keeper *keeper);

/* A new supervisor: use SOCKET (taken over) from now on and send it all that is kept, and CONTROL
 * (borrowed) under CONTROL_NAME. 0 or negative errno. */
int keeper_client_adopt(struct fd_keeper *keeper, int socket, const char *control_name,
                        int control);

unsigned keeper_client_count(struct fd_keeper *keeper); /* names kept now */
