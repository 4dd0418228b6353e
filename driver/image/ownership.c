/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ownership.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "image/names.h"
#include "image/owner_server.h"
#include "image/takeover.h"
#include "image/watch.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* How the lock is taken: watch first, because the lock's cookie names the watch and others judge by
 * it whether the owner lives; then lock; then read the header again, because it may have changed
 * until then. See ownership.h for the states. */

/* Deadline of each cluster operation that serves others or keeps the watch. */
#define SERVE_MS 10000

/* One attempt to watch again. Short, because who asks for the volume's status waits meanwhile; the
 * next attempt follows soon. */
#define REWATCH_MS 2000

/* Giving up ownership when the cluster is away: whoever comes next breaks the lock. */
#define RELEASE_MS 10000

/* Between two looks at a holder that is silent; each look takes a second by itself. Attempts are
 * bounded by the deadline; the number only makes sure that a fault cannot spin. */
#define SILENT_PAUSE_MS 200
#define ATTEMPTS_MAX    1000

/* Cut off from the cluster for so long, a client may have been fenced without ever hearing of it.
 */
#define LOST_S (FENCE_LIFE_S / 2)

struct ownership {
    struct cluster *cluster;
    char id[IMAGE_ID_MAX];
    char object[OBJECT_NAME_MAX];
    char cookie[LOCK_COOKIE_MAX];
    unsigned watch_timeout_s;
    enum ownership_state state;
    int64_t watched;   /* when the watch was last known to be alive */
    int64_t confirmed; /* when the cluster last said so */
    struct watch *watch;
    uint64_t size;

    struct owner_server *server;
    struct image_io *io;
    void (*resized)(void *arg, uint64_t size);
    void *resized_arg;
};

static void make_cookie(char cookie[LOCK_COOKIE_MAX], uint64_t handle)
{
    snprintf(cookie, LOCK_COOKIE_MAX, "auto %" PRIu64, handle);
}

void ownership_make_description(char *text, size_t size, const char *host)
{
    char since[32];
    time_t now = time(NULL);
    struct tm tm;

    strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    snprintf(text, size, OWNERSHIP_DESCRIPTION " host=%s since=%s", host, since);
}

static void make_description(char *text, size_t size, const char *host, const char *token)
{
    size_t len;

    ownership_make_description(text, size, host);
    len = strlen(text);
    snprintf(text + len, size - len, TAKEOVER_TOKEN "%s", token);
}

void ownership_description_get(const char *description, const char *key, char *value, size_t size)
{
    char pattern[32];
    const char *at;
    size_t len;

    value[0] = '\0';
    if (strncmp(description, OWNERSHIP_DESCRIPTION " ", strlen(OWNERSHIP_DESCRIPTION " ")) != 0)
        return;
    snprintf(pattern, sizeof(pattern), " %s=", key);
    at = strstr(description, pattern);
    if (!at)
        return;
    at += strlen(pattern);
    len = strcspn(at, " ");
    if (len < size) {
        memcpy(value, at, len);
        value[len] = '\0';
    }
}

void ownership_parse_description(const char *description, char *host, size_t host_size, char *since,
                                 size_t since_size)
{
    ownership_description_get(description, "host", host, host_size);
    ownership_description_get(description, "since", since, since_size);
}

void ownership_describe(const struct lock_info *lock, char *text, size_t size)
{
    const char *words = lock->holder.description;
    const char *token = strstr(words, TAKEOVER_TOKEN);
    char host[256];
    char since[64];

    ownership_parse_description(lock->holder.description, host, sizeof(host), since, sizeof(since));
    if (host[0] && since[0])
        snprintf(text, size, "%s since %s (client %" PRIu64 " at %s)", host, since,
                 lock->holder.client_id, lock->holder.address);
    else
        snprintf(text, size, "client %" PRIu64 " at %s%s%.*s", lock->holder.client_id,
                 lock->holder.address, words[0] ? ": " : "",
                 (int)(token ? token - words : (ptrdiff_t)strlen(words)), words);
}

static int try_lock(struct ownership *o, const char *description, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder lock = {0};
    int r;

    if (!op)
        return -ENOMEM;
    lock_encode_lock(&lock, RBD_LOCK_NAME, LOCK_EXCLUSIVE, o->cookie, RBD_LOCK_TAG, description, 0);
    op_assert_exists(op); /* locking must not bring a removed header back */
    op_exec(op, "lock", "lock", &lock);
    r = op_run(op, cluster_io(o->cluster), o->object, deadline);
    return r == -EEXIST ? 0 : r; /* ours already */
}

/* The deadline has cut the last look off: the one before it says why nothing came of it. No -EBUSY,
 * for nobody was found to be alive. */
static int refuse_silent(const struct lock_info *lock, struct error *err)
{
    struct error words;

    takeover_refuse(lock, HOLDER_SILENT, &words);
    return error_set(err, -ETIMEDOUT, "%s", words.text);
}

static int acquire_lock(struct ownership *o, const char *host, const char *token, int64_t deadline,
                        struct error *err)
{
    const struct timespec pause = {.tv_nsec = SILENT_PAUSE_MS * NS_PER_MS};
    char description[LOCK_DESC_MAX];
    enum holder_life life = HOLDER_DEAD;
    enum holder_life seen = HOLDER_DEAD;
    struct lock_info lock = {0};
    int r;

    make_description(description, sizeof(description), host, token);
    for (unsigned attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        r = try_lock(o, description, deadline);
        if (r == 0)
            return 0;
        if (r == -EBUSY && deadline_left_ms(deadline) == 0)
            break;
        if (r == -EBUSY)
            r = takeover_displace(o->cluster, o->id, host, token, deadline, &lock, &seen, err);
        else
            error_errno(err, r, "cannot lock %s", o->object);
        if (r == -ETIMEDOUT && life == HOLDER_SILENT)
            return refuse_silent(&lock, err);
        if (r < 0)
            return r;
        life = seen;
        if (life == HOLDER_SILENT)
            nanosleep(&pause, NULL);
    }
    return takeover_refuse(&lock, life, err);
}

static int release_lock(struct ownership *o, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder unlock = {0};

    if (!op)
        return -ENOMEM;
    lock_encode_unlock(&unlock, RBD_LOCK_NAME, o->cookie);
    op_assert_exists(op);
    op_exec(op, "lock", "unlock", &unlock);
    return op_run(op, cluster_io(o->cluster), o->object, deadline);
}

static void announce(struct ownership *o, enum notify_op what, int64_t deadline)
{
    cleanup_encoder struct encoder payload = {0};

    notify_encode_client(&payload, what, cluster_client_id(o->cluster), watch_handle(o->watch));
    /* For those who wait for the lock; nothing depends on who hears it. */
    op_notify(cluster_io(o->cluster), o->object, &payload, 1000, NULL, deadline);
}

/* We are going to write objects without keeping the object map: say so in the way stock tools
 * understand (`rbd object-map rebuild` makes it whole again), before the first write. */
static int invalidate_object_map(struct ownership *o, struct image_header *header, int64_t deadline,
                                 struct error *err)
{
    cleanup_encoder struct encoder in = {0};
    uint64_t flags = 0;
    int r;

    if (header->features & RBD_FEATURE_OBJECT_MAP)
        flags |= RBD_FLAG_OBJECT_MAP_INVALID;
    if (header->features & RBD_FEATURE_FAST_DIFF)
        flags |= RBD_FLAG_FAST_DIFF_INVALID;
    if ((header->flags & flags) == flags)
        return 0;
    rbd_encode_set_flags(&in, flags, flags, RBD_HEAD);
    r = op_call_write(cluster_io(o->cluster), o->object, "rbd", "set_flags", &in, deadline);
    if (r < 0)
        return error_errno(err, r, "cannot mark the object map of %s invalid", o->object);
    header->flags |= flags;
    return 0;
}

static struct ownership *ownership_new(struct cluster *cluster, const char *id,
                                       unsigned watch_timeout_s)
{
    struct ownership *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    o->cluster = cluster;
    o->watch_timeout_s = watch_timeout_s;
    o->state = OWNERSHIP_OWNED;
    o->watched = o->confirmed = clock_now();
    snprintf(o->id, sizeof(o->id), "%s", id);
    name_header(o->object, id);
    return o;
}

int ownership_acquire(struct cluster *cluster, const char *id, const char *host, const char *token,
                      unsigned watch_timeout_s, int64_t deadline, struct image_header *ret_header,
                      struct ownership **ret, struct error *err)
{
    struct ownership *o = ownership_new(cluster, id, watch_timeout_s);
    struct image_header header = {0};
    int r;

    if (!o)
        return error_set(err, -ENOMEM, "out of memory");
    r = watch_open(cluster, o->object, watch_timeout_s, deadline, &o->watch, err);
    if (r < 0) {
        free(o);
        return cluster_explain(cluster, r, err);
    }
    make_cookie(o->cookie, watch_handle(o->watch));
    r = cluster_explain(cluster, acquire_lock(o, host, token, deadline, err), err);
    if (r < 0) {
        watch_close(o->watch, deadline_in_ms(RELEASE_MS));
        free(o);
        return r;
    }
    r = owner_server_open(cluster, id, o->watch, &o->server);
    if (r < 0)
        error_set(err, r, "out of memory");
    else
        owner_server_use_cookie(o->server, o->cookie);
    if (r == 0)
        r = image_read_header(cluster, id, deadline, &header, err);
    if (r == 0)
        r = image_check_writable(&header, err);
    if (r == 0)
        r = invalidate_object_map(o, &header, deadline, err);
    if (r < 0) {
        image_header_free(&header);
        ownership_release(o);
        return r;
    }
    o->size = header.size;
    announce(o, NOTIFY_ACQUIRED_LOCK, deadline);
    *ret_header = header;
    *ret = o;
    return 0;
}

void ownership_attach_io(struct ownership *o, struct image_io *io)
{
    o->io = io;
    owner_server_attach_io(o->server, io);
}

void ownership_set_hooks(struct ownership *o, const struct ownership_hooks *hooks)
{
    owner_server_set_hooks(o->server, hooks);
}

void ownership_on_resize(struct ownership *o, void (*resized)(void *arg, uint64_t size), void *arg)
{
    o->resized = resized;
    o->resized_arg = arg;
}

int ownership_fd(const struct ownership *o)
{
    return watch_fd(o->watch);
}

const char *ownership_cookie(const struct ownership *o)
{
    return o->cookie;
}

enum ownership_state ownership_state(const struct ownership *o)
{
    return o->state;
}

int64_t ownership_confirmed(const struct ownership *o)
{
    return o->confirmed;
}

static void use_cookie(struct ownership *o, const char *cookie)
{
    snprintf(o->cookie, sizeof(o->cookie), "%s", cookie);
    owner_server_use_cookie(o->server, o->cookie);
}

static void fence(struct ownership *o, const char *why)
{
    log_debug("%s: fenced: %s", o->object, why);
    o->state = OWNERSHIP_FENCED;
    if (o->io)
        image_io_fence(o->io);
}

/* Read the header again: follow its size and snapshots, and notice a lock that is not ours any
 * more. A lock with our client's id is ours; its cookie may be another one than we know, after a
 * change that the cluster made without telling us in time. */
static int refresh(struct ownership *o)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(o->cluster, o->id, deadline_in_ms(SERVE_MS), &header, NULL);

    if (r == -ESHUTDOWN)
        fence(o, "blocklisted, says the read of the header");
    if (r < 0)
        return r;
    if (header.lock.count != 1 || header.lock.holder.client_id != cluster_client_id(o->cluster)) {
        fence(o, "the lock is not ours any more");
        return -ESHUTDOWN;
    }
    use_cookie(o, header.lock.holder.cookie);
    if (o->io) {
        r = image_io_refresh(o->io, &header, NULL);
        if (r < 0)
            return r;
    }
    if (header.size != o->size) {
        o->size = header.size;
        if (o->resized)
            o->resized(o->resized_arg, header.size);
    }
    return 0;
}

/* What to answer; true: nothing yet, EVENT is kept. */
static bool take_request(struct ownership *o, const struct header_notify *notify,
                         struct watch_event *event, struct encoder *answer)
{
    if (notify->op == NOTIFY_REQUEST_LOCK || !o->io || o->state != OWNERSHIP_OWNED)
        notify_encode_result(answer, -EROFS); /* a mounted volume keeps its owner */
    else if (owner_server_serves(notify->op))
        return owner_server_take(o->server, notify, event, answer);
    else
        notify_encode_result(answer, -EOPNOTSUPP);
    return false;
}

/* Takes EVENT over. */
static void serve_notify(struct ownership *o, struct watch_event *event)
{
    cleanup_encoder struct encoder answer = {0};
    struct header_notify notify;
    int r = notify_decode(decoder_of(event->data, event->len), &notify);

    if (r == 0) {
        log_debug("%s: notify %u from client %" PRIu64, o->object, notify.op, event->sender);
        if (notify.op == NOTIFY_HEADER_UPDATE || notify.op == NOTIFY_ACQUIRED_LOCK)
            refresh(o);
        if (notify_wants_result(notify.op) && take_request(o, &notify, event, &answer))
            return;
    }
    watch_answer(o->watch, event, &answer);
    free(event);
}

/* The watch broke: a short network fault, or the cluster has cut us off. The lock is still ours
 * unless somebody took it; the new watch gets a new handle, which the cookie must name. */
static void rewatch(struct ownership *o)
{
    cleanup_encoder struct encoder in = {0};
    char cookie[LOCK_COOKIE_MAX];
    int r;

    o->state = OWNERSHIP_UNWATCHED;
    r = watch_reopen(o->watch, deadline_in_ms(REWATCH_MS));
    if (r == -ESHUTDOWN)
        fence(o, "blocklisted, says the watch");
    if (r < 0)
        return;
    make_cookie(cookie, watch_handle(o->watch));
    lock_encode_set_cookie(&in, RBD_LOCK_NAME, LOCK_EXCLUSIVE, o->cookie, RBD_LOCK_TAG, cookie);
    r = op_call_write(cluster_io(o->cluster), o->object, "lock", "set_cookie", &in,
                      deadline_in_ms(SERVE_MS));
    if (r == -ESHUTDOWN)
        fence(o, "blocklisted, says the change of the lock");
    if (r == -ENOENT || r == -EBUSY || r == -EEXIST)
        refresh(o); /* somebody broke our lock; or it has a cookie that we did not hear of */
    if (r < 0)
        return;
    use_cookie(o, cookie);
    o->state = OWNERSHIP_OWNED;
    o->confirmed = clock_now();
    refresh(o); /* notifies were missed meanwhile */
}

void ownership_run(struct ownership *o)
{
    struct watch_event *event;
    int r;

    while ((event = watch_next(o->watch)))
        serve_notify(o, event);
    if (owner_server_run(o->server)) {
        refresh(o);
        owner_server_followed(o->server);
    }
    if (o->state == OWNERSHIP_FENCED || o->state == OWNERSHIP_LOST)
        return;
    if (o->io && image_io_is_fenced(o->io)) { /* I/O was the first to hear of it */
        o->state = OWNERSHIP_FENCED;
        return;
    }
    r = watch_check(o->watch);
    if (r >= 0)
        o->confirmed = clock_now() - r * NS_PER_MS;
    if (r == -ESHUTDOWN)
        fence(o, "blocklisted, says the check of the watch");
    else if (r < 0 || o->state == OWNERSHIP_UNWATCHED)
        rewatch(o);
    if (o->state == OWNERSHIP_OWNED)
        o->watched = clock_now();
    else if (o->state == OWNERSHIP_UNWATCHED && clock_now() - o->watched > LOST_S * NS_PER_S)
        o->state = OWNERSHIP_LOST;
}

void ownership_release(struct ownership *o)
{
    int64_t deadline;

    if (!o)
        return;
    owner_server_close(o->server);
    deadline = deadline_in_ms(RELEASE_MS);
    if (o->state == OWNERSHIP_FENCED || o->state == OWNERSHIP_LOST)
        deadline = deadline_in_ms(REWATCH_MS); /* there is nothing left to give back */
    else if (release_lock(o, deadline) == 0)
        announce(o, NOTIFY_RELEASED_LOCK, deadline);
    watch_close(o->watch, deadline);
    free(o);
}
