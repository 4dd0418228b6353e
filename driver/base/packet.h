/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Packets on a local SOCK_SEQPACKET socket, each with at most one open descriptor. */

/* Send LEN bytes and a copy of FD (-1: none). FLAGS as for sendmsg(2). 0 or a negative errno. */
int packet_send(int socket, const void *data, size_t len, int fd, int flags);

/* Receive one packet into DATA of SIZE bytes; FLAGS as for recvmsg(2). Returns its length (0: the
 * other end is closed) and in *ret_fd the descriptor that came along (the caller's, CLOEXEC) or -1;
 * or a negative errno: -EMSGSIZE when the packet is longer than SIZE or has several descriptors,
 * all of which are then closed. */
ssize_t packet_receive(int socket, void *data, size_t size, int flags, int *ret_fd);
