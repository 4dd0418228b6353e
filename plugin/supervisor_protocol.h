/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* How the server asks the supervisor for blockds: SOCK_SEQPACKET, inherited by the server as
 * descriptor 3 (descriptor 4 is the listening HTTP socket). One request, one reply, in order; also
 * a packet that is no request gets its reply (-EBADMSG). */

#define SUPERVISOR_VERSION       1
#define SUPERVISOR_ID_MAX        64
#define SUPERVISOR_ARGS_MAX      2048
#define SUPERVISOR_ARG_COUNT_MAX 64
#define SUPERVISOR_BLOCKDS_MAX   1024

enum supervisor_op {
    SUPERVISOR_START = 1, /* start a blockd for `id` with `args`; -EEXIST when one runs */
    SUPERVISOR_KILL = 2,  /* end it with SIGKILL and drop what it stored; 0 also when none runs */
    SUPERVISOR_LIST = 3,  /* ids of all blockds */
    SUPERVISOR_COUNT = 4, /* how often what was started again; the reply is supervisor_counts */
};

struct supervisor_request {
    uint32_t version;
    uint32_t op;
    char id[SUPERVISOR_ID_MAX];     /* image id, [0-9a-z]+; empty for LIST */
    uint32_t args_len;              /* bytes used of args; 0 but for START */
    char args[SUPERVISOR_ARGS_MAX]; /* the blockd's arguments after argv[0], each ended by a NUL */
};

struct supervisor_reply {
    uint32_t version;
    int32_t result;
    uint32_t count; /* LIST: ids that follow */
    char text[256]; /* words when result < 0 */
    char ids[][SUPERVISOR_ID_MAX];
};

/* The reply to COUNT, since the start of the supervisor. One that is too old for it answers with a
 * supervisor_reply: -EBADMSG. */
struct supervisor_counts {
    uint32_t version;
    uint32_t server_restarts;
    uint32_t blockd_restarts;
    uint32_t blockds; /* there are now */
};

#define SUPERVISOR_REPLY_MAX                                                                       \
    (sizeof(struct supervisor_reply) + SUPERVISOR_BLOCKDS_MAX * SUPERVISOR_ID_MAX)

/* Pure checks of bytes from the other side: 0 or -EBADMSG. */
int supervisor_request_check(const void *packet, size_t len, struct supervisor_request *ret);
/* PACKET is aligned for uint32_t and read in place once this has returned 0. */
int supervisor_reply_check(const void *packet, size_t len);
int supervisor_counts_check(const void *packet, size_t len, struct supervisor_counts *ret);

/* The parts, for those who keep them elsewhere: ID, in SIZE bytes, is [0-9a-z]{1,63} and a NUL;
 * ARGS are 1 to SUPERVISOR_ARG_COUNT_MAX strings, each ended by a NUL. 0 or -EBADMSG. */
int supervisor_id_check(const char *id, size_t size);
int supervisor_args_check(const char *args, size_t len);
