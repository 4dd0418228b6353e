/* SPDX-License-Identifier: Apache-2.0 */
#include "image/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "image/names.h"
#include "image/ownership.h"
#include "image/takeover.h"
#include "image/watch.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* Deadlines: a read of the header on behalf of others; one attempt to watch again; the end of the
 * watch, which the cluster forgets by itself when it is away. */
#define SERVE_MS   10000
#define REWATCH_MS 2000
#define CLOSE_MS   10000

/* Between two looks at a silent holder of the lock; each takes a second by itself. */
#define SILENT_PAUSE_MS 200

/* For a watcher to answer; the cluster counts in whole seconds. */
#define LIST_MS 1000

struct reader {
    struct cluster *cluster;
    char id[IMAGE_ID_MAX];
    char object[OBJECT_NAME_MAX];
    char words[NOTIFY_WORDS_MAX]; /* who we are */
    struct watch *watch;
    enum reader_state state;
    int64_t confirmed;
    struct image_io *io;
    uint64_t locker; /* client id of who may write; 0: nobody */
    void (*locked)(void *arg, const struct lock_info *lock);
    void *locked_arg;
};

static struct reader *reader_new(struct cluster *cluster, const char *id, const char *host)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    size_t len;

    if (!reader)
        return NULL;
    reader->cluster = cluster;
    reader->confirmed = clock_now();
    snprintf(reader->id, sizeof(reader->id), "%s", id);
    name_header(reader->object, id);
    ownership_make_description(reader->words, sizeof(reader->words), host);
    len = strlen(reader->words);
    snprintf(reader->words + len, sizeof(reader->words) - len, " address=%s",
             cluster_address(cluster));
    return reader;
}

/* Nobody holds the lock, or it does not matter to one who resumes. */
static int wait_for_no_writer(const struct reader *reader, const char *host, bool resumes,
                              int64_t deadline, struct error *err)
{
    const struct timespec pause = {.tv_nsec = SILENT_PAUSE_MS * NS_PER_MS};
    enum holder_life life = HOLDER_DEAD;
    struct lock_info lock = {0};

    do {
        int r =
            takeover_displace(reader->cluster, reader->id, host, "", deadline, &lock, &life, err);

        if (r == 0 && lock.count == 0)
            return 0;
        if (resumes && (life == HOLDER_SILENT || (r == -EBUSY && life == HOLDER_ALIVE)))
            return 0;
        if (resumes && r == -EBUSY)
            return error_set(err, -EAGAIN, "it is locked, perhaps for its removal");
        if (r < 0)
            return r;
        if (life == HOLDER_SILENT)
            nanosleep(&pause, NULL);
    } while (deadline_left_ms(deadline) > 0);
    return takeover_refuse(&lock, life, err);
}

int reader_open(struct cluster *cluster, const char *id, const char *host, bool resumes,
                unsigned watch_timeout_s, int64_t deadline, struct image_header *ret_header,
                struct reader **ret, struct error *err)
{
    struct reader *reader = reader_new(cluster, id, host);
    struct image_header header = {0};
    int r;

    if (!reader)
        return error_set(err, -ENOMEM, "out of memory");
    r = watch_open(cluster, reader->object, watch_timeout_s, deadline, &reader->watch, err);
    if (r == 0)
        r = wait_for_no_writer(reader, host, resumes, deadline, err);
    if (r == 0)
        r = image_read_header(cluster, id, deadline, &header, err);
    if (r == 0)
        r = image_check_readable(&header, err);
    if (r < 0) {
        image_header_free(&header);
        reader_close(reader);
        return cluster_explain(cluster, r, err);
    }
    *ret_header = header;
    *ret = reader;
    return 0;
}

void reader_attach_io(struct reader *reader, struct image_io *io)
{
    reader->io = io;
}

void reader_on_lock(struct reader *reader, void (*locked)(void *arg, const struct lock_info *lock),
                    void *arg)
{
    reader->locked = locked;
    reader->locked_arg = arg;
}

int reader_fd(const struct reader *reader)
{
    return watch_fd(reader->watch);
}

enum reader_state reader_state(const struct reader *reader)
{
    return reader->state;
}

int64_t reader_confirmed(const struct reader *reader)
{
    return reader->confirmed;
}

static void stop(struct reader *reader, enum reader_state state)
{
    log_debug("%s: %s", reader->object, state == READER_GONE ? "gone" : "blocklisted");
    reader->state = state;
    if (reader->io)
        image_io_fence(reader->io);
}

/* Programs of ours know that the image is not to be written; and one that removes it, whose lock
 * has another tag, is refused for our sake. */
static bool may_write(const struct lock_info *lock)
{
    return lock->count > 0 && strcmp(lock->tag, RBD_LOCK_TAG) == 0 &&
           strncmp(lock->holder.description, OWNERSHIP_DESCRIPTION,
                   strlen(OWNERSHIP_DESCRIPTION)) != 0;
}

static void notice_lock(struct reader *reader, const struct lock_info *lock)
{
    uint64_t locker = may_write(lock) ? lock->holder.client_id : 0;

    if (locker != 0 && locker != reader->locker && reader->locked)
        reader->locked(reader->locked_arg, lock);
    reader->locker = locker;
}

static void refresh(struct reader *reader)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(reader->cluster, reader->id, deadline_in_ms(SERVE_MS), &header, NULL);

    if (r == -ESHUTDOWN)
        stop(reader, READER_CUT_OFF);
    if (r < 0)
        return;
    notice_lock(reader, &header.lock);
    if (reader->io)
        image_io_refresh(reader->io, &header, NULL);
}

/* An owner's work is none of ours, and an empty answer says so to those who look for one. Takes
 * EVENT over. */
static void serve_notify(struct reader *reader, struct watch_event *event)
{
    cleanup_encoder struct encoder answer = {0};
    struct header_notify notify;

    if (notify_decode(decoder_of(event->data, event->len), &notify) == 0) {
        log_debug("%s: notify %u from client %" PRIu64, reader->object, notify.op, event->sender);
        if (notify.op == NOTIFY_HEADER_UPDATE || notify.op == NOTIFY_ACQUIRED_LOCK ||
            notify.op == NOTIFY_RELEASED_LOCK)
            refresh(reader);
        if (notify.op == NOTIFY_HEADER_UPDATE)
            notify_encode_words(&answer, reader->words);
    }
    watch_answer(reader->watch, event, &answer);
    free(event);
}

static void rewatch(struct reader *reader)
{
    int r;

    reader->state = READER_UNWATCHED;
    r = watch_reopen(reader->watch, deadline_in_ms(REWATCH_MS));
    if (r == -ESHUTDOWN)
        stop(reader, READER_CUT_OFF);
    else if (r == -ENOENT)
        stop(reader, READER_GONE);
    if (r < 0)
        return;
    reader->state = READER_WATCHING;
    reader->confirmed = clock_now();
    refresh(reader); /* notifies were missed meanwhile */
}

void reader_run(struct reader *reader)
{
    struct watch_event *event;
    int r;

    while ((event = watch_next(reader->watch)))
        serve_notify(reader, event);
    if (reader->state == READER_GONE || reader->state == READER_CUT_OFF)
        return;
    if (reader->io && image_io_is_fenced(reader->io)) { /* I/O was the first to hear of it */
        reader->state = READER_CUT_OFF;
        return;
    }
    r = watch_check(reader->watch);
    if (r >= 0)
        reader->confirmed = clock_now() - r * NS_PER_MS;
    if (r == -ESHUTDOWN)
        stop(reader, READER_CUT_OFF);
    else if (r < 0 || reader->state == READER_UNWATCHED)
        rewatch(reader);
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    watch_close(reader->watch, deadline_in_ms(CLOSE_MS));
    free(reader);
}

void image_readers_free(struct image_readers *readers)
{
    free(readers->items);
    *readers = (struct image_readers){0};
}

static void describe(const struct notify_peer *peer, bool answers, struct image_reader *ret)
{
    *ret = (struct image_reader){.client_id = peer->client_id, .answers = answers};
    ownership_description_get(peer->words, "host", ret->host, sizeof(ret->host));
    ownership_description_get(peer->words, "since", ret->since, sizeof(ret->since));
    ownership_description_get(peer->words, "address", ret->address, sizeof(ret->address));
}

static int take_answer(const struct notify_answer *answer, struct image_readers *ret)
{
    size_t count = answer->ack_count + answer->timeout_count;
    struct image_reader *items = calloc(count ? count : 1, sizeof(*items));

    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < answer->ack_count; i++)
        describe(&answer->acks[i], true, &items[i]);
    for (size_t i = 0; i < answer->timeout_count; i++)
        describe(&answer->timeouts[i], false, &items[answer->ack_count + i]);
    *ret = (struct image_readers){.items = items, .count = count};
    return 0;
}

int image_readers_list(struct cluster *cluster, const char *id, int64_t deadline,
                       struct image_readers *ret, struct error *err)
{
    cleanup_encoder struct encoder payload = {0};
    cleanup_encoder struct encoder bytes = {0};
    struct notify_answer answer = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    name_header(object, id);
    notify_encode_header_update(&payload);
    r = op_notify(cluster_io(cluster), object, &payload, LIST_MS, &bytes, deadline);
    if (bytes.len > 0)
        r = notify_decode_answer(decoder_of(bytes.data, bytes.len), &answer);
    if (r == 0)
        r = take_answer(&answer, ret);
    notify_answer_free(&answer);
    return r < 0 ? cluster_explain(cluster,
                                   error_errno(err, r, "cannot find out who has image %s open", id),
                                   err)
                 : 0;
}
