/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/call.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

/* Threads of each kind. */
static const struct {
    const char *name;
    size_t limit;
} pools[CALLS_POOLS] = {
    [ENDPOINT_READS] = {"read", 64},
    [ENDPOINT_CHANGES] = {"change", 192},
    [ENDPOINT_OPERATES] = {"operate", 32},
};

#define GRACE_MS 2000 /* a handler ends by its deadline; this is for those that could not */
#define SCAN_MS  500

enum call_state { CALL_RUNNING, CALL_ANSWERED, CALL_LATE };

struct call {
    struct calls *calls;
    const struct endpoint *endpoint;
    struct json_request request; /* the worker's */
    int64_t deadline;
    int client_fd;
    void (*answered)(void *arg);
    void *arg;
    enum call_state state;
    struct reply reply; /* written by whoever leaves CALL_RUNNING, then the connection's */
    unsigned users;     /* the worker and the connection */
    TAILQ_ENTRY(call) next;
};

struct calls {
    void *service;
    struct workers *workers[CALLS_POOLS];
    pthread_t watchdog;
    pthread_mutex_t lock; /* each call's state, users and reply, and all below; a leaf */
    pthread_cond_t changed;
    TAILQ_HEAD(call_queue, call) running; /* CALL_RUNNING */
    unsigned count;                       /* calls not freed yet */
    bool ending;
};

static void call_put(struct call *call)
{
    struct calls *calls = call->calls;
    WITH_LOCK(&calls->lock);

    if (--call->users > 0)
        return;
    calls->count--;
    pthread_cond_broadcast(&calls->changed);
    reply_free(&call->reply);
    json_request_free(&call->request);
    free(call);
}

static const char *call_volume(const struct call *call)
{
    return call->request.name ? call->request.name : "";
}

/* Take the call out of CALL_RUNNING. Whether it still was there. Called with the lock held. */
static bool leave_running(struct call *call, enum call_state state)
{
    if (call->state != CALL_RUNNING)
        return false;
    call->state = state;
    TAILQ_REMOVE(&call->calls->running, call, next);
    return true;
}

/* A client that only closed its sending side (POLLRDHUP) may still read the answer: on a Unix
 * socket a hang-up is both sides closed. */
static bool client_is_gone(struct call *call)
{
    struct pollfd poller = {.fd = call->client_fd};
    WITH_LOCK(&call->calls->lock);

    if (call->state != CALL_RUNNING)
        return true; /* the connection, and its descriptor, may be gone too */
    return poll(&poller, 1, 0) > 0 && (poller.revents & (POLLHUP | POLLERR | POLLNVAL));
}

static void finish(struct call *call, struct reply *reply)
{
    bool ours;

    pthread_mutex_lock(&call->calls->lock);
    ours = leave_running(call, CALL_ANSWERED);
    if (ours) {
        call->reply = *reply;
        *reply = (struct reply){0};
    }
    pthread_mutex_unlock(&call->calls->lock);
    if (ours) {
        call->answered(call->arg);
    } else {
        reply_undo(reply);
        reply_free(reply);
    }
}

static bool is_running(struct call *call)
{
    WITH_LOCK(&call->calls->lock);

    return call->state == CALL_RUNNING;
}

static void run(void *arg)
{
    struct call *call = arg;
    struct reply reply = {0};
    LOG_VOLUME(call_volume(call));

    /* It may have waited for a thread until it was too late. */
    if (is_running(call)) {
        call->endpoint->handle(call->calls->service, &call->request, call->deadline, &reply);
        if (reply.undo && client_is_gone(call)) {
            log_warning("%s of volume '%s': the client hung up; undone", call->endpoint->path + 1,
                        call_volume(call));
            reply_undo(&reply);
            reply_drop(&reply);
        }
        finish(call, &reply);
    }
    call_put(call);
}

/* Called with the lock held. NULL when none is late. */
static struct call *first_late(struct calls *calls, int64_t now)
{
    struct call *call = NULL;

    TAILQ_FOREACH(call, &calls->running, next)
    {
        if (call->deadline + GRACE_MS * NS_PER_MS < now)
            return call;
    }
    return NULL;
}

/* Answer for handlers that are over their time. */
static void answer_late(struct calls *calls)
{
    int64_t now = clock_now();
    struct call *call = NULL;

    for (;;) {
        struct reply reply = {0};
        struct error err;

        pthread_mutex_lock(&calls->lock);
        call = first_late(calls, now);
        if (call) {
            error_set(&err, -ETIMEDOUT,
                      "volume '%s': no end in time: %s; is the cluster reachable (\"ceph -s\")?",
                      call_volume(call), call->endpoint->late);
            endpoint_fail(call->endpoint, err.text, &reply);
            leave_running(call, CALL_LATE);
            call->reply = reply;
            call->users++;
        }
        pthread_mutex_unlock(&calls->lock);
        if (!call)
            return;
        LOG_VOLUME(call_volume(call));
        log_error("%s: %s", call->endpoint->path + 1, err.text);
        call->answered(call->arg);
        call_put(call);
    }
}

static void *watchdog_main(void *arg)
{
    struct calls *calls = arg;

    pthread_setname_np(pthread_self(), "watchdog");
    for (;;) {
        struct timespec until = deadline_timespec(deadline_in_ms(SCAN_MS));
        bool ending;

        pthread_mutex_lock(&calls->lock);
        while (TAILQ_EMPTY(&calls->running) && !calls->ending)
            pthread_cond_wait(&calls->changed, &calls->lock);
        if (!calls->ending)
            pthread_cond_timedwait(&calls->changed, &calls->lock, &until);
        ending = calls->ending && calls->count == 0;
        pthread_mutex_unlock(&calls->lock);
        if (ending)
            return NULL;
        answer_late(calls);
    }
}

static void free_workers(struct calls *calls)
{
    for (size_t i = 0; i < CALLS_POOLS; i++)
        workers_free(calls->workers[i]);
}

static bool make_workers(struct calls *calls)
{
    for (size_t i = 0; i < CALLS_POOLS; i++) {
        calls->workers[i] = workers_new(pools[i].name, pools[i].limit);
        if (!calls->workers[i])
            return false;
    }
    return true;
}

struct calls *calls_new(void *service)
{
    struct calls *calls = calloc(1, sizeof(*calls));

    if (!calls)
        return NULL;
    calls->service = service;
    TAILQ_INIT(&calls->running);
    pthread_mutex_init(&calls->lock, NULL);
    clock_init_cond(&calls->changed);
    if (!make_workers(calls) || pthread_create(&calls->watchdog, NULL, watchdog_main, calls) != 0) {
        free_workers(calls);
        free(calls);
        return NULL;
    }
    return calls;
}

struct call *calls_start(struct calls *calls, const struct endpoint *endpoint,
                         struct json_request *request, int client_fd, void (*answered)(void *arg),
                         void *arg)
{
    struct call *call = calloc(1, sizeof(*call));
    struct reply reply = {0};

    if (!call)
        return NULL;
    *call = (struct call){
        .calls = calls,
        .endpoint = endpoint,
        .request = *request,
        .deadline = deadline_in_ms(endpoint->limit_ms),
        .client_fd = client_fd,
        .answered = answered,
        .arg = arg,
        .users = 2,
    };
    *request = (struct json_request){0};
    pthread_mutex_lock(&calls->lock);
    TAILQ_INSERT_TAIL(&calls->running, call, next);
    calls->count++;
    pthread_cond_broadcast(&calls->changed);
    pthread_mutex_unlock(&calls->lock);
    if (workers_run(calls->workers[endpoint->kind], run, call) < 0) {
        endpoint_fail(endpoint, "no thread can be started to do this; is the host out of memory?",
                      &reply);
        finish(call, &reply);
        call_put(call);
    }
    return call;
}

struct reply *call_reply(struct call *call)
{
    return &call->reply;
}

static void undo_and_put(void *arg)
{
    struct call *call = arg;
    LOG_VOLUME(call_volume(call));

    reply_undo(&call->reply);
    call_put(call);
}

void call_end(struct call *call, bool reached)
{
    if (!reached && call->reply.undo) {
        LOG_VOLUME(call_volume(call));
        log_warning("%s of volume '%s': the answer did not reach the client; undoing it",
                    call->endpoint->path + 1, call_volume(call));
        if (workers_run(call->calls->workers[ENDPOINT_CHANGES], undo_and_put, call) == 0)
            return;
        log_error("%s of volume '%s' could not be undone: out of memory", call->endpoint->path + 1,
                  call_volume(call));
    }
    call_put(call);
}

void calls_look(struct calls *calls, struct workers_view ret[CALLS_POOLS])
{
    for (size_t i = 0; i < CALLS_POOLS; i++)
        workers_look(calls->workers[i], &ret[i]);
}

bool calls_free(struct calls *calls, int64_t deadline)
{
    struct timespec until = deadline_timespec(deadline);
    bool idle;

    pthread_mutex_lock(&calls->lock);
    while (calls->count > 0) {
        if (pthread_cond_timedwait(&calls->changed, &calls->lock, &until) == ETIMEDOUT)
            break;
    }
    idle = calls->count == 0;
    calls->ending = true;
    pthread_cond_broadcast(&calls->changed);
    pthread_mutex_unlock(&calls->lock);
    if (!idle)
        return false;
    pthread_join(calls->watchdog, NULL);
    free_workers(calls);
    pthread_cond_destroy(&calls->changed);
    pthread_mutex_destroy(&calls->lock);
    free(calls);
    return true;
}
