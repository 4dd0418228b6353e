/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_call.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/names.h"
#include "image/ownership.h"
#include "image/watch.h"
#include "rados/op.h"

/* How long a living owner may take to take a request on; the work itself is not part of it. */
#define ASK_MS 5000

/* How often to look whether the owner that was asked is the owner still. */
#define LOOK_MS 5000

#define WATCH_TIMEOUT_S 30
#define CLOSE_MS        2000

struct call {
    struct cluster *cluster;
    const char *id;
    char object[OBJECT_NAME_MAX];
    struct watch *watch;
    struct header_notify request;
    struct lock_holder holder; /* who is asked */
    int64_t deadline;
};

/* 0: the owner has taken it on. 1: who holds the lock did not say anything. Or the owner's refusal,
 * or another errno. */
static int ask(struct call *call, struct error *err)
{
    cleanup_encoder struct encoder payload = {0};
    cleanup_encoder struct encoder bytes = {0};
    struct notify_answer answer = {0};
    int r;

    notify_encode(&payload, &call->request);
    r = op_notify(cluster_io(call->cluster), call->object, &payload, ASK_MS, &bytes,
                  call->deadline);
    if (bytes.len > 0)
        r = notify_decode_answer(decoder_of(bytes.data, bytes.len), &answer);
    if (r < 0)
        return error_errno(err, r, "cannot ask the owner of image %s", call->id);
    r = 1;
    for (size_t i = 0; i < answer.ack_count; i++) {
        if (answer.acks[i].answered && answer.acks[i].client_id == call->holder.client_id)
            r = answer.acks[i].result;
    }
    notify_answer_free(&answer);
    return r;
}

static bool is_ours(const struct call *call, const struct notify_id *id)
{
    return id->client_id == call->request.id.client_id && id->handle == call->request.id.handle &&
           id->number == call->request.id.number;
}

/* Take what has come on the header: true with the result when it says that the work is done. */
static bool hear(struct call *call, int64_t *heard, int *ret_result)
{
    static const struct encoder nothing;
    struct watch_event *event;
    bool done = false;

    while ((event = watch_next(call->watch))) {
        struct header_notify notify;
        int r = notify_decode(decoder_of(event->data, event->len), &notify);

        watch_answer(call->watch, event, &nothing);
        free(event);
        if (r < 0)
            continue;
        if (notify.op == NOTIFY_ASYNC_PROGRESS && is_ours(call, &notify.id))
            *heard = clock_now();
        if (notify.op == NOTIFY_ASYNC_COMPLETE && is_ours(call, &notify.id)) {
            *ret_result = notify.result;
            done = true;
        }
    }
    return done;
}

static int unknown(const struct call *call, const char *why, struct error *err)
{
    return error_set(err, -ETIMEDOUT,
                     "the owner of image %s (client %" PRIu64 ") %s: whether it did what it was "
                     "asked for is not known",
                     call->id, call->holder.client_id, why);
}

static int check_holder(struct call *call, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(call->cluster, call->id, call->deadline, &header, err);

    if (r < 0)
        return r;
    if (header.lock.count == 0 || header.lock.holder.client_id != call->holder.client_id)
        return unknown(call, "is not its owner any more", err);
    return 0;
}

static int wait_done(struct call *call, struct error *err)
{
    int64_t heard = clock_now();
    int result;

    for (;;) {
        struct pollfd polls = {.fd = watch_fd(call->watch), .events = POLLIN};
        int64_t next = deadline_earlier(call->deadline, deadline_in_ms(LOOK_MS));
        int r;

        poll(&polls, 1, deadline_left_ms(next));
        if (hear(call, &heard, &result))
            return result < 0
                       ? error_errno(err, result,
                                     "the owner of image %s (client %" PRIu64 ") could not do it",
                                     call->id, call->holder.client_id)
                       : 0;
        if (deadline_left_ms(call->deadline) == 0)
            return unknown(call, "did not end in time", err);
        if (clock_now() - heard > OWNER_SILENT_MS * NS_PER_MS)
            return unknown(call, "says nothing any more", err);
        if (deadline_left_ms(next) > 0)
            continue;
        r = watch_check(call->watch);
        r = r < 0 ? error_errno(err, r, "the watch of image %s broke", call->id)
                  : check_holder(call, err);
        if (r < 0)
            return r;
    }
}

/* As ask(); 0 when the work is done. */
static int ask_and_wait(struct call *call, struct error *err)
{
    int r =
        watch_open(call->cluster, call->object, WATCH_TIMEOUT_S, call->deadline, &call->watch, err);

    if (r < 0)
        return r;
    call->request.id = (struct notify_id){.client_id = cluster_client_id(call->cluster),
                                          .handle = watch_handle(call->watch)};
    if (getrandom(&call->request.id.number, sizeof(call->request.id.number), 0) < 0)
        call->request.id.number = (uint64_t)clock_now();
    r = ask(call, err);
    if (r == 0)
        r = wait_done(call, err);
    else if (r == -EOPNOTSUPP || r == -EROFS)
        error_set(err, r,
                  "image %s is in use by client %" PRIu64 " at %s, which does not do this for "
                  "others",
                  call->id, call->holder.client_id, call->holder.address);
    else if (r < 0)
        error_errno(err, r, "the owner of image %s (client %" PRIu64 ") refuses", call->id,
                    call->holder.client_id);
    watch_close(call->watch, deadline_in_ms(CLOSE_MS));
    return r;
}

static int do_it_ourselves(struct cluster *cluster, const char *id, const char *host,
                           owner_work work, void *arg, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    cleanup_encoder struct encoder payload = {0};
    struct ownership *ownership;
    struct owned_image image;
    char object[OBJECT_NAME_MAX];
    int r = ownership_acquire(cluster, id, host, "", WATCH_TIMEOUT_S, deadline, &header, &ownership,
                              err);

    if (r < 0)
        return r;
    image =
        (struct owned_image){.cluster = cluster, .id = id, .cookie = ownership_cookie(ownership)};
    owned_drop_unneeded(&image, &header, deadline);
    owned_release_ids(cluster, &header, deadline);
    r = work(arg, &image, deadline, err);
    if (r == 0) {
        name_header(object, id);
        notify_encode_header_update(&payload);
        op_notify(cluster_io(cluster), object, &payload, ASK_MS, NULL, deadline);
    }
    ownership_release(ownership);
    return r;
}

int owner_call(struct cluster *cluster, const char *id, const char *host,
               const struct header_notify *request, owner_work work, void *arg, int64_t deadline,
               struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    struct call call = {.cluster = cluster, .id = id, .request = *request, .deadline = deadline};
    int r = image_read_header(cluster, id, deadline, &header, err);

    if (r < 0)
        return r;
    name_header(call.object, id);
    if (header.lock.count > 0) {
        call.holder = header.lock.holder;
        r = ask_and_wait(&call, err);
        if (r <= 0)
            return r;
    }
    return do_it_ourselves(cluster, id, host, work, arg, deadline, err);
}
