/* SPDX-License-Identifier: Apache-2.0 */
#include "rados/header_notify.h"

#include <errno.h>
#include <stdlib.h>

enum {
    MESSAGE_VERSION = 3, /* what we write: the first that carries REQUEST_LOCK's "force" */
    MESSAGE_COMPAT = 1,  /* what any reader must understand, and we do */
    MESSAGE_WITH_CLIENT = 2,
    RESPONSE_VERSION = 1,
    ACK_MIN_BYTES = 8 + 8 + 4,
    TIMEOUT_MIN_BYTES = 8 + 8,
};

static bool carries_client(uint32_t op)
{
    return op == NOTIFY_ACQUIRED_LOCK || op == NOTIFY_RELEASED_LOCK || op == NOTIFY_REQUEST_LOCK;
}

int notify_decode(struct decoder d, struct header_notify *ret)
{
    struct header_notify notify = {.op = NOTIFY_HEADER_UPDATE};
    struct decoder body;
    uint8_t version;

    if (decoder_left(&d) == 0 && !d.failed) {
        *ret = notify;
        return 0;
    }
    body = decode_start(&d, MESSAGE_COMPAT, &version);
    notify.op = decode_u32(&body);
    if (carries_client(notify.op) && version >= MESSAGE_WITH_CLIENT) {
        notify.client_id = decode_u64(&body);
        notify.handle = decode_u64(&body);
    }
    if (body.failed)
        return -EBADMSG;
    *ret = notify;
    return 0;
}

void notify_encode_client(struct encoder *e, enum notify_op op, uint64_t client_id, uint64_t handle)
{
    size_t mark = encode_start(e, MESSAGE_VERSION, MESSAGE_COMPAT);

    encode_u32(e, op);
    encode_u64(e, client_id);
    encode_u64(e, handle);
    if (op == NOTIFY_REQUEST_LOCK)
        encode_u8(e, 0); /* force */
    encode_finish(e, mark);
}

void notify_encode_header_update(struct encoder *e)
{
    size_t mark = encode_start(e, MESSAGE_VERSION, MESSAGE_COMPAT);

    encode_u32(e, NOTIFY_HEADER_UPDATE);
    encode_finish(e, mark);
}

bool notify_wants_result(uint32_t op)
{
    switch (op) {
    case NOTIFY_ACQUIRED_LOCK:
    case NOTIFY_RELEASED_LOCK:
    case NOTIFY_HEADER_UPDATE:
    case NOTIFY_ASYNC_PROGRESS:
    case NOTIFY_ASYNC_COMPLETE:
        return false;
    default:
        return true;
    }
}

void notify_encode_result(struct encoder *e, int32_t result)
{
    size_t mark = encode_start(e, RESPONSE_VERSION, RESPONSE_VERSION);

    encode_u32(e, (uint32_t)result);
    encode_finish(e, mark);
}

int notify_decode_result(struct decoder d, int32_t *ret)
{
    struct decoder body = decode_start(&d, RESPONSE_VERSION, NULL);
    uint32_t result = decode_u32(&body);

    if (body.failed)
        return -EBADMSG;
    *ret = (int32_t)result;
    return 0;
}

void notify_answer_free(struct notify_answer *answer)
{
    free(answer->acks);
    free(answer->timeouts);
    *answer = (struct notify_answer){0};
}

/* A list of peers; those that acknowledged say something with it. */
static int decode_peers(struct decoder *d, bool acks, struct notify_peer **ret, size_t *ret_count)
{
    uint32_t count = decode_count(d, acks ? ACK_MIN_BYTES : TIMEOUT_MIN_BYTES);
    struct notify_peer *peers;

    if (d->failed)
        return -EBADMSG;
    if (count == 0)
        return 0;
    peers = calloc(count, sizeof(*peers));
    if (!peers)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        struct decoder payload;

        peers[i].client_id = decode_u64(d);
        peers[i].handle = decode_u64(d);
        if (!acks)
            continue;
        payload = decode_blob(d);
        /* One client that acknowledges with nonsense must not hide what the others said. */
        if (decoder_left(&payload) > 0 && notify_decode_result(payload, &peers[i].result) < 0)
            peers[i].result = -EBADMSG;
    }
    *ret = peers;
    *ret_count = count;
    return d->failed ? -EBADMSG : 0;
}

int notify_decode_answer(struct decoder d, struct notify_answer *ret)
{
    struct notify_answer answer = {0};
    int r = decode_peers(&d, true, &answer.acks, &answer.ack_count);

    if (r == 0)
        r = decode_peers(&d, false, &answer.timeouts, &answer.timeout_count);
    if (r < 0)
        notify_answer_free(&answer);
    else
        *ret = answer;
    return r;
}
