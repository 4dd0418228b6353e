/* SPDX-License-Identifier: Apache-2.0 */
#include "image/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "image/names.h"
#include "rados/op.h"

/* A client that floods the header with notifies must not eat our memory: what is over these limits
 * gets no answer, and its sender runs into a timeout. */
#define EVENTS_MAX     256
#define EVENT_DATA_MAX 65536

struct queued {
    STAILQ_ENTRY(queued) link;
    struct watch_event *event;
};

/* librados may call back until the watch is flushed, so it holds the queue by a reference of its
 * own. */
struct watch {
    struct cluster *cluster;
    char object[OBJECT_NAME_MAX];
    unsigned timeout_s;
    uint64_t handle;
    bool watching;
    struct op *attempt; /* a watch that is under way */
    int fd;             /* eventfd */

    pthread_mutex_t lock; /* events, count */
    STAILQ_HEAD(event_list, queued) events;
    unsigned count;
    atomic_int error; /* negative errno once the watch broke */
};

void watch_wake(struct watch *watch)
{
    eventfd_write(watch->fd, 1);
}

/* Runs on a librados thread. */
static void on_notify(void *arg, uint64_t notify_id, uint64_t handle, uint64_t notifier_id,
                      void *data, size_t len)
{
    struct watch *watch = arg;
    struct queued *queued;
    struct watch_event *event;

    /* Our own announcements come back too; whoever made one is waiting for this answer. */
    if (notifier_id == cluster_client_id(watch->cluster)) {
        rados_notify_ack(cluster_io(watch->cluster), watch->object, notify_id, handle, NULL, 0);
        return;
    }
    if (len > EVENT_DATA_MAX)
        return;
    queued = malloc(sizeof(*queued));
    event = malloc(sizeof(*event) + len);
    if (!queued || !event) {
        free(queued);
        free(event);
        return;
    }
    *event = (struct watch_event){
        .notify_id = notify_id, .handle = handle, .sender = notifier_id, .len = len};
    if (len > 0)
        memcpy(event->data, data, len);
    queued->event = event;
    {
        WITH_LOCK(&watch->lock);
        if (watch->count < EVENTS_MAX) {
            STAILQ_INSERT_TAIL(&watch->events, queued, link);
            watch->count++;
            queued = NULL;
        }
    }
    if (queued) {
        free(event);
        free(queued);
    }
    watch_wake(watch);
}

/* Runs on a librados thread. */
static void on_error(void *arg, uint64_t handle, int error)
{
    struct watch *watch = arg;

    (void)handle;
    atomic_store(&watch->error, error < 0 ? error : -ENOTCONN);
    watch_wake(watch);
}

/* An attempt that takes too long is gone on with the next time. */
static int watch_start(struct watch *watch, int64_t deadline)
{
    int r = 0;

    if (!watch->attempt) {
        atomic_store(&watch->error, 0);
        r = op_watch_begin(cluster_io(watch->cluster), watch->object, &watch->handle, on_notify,
                           on_error, watch->timeout_s, watch, &watch->attempt);
    }
    if (r == 0)
        r = op_watch_wait(watch->attempt, deadline);
    if (r == -ETIMEDOUT)
        return r;
    op_free(watch->attempt);
    watch->attempt = NULL;
    watch->watching = r == 0;
    return r;
}

int watch_open(struct cluster *cluster, const char *object, unsigned timeout_s, int64_t deadline,
               struct watch **ret, struct error *err)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    int r;

    if (!watch)
        return error_set(err, -ENOMEM, "out of memory");
    watch->cluster = cluster;
    watch->timeout_s = timeout_s;
    snprintf(watch->object, sizeof(watch->object), "%s", object);
    pthread_mutex_init(&watch->lock, NULL);
    STAILQ_INIT(&watch->events);
    watch->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = watch->fd < 0 ? -errno : watch_start(watch, deadline);
    if (r < 0) {
        error_errno(err, r, "cannot watch %s in pool '%s'", object, cluster_pool(cluster));
        /* After a timeout librados may still write the handle and call back: the memory is left to
         * it; the process is about to end. */
        if (r != -ETIMEDOUT)
            watch_close(watch, deadline);
        return r;
    }
    *ret = watch;
    return 0;
}

int watch_reopen(struct watch *watch, int64_t deadline)
{
    if (watch->watching) {
        op_unwatch(cluster_io(watch->cluster), watch->handle, deadline);
        watch->watching = false;
    }
    return watch_start(watch, deadline);
}

uint64_t watch_handle(const struct watch *watch)
{
    return watch->handle;
}

int watch_fd(const struct watch *watch)
{
    return watch->fd;
}

struct watch_event *watch_next(struct watch *watch)
{
    struct watch_event *event = NULL;
    struct queued *queued;
    eventfd_t ignored;

    eventfd_read(watch->fd, &ignored);
    {
        WITH_LOCK(&watch->lock);
        queued = STAILQ_FIRST(&watch->events);
        if (queued) {
            STAILQ_REMOVE_HEAD(&watch->events, link);
            watch->count--;
        }
    }
    if (queued)
        event = queued->event;
    free(queued);
    return event;
}

int watch_check(struct watch *watch)
{
    int r = atomic_load(&watch->error);

    if (r < 0 || !watch->watching)
        return r < 0 ? r : -ENOTCONN;
    return rados_watch_check(cluster_io(watch->cluster), watch->handle);
}

void watch_answer(struct watch *watch, const struct watch_event *event,
                  const struct encoder *answer)
{
    rados_notify_ack(cluster_io(watch->cluster), watch->object, event->notify_id, event->handle,
                     (const char *)answer->data, (int)answer->len);
}

void watch_close(struct watch *watch, int64_t deadline)
{
    struct watch_event *event;

    if (!watch)
        return;
    /* When the cluster does not answer, a callback may still come: then leave it the memory. */
    if (watch->attempt && watch_start(watch, deadline) == -ETIMEDOUT)
        return;
    if (watch->watching) {
        if (op_unwatch(cluster_io(watch->cluster), watch->handle, deadline) == -ETIMEDOUT ||
            op_watch_flush(cluster_rados(watch->cluster), deadline) == -ETIMEDOUT)
            return;
    }
    while ((event = watch_next(watch)))
        free(event);
    close(watch->fd);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}
