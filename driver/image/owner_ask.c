/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_ask.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/image.h"
#include "image/names.h"
#include "image/watch.h"
#include "rados/op.h"

/* How long a living owner may take to take a request on; the work itself is not part of it. */
#define ASK_MS 7000

/* One notify. It ends when all watchers have answered, and one that is silent must not use up the
 * time of an owner that is not; an owner that has not answered by then is asked again, which does
 * no harm: it knows the request by its id. */
#define NOTIFY_MS 2000

/* How often to look whether the owner that was asked is the owner still. */
#define LOOK_MS 5000

/* librbd ends a freeze that nobody ends after twice its notify timeout. */
#define LIBRBD_FREEZE_MS 10000

#define WATCH_TIMEOUT_S 30
#define CLOSE_MS        2000

struct owner_ask {
    struct cluster *cluster;
    char id[IMAGE_ID_MAX];
    char object[OBJECT_NAME_MAX];
    struct lock_holder holder; /* who is asked */
    struct watch *watch;
    int (*progress)(void *arg, uint64_t done, uint64_t total); /* or NULL */
    void *progress_arg;
    struct notify_id freeze; /* the QUIESCE under way */
    int64_t freeze_asked;
};

static struct notify_id new_id(const struct owner_ask *ask)
{
    struct notify_id id = {.client_id = cluster_client_id(ask->cluster),
                           .handle = watch_handle(ask->watch)};

    if (getrandom(&id.number, sizeof(id.number), 0) < 0)
        id.number = (uint64_t)clock_now();
    return id;
}

int owner_ask_open(struct cluster *cluster, const char *id, const struct lock_holder *holder,
                   int64_t deadline, struct owner_ask **ret, struct error *err)
{
    struct owner_ask *ask = calloc(1, sizeof(*ask));
    int r;

    if (!ask)
        return error_set(err, -ENOMEM, "out of memory");
    ask->cluster = cluster;
    ask->holder = *holder;
    snprintf(ask->id, sizeof(ask->id), "%s", id);
    name_header(ask->object, id);
    r = watch_open(cluster, ask->object, WATCH_TIMEOUT_S, deadline, &ask->watch, err);
    if (r < 0) {
        free(ask);
        return r;
    }
    *ret = ask;
    return 0;
}

void owner_ask_on_progress(struct owner_ask *ask,
                           int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
    ask->progress = progress;
    ask->progress_arg = arg;
}

void owner_ask_close(struct owner_ask *ask)
{
    if (!ask)
        return;
    watch_close(ask->watch, deadline_in_ms(CLOSE_MS));
    free(ask);
}

enum reaction {
    ANSWERED, /* with a result */
    HEARD,    /* acknowledged without a word */
    SILENT,   /* registered as a watcher */
    ABSENT,
};

static enum reaction find_reaction(const struct notify_answer *answer, uint64_t client_id,
                                   int *ret_result)
{
    enum reaction reaction = ABSENT;

    for (size_t i = 0; i < answer->timeout_count; i++) {
        if (answer->timeouts[i].client_id == client_id)
            reaction = SILENT;
    }
    for (size_t i = 0; i < answer->ack_count; i++) {
        if (answer->acks[i].client_id != client_id)
            continue;
        if (answer->acks[i].answered) {
            *ret_result = answer->acks[i].result;
            return ANSWERED;
        }
        reaction = HEARD;
    }
    return reaction;
}

/* One notify: 0 with how the owner reacts, or a negative errno. */
static int notify_once(struct owner_ask *ask, const struct encoder *payload, int64_t deadline,
                       enum reaction *ret, int *ret_result, struct error *err)
{
    cleanup_encoder struct encoder bytes = {0};
    struct notify_answer answer = {0};
    int r = op_notify(cluster_io(ask->cluster), ask->object, payload, NOTIFY_MS, &bytes, deadline);

    if (bytes.len > 0)
        r = notify_decode_answer(decoder_of(bytes.data, bytes.len), &answer);
    if (r < 0)
        return error_errno(err, r, "cannot ask the owner of image %s", ask->id);
    *ret = find_reaction(&answer, ask->holder.client_id, ret_result);
    notify_answer_free(&answer);
    return 0;
}

/* Until the owner reacts, or its time is up. */
static int notify_owner(struct owner_ask *ask, const struct header_notify *request, int64_t until,
                        int64_t deadline, enum reaction *ret, int *ret_result, struct error *err)
{
    cleanup_encoder struct encoder payload = {0};
    int r;

    notify_encode(&payload, request);
    do {
        r = notify_once(ask, &payload, deadline, ret, ret_result, err);
    } while (r == 0 && *ret == SILENT && deadline_left_ms(until) > NOTIFY_MS);
    return r;
}

/* Take what has come on the header: true with the result when it says that the work is done, or
 * nobody wants to wait for that any more. */
static bool hear(struct owner_ask *ask, const struct notify_id *id, int64_t *heard, int *ret_result)
{
    static const struct encoder nothing;
    struct watch_event *event;
    bool done = false;

    while ((event = watch_next(ask->watch))) {
        struct header_notify notify;
        int r = notify_decode(decoder_of(event->data, event->len), &notify);

        watch_answer(ask->watch, event, &nothing);
        free(event);
        if (r < 0)
            continue;
        if (notify.op == NOTIFY_ASYNC_PROGRESS && notify_same_id(&notify.id, id)) {
            *heard = clock_now();
            if (!done && ask->progress) {
                *ret_result = ask->progress(ask->progress_arg, notify.done, notify.total);
                done = *ret_result != 0;
            }
        }
        if (notify.op == NOTIFY_ASYNC_COMPLETE && notify_same_id(&notify.id, id)) {
            *ret_result = notify.result;
            done = true;
        }
    }
    return done;
}

static int unknown(const struct owner_ask *ask, const char *why, struct error *err)
{
    return error_set(err, -ETIMEDOUT,
                     "the owner of image %s (client %" PRIu64 ") %s: whether it did what it was "
                     "asked for is not known",
                     ask->id, ask->holder.client_id, why);
}

static int check_holder(struct owner_ask *ask, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(ask->cluster, ask->id, deadline, &header, err);

    if (r < 0)
        return r;
    if (header.lock.count == 0 || header.lock.holder.client_id != ask->holder.client_id)
        return unknown(ask, "is not its owner any more", err);
    return 0;
}

static int wait_done(struct owner_ask *ask, const struct notify_id *id, int64_t deadline,
                     struct error *err)
{
    int64_t heard = clock_now();
    int result;

    for (;;) {
        struct pollfd polls = {.fd = watch_fd(ask->watch), .events = POLLIN};
        int64_t next = deadline_earlier(deadline, deadline_in_ms(LOOK_MS));
        int r;

        poll(&polls, 1, deadline_left_ms(next));
        if (hear(ask, id, &heard, &result))
            return result < 0
                       ? error_errno(err, result,
                                     "the owner of image %s (client %" PRIu64 ") could not do it",
                                     ask->id, ask->holder.client_id)
                       : 0;
        if (deadline_left_ms(deadline) == 0)
            return unknown(ask, "did not end in time", err);
        if (clock_now() - heard > OWNER_SILENT_MS * NS_PER_MS)
            return unknown(ask, "says nothing any more", err);
        if (deadline_left_ms(next) > 0)
            continue;
        r = watch_check(ask->watch);
        r = r < 0 ? error_errno(err, r, "the watch of image %s broke", ask->id)
                  : check_holder(ask, deadline, err);
        if (r < 0)
            return r;
    }
}

static int refused(const struct owner_ask *ask, int r, struct error *err)
{
    if (r == -EOPNOTSUPP || r == -EROFS)
        return error_set(err, r,
                         "image %s is in use by client %" PRIu64 " at %s, which does not do this "
                         "for others",
                         ask->id, ask->holder.client_id, ask->holder.address);
    return error_errno(err, r, "the owner of image %s (client %" PRIu64 ") refuses", ask->id,
                       ask->holder.client_id);
}

int owner_ask_work(struct owner_ask *ask, const struct header_notify *request, int64_t deadline,
                   struct error *err)
{
    struct header_notify numbered = *request;
    enum reaction reaction;
    int result;
    int r;

    numbered.id = new_id(ask);
    r = notify_owner(ask, &numbered, deadline_earlier(deadline, deadline_in_ms(ASK_MS)), deadline,
                     &reaction, &result, err);
    if (r < 0)
        return r;
    if (reaction != ANSWERED)
        return OWNER_SAYS_NOTHING;
    return result < 0 ? refused(ask, result, err) : wait_done(ask, &numbered.id, deadline, err);
}

static int freeze_failed(const struct owner_ask *ask, int r, struct error *err)
{
    switch (r) {
    case -EBUSY:
        return error_set(err, r,
                         "its file system is frozen already, for another snapshot or by hand: try "
                         "again in a moment");
    case -ETIMEDOUT:
        return error_set(err, r,
                         "its file system did not write everything out in time: does the cluster "
                         "answer, and are there fewer writes at another hour?");
    case -EOPNOTSUPP:
    case -EROFS:
        return refused(ask, r, err);
    default:
        return error_errno(err, r, "client %" PRIu64 " could not freeze its file system",
                           ask->holder.client_id);
    }
}

int owner_ask_freeze(struct owner_ask *ask, int64_t deadline, struct error *err)
{
    const struct header_notify request = {.op = NOTIFY_QUIESCE, .id = new_id(ask)};
    enum reaction reaction;
    int result;
    int r;

    ask->freeze = request.id;
    ask->freeze_asked = clock_now();
    r = notify_owner(ask, &request, deadline, deadline, &reaction, &result, err);
    if (r < 0)
        return r;
    if (reaction == SILENT) /* it answers when all is written out */
        return freeze_failed(ask, -ETIMEDOUT, err);
    if (reaction != ANSWERED)
        return OWNER_SAYS_NOTHING;
    return result < 0 ? freeze_failed(ask, result, err) : 0;
}

int owner_ask_thaw(struct owner_ask *ask, int64_t deadline, struct error *err)
{
    const struct header_notify request = {.op = NOTIFY_UNQUIESCE, .id = ask->freeze};
    const int64_t trusted = ask->freeze_asked + LIBRBD_FREEZE_MS * NS_PER_MS;
    const int64_t now = clock_now();
    enum reaction reaction;
    int result;
    int r = notify_owner(ask, &request, deadline, deadline, &reaction, &result, err);

    if (r < 0)
        return r;
    if (reaction == ANSWERED && result == 0)
        return 0;
    if (reaction == HEARD && now < trusted)
        return 0;
    return error_set(err, -ETIMEDOUT,
                     reaction == ANSWERED || reaction == HEARD
                         ? "its file system did not stay frozen for as long as all snapshots took: "
                           "take fewer volumes at once, or try again when the cluster is less busy"
                         : "its host does not answer any more, so nobody can tell whether its file "
                           "system stayed frozen: try again when it does");
}
