/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* How the server asks the supervisor for blockds: SOCK_SEQPACKET, inherited by the server as
 * descriptor 3 (descriptor 4 is the listening HTTP socket). One request, one reply. */

#define SUPERVISOR_VERSION     1
#define SUPERVISOR_ID_MAX      64
#define SUPERVISOR_ARGS_MAX    2048
#define SUPERVISOR_BLOCKDS_MAX 1024

enum supervisor_op {
    SUPERVISOR_START = 1, /* start a blockd for `id` with `args`; -EEXIST when one runs */
    SUPERVISOR_KILL = 2,  /* end it with SIGKILL and drop what it stored; 0 also when none runs */
    SUPERVISOR_LIST = 3,  /* ids of all blockds */
};

struct supervisor_request {
    uint32_t version;
    uint32_t op;
    char id[SUPERVISOR_ID_MAX];     /* image id, [0-9a-z]+ */
    uint32_t args_len;              /* bytes used of args */
    char args[SUPERVISOR_ARGS_MAX]; /* the blockd's arguments after argv[0], each ended by a NUL */
};

struct supervisor_reply {
    uint32_t version;
    int32_t result;
    uint32_t count; /* LIST: ids that follow */
    char text[256]; /* words when result < 0 */
    char ids[][SUPERVISOR_ID_MAX];
};

/* Pure checks of bytes from the other side: 0 or -EBADMSG. */
int supervisor_request_check(const void *packet, size_t len, struct supervisor_request *ret);
