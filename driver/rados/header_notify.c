/* SPDX-License-Identifier: Apache-2.0 */
#include "rados/header_notify.h"

#include <errno.h>
#include <stdlib.h>

/* How bodies changed over the versions of the message:
 *   2  ACQUIRED, RELEASED, REQUEST_LOCK name the client
 *   3  REQUEST_LOCK has "force"
 *   4  RESIZE has "allow shrink", behind the id
 *   5  SNAP_CREATE has a namespace; 6: all SNAP_* have
 *   7  SNAP_* have an id; SNAP_CREATE flags */
enum {
    MESSAGE_VERSION = 7,
    MESSAGE_COMPAT = 1, /* what any reader must understand, and we do */
    MESSAGE_WITH_CLIENT = 2,
    MESSAGE_WITH_SHRINK = 4,
    MESSAGE_NEW_WITH_NAMESPACE = 5,
    MESSAGE_WITH_NAMESPACE = 6,
    MESSAGE_WITH_IDS = 7,
    NAMESPACE_VERSION = 1,
    RESPONSE_VERSION = 1,
    RESPONSE_WITH_WORDS = 2, /* ours */
    ACK_MIN_BYTES = 8 + 8 + 4,
    TIMEOUT_MIN_BYTES = 8 + 8,
};

static struct notify_id decode_id(struct decoder *d)
{
    struct notify_id id = {.client_id = decode_u64(d)};

    id.handle = decode_u64(d);
    id.number = decode_u64(d);
    return id;
}

static void encode_id(struct encoder *e, const struct notify_id *id)
{
    encode_u64(e, id->client_id);
    encode_u64(e, id->handle);
    encode_u64(e, id->number);
}

static void decode_resize(struct decoder *d, uint8_t version, struct header_notify *notify)
{
    notify->size = decode_u64(d);
    notify->id = decode_id(d);
    if (version >= MESSAGE_WITH_SHRINK)
        notify->allow_shrink = decode_u8(d) != 0;
}

static void decode_snapshot(struct decoder *d, uint8_t version, struct header_notify *notify)
{
    bool create = notify->op == NOTIFY_SNAP_CREATE;

    decode_string(d, notify->snapshot, sizeof(notify->snapshot));
    if (version >= MESSAGE_WITH_NAMESPACE || (create && version >= MESSAGE_NEW_WITH_NAMESPACE)) {
        struct decoder namespace = decode_start(d, NAMESPACE_VERSION, NULL);

        notify->namespace_type = decode_u32(&namespace);
        if (namespace.failed)
            d->failed = true;
    }
    if (version >= MESSAGE_WITH_IDS) {
        notify->id = decode_id(d);
        notify->flags = create ? decode_u64(d) : 0;
    }
}

static void decode_body(struct decoder *d, uint8_t version, struct header_notify *notify)
{
    switch (notify->op) {
    case NOTIFY_ACQUIRED_LOCK:
    case NOTIFY_RELEASED_LOCK:
    case NOTIFY_REQUEST_LOCK:
        if (version >= MESSAGE_WITH_CLIENT) {
            notify->client_id = decode_u64(d);
            notify->handle = decode_u64(d);
        }
        break;
    case NOTIFY_ASYNC_PROGRESS:
        notify->id = decode_id(d);
        notify->done = decode_u64(d);
        notify->total = decode_u64(d);
        break;
    case NOTIFY_ASYNC_COMPLETE:
        notify->id = decode_id(d);
        notify->result = (int32_t)decode_u32(d);
        break;
    case NOTIFY_RESIZE:
        decode_resize(d, version, notify);
        break;
    case NOTIFY_SNAP_CREATE:
    case NOTIFY_SNAP_REMOVE:
        decode_snapshot(d, version, notify);
        break;
    case NOTIFY_FLATTEN:
    case NOTIFY_QUIESCE:
    case NOTIFY_UNQUIESCE:
        notify->id = decode_id(d);
        break;
    }
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
    decode_body(&body, version, &notify);
    if (body.failed)
        return -EBADMSG;
    *ret = notify;
    return 0;
}

static void encode_namespace(struct encoder *e, uint32_t type)
{
    size_t mark = encode_start(e, NAMESPACE_VERSION, NAMESPACE_VERSION);

    encode_u32(e, type);
    encode_finish(e, mark);
}

static void encode_body(struct encoder *e, const struct header_notify *notify)
{
    switch (notify->op) {
    case NOTIFY_ACQUIRED_LOCK:
    case NOTIFY_RELEASED_LOCK:
    case NOTIFY_REQUEST_LOCK:
        encode_u64(e, notify->client_id);
        encode_u64(e, notify->handle);
        if (notify->op == NOTIFY_REQUEST_LOCK)
            encode_u8(e, 0); /* force */
        break;
    case NOTIFY_ASYNC_PROGRESS:
        encode_id(e, &notify->id);
        encode_u64(e, notify->done);
        encode_u64(e, notify->total);
        break;
    case NOTIFY_ASYNC_COMPLETE:
        encode_id(e, &notify->id);
        encode_u32(e, (uint32_t)notify->result);
        break;
    case NOTIFY_RESIZE:
        encode_u64(e, notify->size);
        encode_id(e, &notify->id);
        encode_u8(e, notify->allow_shrink);
        break;
    case NOTIFY_SNAP_CREATE:
    case NOTIFY_SNAP_REMOVE:
        encode_string(e, notify->snapshot);
        encode_namespace(e, notify->namespace_type);
        encode_id(e, &notify->id);
        if (notify->op == NOTIFY_SNAP_CREATE)
            encode_u64(e, notify->flags);
        break;
    case NOTIFY_FLATTEN:
    case NOTIFY_QUIESCE:
    case NOTIFY_UNQUIESCE:
        encode_id(e, &notify->id);
        break;
    }
}

void notify_encode(struct encoder *e, const struct header_notify *notify)
{
    size_t mark = encode_start(e, MESSAGE_VERSION, MESSAGE_COMPAT);

    encode_u32(e, notify->op);
    encode_body(e, notify);
    encode_finish(e, mark);
}

void notify_encode_client(struct encoder *e, enum notify_op op, uint64_t client_id, uint64_t handle)
{
    const struct header_notify notify = {.op = op, .client_id = client_id, .handle = handle};

    notify_encode(e, &notify);
}

void notify_encode_header_update(struct encoder *e)
{
    const struct header_notify notify = {.op = NOTIFY_HEADER_UPDATE};

    notify_encode(e, &notify);
}

const char *notify_describe(uint32_t op)
{
    switch (op) {
    case NOTIFY_SNAP_CREATE:
        return "create snapshot";
    case NOTIFY_SNAP_REMOVE:
        return "remove snapshot";
    case NOTIFY_FLATTEN:
        return "flatten";
    case NOTIFY_RESIZE:
        return "resize";
    case NOTIFY_QUIESCE:
        return "freeze";
    case NOTIFY_UNQUIESCE:
        return "thaw";
    default:
        return "other request";
    }
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

void notify_encode_words(struct encoder *e, const char *words)
{
    size_t mark = encode_start(e, RESPONSE_WITH_WORDS, RESPONSE_VERSION);

    encode_u32(e, 0);
    encode_string(e, words);
    encode_finish(e, mark);
}

/* What is behind the result may be something else one day, which is no error. */
static int decode_response(struct decoder d, int32_t *ret, char words[NOTIFY_WORDS_MAX])
{
    uint8_t version;
    struct decoder body = decode_start(&d, RESPONSE_VERSION, &version);
    uint32_t result = decode_u32(&body);

    if (body.failed)
        return -EBADMSG;
    *ret = (int32_t)result;
    words[0] = '\0';
    if (version < RESPONSE_WITH_WORDS)
        return 0;
    decode_string(&body, words, NOTIFY_WORDS_MAX);
    if (body.failed)
        words[0] = '\0';
    return 0;
}

int notify_decode_result(struct decoder d, int32_t *ret)
{
    char words[NOTIFY_WORDS_MAX];

    return decode_response(d, ret, words);
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
        peers[i].answered = decoder_left(&payload) > 0;
        if (peers[i].answered && decode_response(payload, &peers[i].result, peers[i].words) < 0)
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
