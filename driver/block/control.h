/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "block/backend.h"

/* How the server talks to a radosvol-blockd: SOCK_SEQPACKET on a Unix socket that the supervisor
 * listens on and hands to the blockd as descriptor 3, so a call made before the blockd is ready
 * just waits. One packet there, one packet back; a connection may carry several calls.
 *
 * Both packets are plain structs on one machine; `version` guards against an upgrade in between.
 * Bytes from outside are checked by blockd_request_check / blockd_reply_check (pure). */

#define BLOCKD_VERSION 1

enum blockd_op {
    BLOCKD_STATUS = 1, /* answered once the device is attached, or attaching has failed */
    BLOCKD_DETACH = 2, /* give the device, the lock and the watch back, answer, end the process */
    BLOCKD_ADOPT = 3, /* a new supervisor takes over from a dead one; answered at once, see below */
    BLOCKD_STATS = 8, /* measurements, answered like STATUS but with a struct blockd_stats; a blockd
                       * that is too old to know it closes the connection */
};

/* BLOCKD_ADOPT, for a blockd whose supervisor died: its keeper socket leads nowhere, but it still
 * holds its descriptors. The request carries one descriptor (SCM_RIGHTS, CLOEXEC): the blockd's end
 * of a new keeper socket. The blockd then, whatever else it is doing (it does not wait until the
 * device is attached):
 *   1. closes its old keeper socket and uses the new one from then on, without reading from it:
 *      nothing of a predecessor comes, and no end packet;
 *   2. sends over it each descriptor it has stored so far, under the same name, and its listening
 *      control socket (descriptor 3) under the name BLOCKD_CONTROL_NAME;
 *   3. answers with result 0 and `pid`.
 * Without exactly one descriptor: -EBADMSG. Once it gives the device back: -ESHUTDOWN. Descriptors
 * that come with any other request are closed. A descriptor stored later goes to the new socket as
 * usual, once: no store may fall between 1 and 2 and be lost.
 *
 * The end in order: the exit status of an adopted blockd is unknown to its new supervisor, which
 * takes an end for a crash exactly when something is still stored. So every blockd makes its keeper
 * forget all names it stored (keeper.h) before it exits 0; "control" needs no forgetting. */
#define BLOCKD_CONTROL_NAME "control"

struct blockd_request {
    uint32_t version;
    uint32_t op; /* enum blockd_op */
};

enum blockd_state {
    BLOCKD_ATTACHED = 1,
    BLOCKD_FENCED = 2, /* another host took the volume: all I/O fails */
};

struct blockd_reply {
    uint32_t version;
    int32_t result;     /* 0 or a negative errno */
    uint32_t state;     /* enum blockd_state */
    uint32_t read_only; /* 0 or 1 */
    uint64_t size;      /* bytes */
    uint64_t pid;
    uint64_t reads, writes, discards, flushes; /* requests done since the start */
    uint64_t read_bytes, write_bytes;
    uint64_t errors;  /* requests that failed */
    char device[64];  /* "/dev/loop3" */
    char backend[16]; /* "fuse" */
    char text[512];   /* words of the failure when result < 0 */
};

/* Not part of blockd_reply, whose size blockds of earlier versions know: a data process keeps its
 * version until its volume is unmounted. */
struct blockd_stats {
    uint32_t version;
    int32_t result;    /* 0, or a negative errno: then the rest is 0 */
    uint32_t state;    /* enum blockd_state */
    uint32_t reserved; /* 0 */
    uint64_t size;     /* bytes */
    uint64_t pid;
    uint64_t watch_age_ms; /* since the cluster last confirmed the watch on the header */
    struct backend_stats io;
};

int blockd_request_check(const void *packet, size_t len, struct blockd_request *ret);
int blockd_reply_check(const void *packet, size_t len, struct blockd_reply *ret);
int blockd_stats_check(const void *packet, size_t len, struct blockd_stats *ret);

/* Call the blockd behind SOCKET. *ret is filled when the blockd answered, also with result < 0 (err
 * then has its words). 0, the blockd's result, -ENOENT or -ECONNREFUSED (no blockd there),
 * -ECONNRESET (it ended without an answer), -ETIMEDOUT. Blocks; any thread. */
int blockd_call(const char *socket, enum blockd_op op, int64_t deadline, struct blockd_reply *ret,
                struct error *err);

/* BLOCKD_STATS; likewise. */
int blockd_call_stats(const char *socket, int64_t deadline, struct blockd_stats *ret,
                      struct error *err);

/* A blockd's command line, made by the server and handed through the supervisor:
 *   radosvol-blockd --conf F --client N --pool P --namespace NS --image ID --name VOLUME
 *                   --host H --token T --watch-timeout S --block-size 512|4096
 *                   --log-level L [--backend auto|nbd|fuse] [--read-only | --shared]
 * [--fail-when-full] Descriptor 3 is the listening control socket, 4 the keeper (keeper.h). --token
 * is random per attachment and goes into the lock's description, so that a blockd started again
 * after a crash knows its dead predecessor. --shared: of an image that nobody writes, which other
 * hosts may have attached too; read only, and without a lock. Exit status 0: detached in order;
 * anything else: crashed or could not attach. */
