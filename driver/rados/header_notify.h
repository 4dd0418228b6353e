/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "rados/cls_rbd.h"

/* The notifies that clients of an RBD image send each other on its header object (ceph:
 * librbd/WatchNotifyTypes). Pure functions; decoders return 0 or -EBADMSG, that of a list also
 * -ENOMEM; the result is then untouched. */

enum notify_op {
    NOTIFY_ACQUIRED_LOCK = 0,
    NOTIFY_RELEASED_LOCK = 1,
    NOTIFY_REQUEST_LOCK = 2,
    NOTIFY_HEADER_UPDATE = 3,
    NOTIFY_ASYNC_PROGRESS = 4,
    NOTIFY_ASYNC_COMPLETE = 5,
    NOTIFY_FLATTEN = 6,
    NOTIFY_RESIZE = 7,
    NOTIFY_SNAP_CREATE = 8,
    NOTIFY_SNAP_REMOVE = 9,
    NOTIFY_SNAP_RENAME = 10,
    NOTIFY_RENAME = 11,
    NOTIFY_SNAP_PROTECT = 12,
    NOTIFY_SNAP_UNPROTECT = 13,
    NOTIFY_REBUILD_OBJECT_MAP = 14,
    NOTIFY_UPDATE_FEATURES = 15,
    NOTIFY_MIGRATE = 16,
    NOTIFY_SPARSIFY = 17,
    NOTIFY_QUIESCE = 18,
    NOTIFY_UNQUIESCE = 19,
    NOTIFY_METADATA_UPDATE = 20,
};

/* Names a piece of work that a client asked for: the client (its id and watch) and a number of its
 * choice. All zero: none, as older clients ask; then the acknowledgement is the answer. */
struct notify_id {
    uint64_t client_id;
    uint64_t handle;
    uint64_t number;
};

static inline bool notify_same_id(const struct notify_id *a, const struct notify_id *b)
{
    return a->client_id == b->client_id && a->handle == b->handle && a->number == b->number;
}

/* A notify. What an operation does not carry is 0; the body of one that is not among those below is
 * not looked at. An empty payload is the old form of HEADER_UPDATE. */
struct header_notify {
    uint32_t op;        /* enum notify_op, or a number newer than it */
    uint64_t client_id; /* ACQUIRED, RELEASED, REQUEST_LOCK: who */
    uint64_t handle;
    struct notify_id id;         /* FLATTEN, RESIZE, SNAP_CREATE, SNAP_REMOVE, QUIESCE, UNQUIESCE,
                                  * ASYNC_* */
    char snapshot[RBD_NAME_MAX]; /* SNAP_CREATE, SNAP_REMOVE */
    uint32_t namespace_type;     /* SNAP_*: enum rbd_namespace; others than USER are not read on */
    uint64_t flags;              /* SNAP_CREATE: enum notify_snap_flag */
    uint64_t size;               /* RESIZE: bytes */
    bool allow_shrink;           /* RESIZE */
    uint64_t done, total;        /* ASYNC_PROGRESS */
    int32_t result;              /* ASYNC_COMPLETE */
};
int notify_decode(struct decoder d, struct header_notify *ret);

/* SNAP_CREATE without asking anybody to be quiet, or although that failed. (Not the numbers of
 * librbd's public flags.) */
enum notify_snap_flag {
    NOTIFY_SNAP_SKIP_QUIESCE = 1 << 1,
    NOTIFY_SNAP_IGNORE_QUIESCE_ERROR = 1 << 2,
};

/* Any of the operations that carry nothing but what is above. */
void notify_encode(struct encoder *e, const struct header_notify *notify);

/* ACQUIRED_LOCK, RELEASED_LOCK, REQUEST_LOCK (with "force" false) */
void notify_encode_client(struct encoder *e, enum notify_op op, uint64_t client_id,
                          uint64_t handle);
void notify_encode_header_update(struct encoder *e);

/* "snapshot", "resize" and so on: what an operation is about, for a log. */
const char *notify_describe(uint32_t op);

/* Does an owner have to answer this operation with a result code? (Everything that asks for work;
 * not the announcements 0, 1, 3, 4, 5, which get an empty acknowledgement.) */
bool notify_wants_result(uint32_t op);
void notify_encode_result(struct encoder *e, int32_t result); /* negative errno or 0 */
int notify_decode_result(struct decoder d, int32_t *ret);

/* Result 0 and, behind it, where clients that do not know of them do not look, WORDS about who
 * answers: fewer bytes than NOTIFY_WORDS_MAX. */
#define NOTIFY_WORDS_MAX 512
void notify_encode_words(struct encoder *e, const char *words);

/* The answer of rados_notify2, also filled in when it returns -ETIMEDOUT: who acknowledged (with
 * which result: 0 when the acknowledgement was empty, -EBADMSG when it made no sense) and who is
 * registered but silent. */
struct notify_peer {
    uint64_t client_id;
    uint64_t handle;
    bool answered; /* the acknowledgement was not empty */
    int32_t result;
    char words[NOTIFY_WORDS_MAX]; /* "" when there are none */
};
struct notify_answer {
    struct notify_peer *acks; /* notify_answer_free */
    size_t ack_count;
    struct notify_peer *timeouts;
    size_t timeout_count;
};
int notify_decode_answer(struct decoder d, struct notify_answer *ret);
void notify_answer_free(struct notify_answer *answer);
