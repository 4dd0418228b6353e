/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_server.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "image/flatten_steps.h"
#include "image/names.h"
#include "image/owner_flatten.h"
#include "image/owner_jobs.h"
#include "image/owner_service.h"
#include "rados/op.h"

/* Times. */
#define FOLLOW_MS 5000  /* the main loop, to follow the header */
#define TELL_MS   5000  /* others, to hear of it */
#define READ_MS   10000 /* a header */

/* How often who waits for a flatten hears how far it is. */
#define PROGRESS_MS 2000

struct owner_server {
    struct owner_service service; /* frozen or not is the thread's business */
    char id[IMAGE_ID_MAX];
    char object[OBJECT_NAME_MAX];
    struct watch *watch;

    pthread_mutex_t lock; /* from here to "jobs" */
    pthread_cond_t changed;
    bool started; /* the thread */
    bool closing;
    bool follow; /* the main loop is to read the header again */
    char cookie[LOCK_COOKIE_MAX];
    struct owner_jobs jobs;

    pthread_t thread;
    struct owner_flatten *flatten; /* the thread's, until it has ended: who puts jobs off */
    int64_t progress_told;         /* the copying thread's */
};

/* The thread's work. */

static int work(struct owner_server *server, const struct owner_job *job, struct error *err)
{
    char cookie[LOCK_COOKIE_MAX];

    if (job->result < 0)
        return error_errno(err, job->result, "cannot copy all objects");
    {
        WITH_LOCK(&server->lock);
        memcpy(cookie, server->cookie, sizeof(cookie));
    }
    return owner_service_do(&server->service, &job->request, cookie, err);
}

static int tell(struct owner_server *server, const struct header_notify *notify, int64_t deadline)
{
    cleanup_encoder struct encoder payload = {0};

    notify_encode(&payload, notify);
    return op_notify(cluster_io(server->service.cluster), server->object, &payload, TELL_MS, NULL,
                     deadline);
}

static int tell_result(struct owner_server *server, const struct owner_job *job, int64_t deadline)
{
    const struct header_notify complete = {
        .op = NOTIFY_ASYNC_COMPLETE, .id = job->request.id, .result = job->result};

    return tell(server, &complete, deadline);
}

/* The header has changed: our own main loop follows it first, then all others do. */
static void announce(struct owner_server *server)
{
    const struct header_notify update = {.op = NOTIFY_HEADER_UPDATE};
    const struct timespec until = deadline_timespec(deadline_in_ms(FOLLOW_MS));

    {
        WITH_LOCK(&server->lock);
        server->follow = true;
        watch_wake(server->watch);
        while (server->follow && !server->closing &&
               pthread_cond_timedwait(&server->changed, &server->lock, &until) != ETIMEDOUT)
            ;
    }
    tell(server, &update, deadline_in_ms(2 * TELL_MS));
}

static bool changes_header(uint32_t op)
{
    return op == NOTIFY_SNAP_CREATE || op == NOTIFY_SNAP_REMOVE || op == NOTIFY_RESIZE ||
           op == NOTIFY_FLATTEN;
}

/* The copying of a flatten: its thread's two hooks. */

static int look_while_copying(void *arg, uint64_t done, uint64_t total)
{
    struct owner_server *server = arg;
    struct notify_id ids[OWNER_JOBS_MAX];
    unsigned count;

    {
        WITH_LOCK(&server->lock);
        if (server->closing)
            return -ESHUTDOWN;
        if (clock_now() - server->progress_told < PROGRESS_MS * NS_PER_MS)
            return 0;
        count = owner_jobs_waiting(&server->jobs, ids);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct header_notify progress = {
            .op = NOTIFY_ASYNC_PROGRESS, .id = ids[i], .done = done, .total = total};

        tell(server, &progress, deadline_in_ms(2 * TELL_MS));
    }
    server->progress_told = clock_now();
    return 0;
}

static void copying_ended(void *arg, int result)
{
    struct owner_server *server = arg;
    WITH_LOCK(&server->lock);

    owner_jobs_copied(&server->jobs, result);
    pthread_cond_broadcast(&server->changed);
}

static void start_copying(struct owner_server *server)
{
    const struct owner_flatten_hooks hooks = {
        .look = look_while_copying, .ended = copying_ended, .arg = server};
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(server->service.cluster, server->id, deadline_in_ms(READ_MS), &header,
                              NULL);

    if (r < 0 || !flatten_must_copy(&header)) {
        copying_ended(server, r);
        return;
    }
    owner_flatten_join(steal_pointer(&server->flatten)); /* a former one, which has ended */
    server->progress_told = clock_now();
    r = owner_flatten_start(server->service.io, header.parent_overlap, &hooks, &server->flatten);
    if (r < 0)
        copying_ended(server, r);
}

/* A flatten comes back when its objects are copied. */
static void put_off(struct owner_server *server)
{
    bool only;

    {
        WITH_LOCK(&server->lock);
        only = owner_jobs_put_off(&server->jobs);
    }
    if (only)
        start_copying(server);
}

static void do_job(struct owner_server *server, struct owner_job *job)
{
    struct error err = {0};

    job->result = work(server, job, &err);
    log_debug("%s: request %u of client %" PRIu64 ": %d %s", server->object, job->request.op,
              job->request.id.client_id, job->result, err.text);
    if (server->service.hooks.report)
        server->service.hooks.report(server->service.hooks.arg, &job->request, job->result,
                                     err.text);
    if (job->result == 0 && changes_header(job->request.op))
        announce(server);
}

/* Keep the result for who asks again, and say it: as the answer that is still owed, or to all. */
static void end_job(struct owner_server *server, struct owner_job *job)
{
    bool owed;

    {
        WITH_LOCK(&server->lock);
        owed = owner_jobs_end(&server->jobs);
        if (owed)
            watch_wake(server->watch);
    }
    if (owed)
        return;
    /* Who asked may be slow to hear; once more is enough for one that lives. */
    if (changes_header(job->request.op) &&
        tell_result(server, job, deadline_in_ms(2 * TELL_MS)) == -ETIMEDOUT)
        tell_result(server, job, deadline_in_ms(2 * TELL_MS));
    free(job);
}

/* The next job; NULL: the end of a quiesce has come, or that of the server. */
static struct owner_job *next_job(struct owner_server *server, bool *ret_end)
{
    WITH_LOCK(&server->lock);

    while (STAILQ_EMPTY(&server->jobs.todo) && !server->closing) {
        struct timespec until = deadline_timespec(server->service.frozen_until);

        if (server->service.frozen_until == 0)
            pthread_cond_wait(&server->changed, &server->lock);
        else if (pthread_cond_timedwait(&server->changed, &server->lock, &until) == ETIMEDOUT)
            break;
    }
    *ret_end = server->closing;
    return server->closing ? NULL : owner_jobs_begin(&server->jobs);
}

static void *serve(void *arg)
{
    struct owner_server *server = arg;
    bool end = false;

    while (!end) {
        struct owner_job *job = next_job(server, &end);

        if (job && job->request.op == NOTIFY_FLATTEN && !job->copied) {
            put_off(server);
        } else if (job) {
            do_job(server, job);
            end_job(server, job);
        }
        if (server->service.frozen_until != 0 &&
            (end || deadline_left_ms(server->service.frozen_until) == 0))
            owner_service_end_quiesce(&server->service);
    }
    return NULL;
}

static int start(struct owner_server *server)
{
    int r = server->started ? 0 : thread_start(&server->thread, serve, server);

    server->started = r == 0;
    return r;
}

/* The main loop's side. */

int owner_server_open(struct cluster *cluster, const char *id, struct watch *watch,
                      struct owner_server **ret)
{
    struct owner_server *server = calloc(1, sizeof(*server));

    if (!server)
        return -ENOMEM;
    server->service.cluster = cluster;
    server->watch = watch;
    snprintf(server->id, sizeof(server->id), "%s", id);
    server->service.id = server->id;
    name_header(server->object, id);
    owner_jobs_init(&server->jobs);
    pthread_mutex_init(&server->lock, NULL);
    clock_init_cond(&server->changed);
    *ret = server;
    return 0;
}

void owner_server_attach_io(struct owner_server *server, struct image_io *io)
{
    server->service.io = io;
}

void owner_server_set_hooks(struct owner_server *server, const struct ownership_hooks *hooks)
{
    server->service.hooks = *hooks;
}

void owner_server_use_cookie(struct owner_server *server, const char *cookie)
{
    WITH_LOCK(&server->lock);
    snprintf(server->cookie, sizeof(server->cookie), "%s", cookie);
}

bool owner_server_serves(uint32_t op)
{
    return changes_header(op) || op == NOTIFY_QUIESCE || op == NOTIFY_UNQUIESCE;
}

static int add_job(struct owner_server *server, const struct header_notify *request,
                   struct watch_event *event)
{
    int r = start(server);

    if (r == 0)
        r = owner_jobs_add(&server->jobs, request, event);
    if (r == 0)
        pthread_cond_broadcast(&server->changed);
    return r;
}

/* What cannot be done is refused without trying: groups and mirrors have snapshots of their own
 * kind, and a file system cannot be cut. */
static int check(const struct owner_server *server, const struct header_notify *request)
{
    if (request->op == NOTIFY_SNAP_CREATE || request->op == NOTIFY_SNAP_REMOVE) {
        if (request->namespace_type != RBD_NAMESPACE_USER)
            return -EOPNOTSUPP;
        if (request->snapshot[0] == '\0')
            return -EINVAL;
    }
    if (request->op == NOTIFY_RESIZE && request->size < image_io_size(server->service.io))
        return -EINVAL;
    return 0;
}

bool owner_server_take(struct owner_server *server, const struct header_notify *request,
                       struct watch_event *event, struct encoder *answer)
{
    bool keep;
    int r;
    WITH_LOCK(&server->lock);

    if (owner_jobs_know(&server->jobs, request, event, &keep, &r)) {
        if (!keep)
            notify_encode_result(answer, r);
        return keep;
    }
    keep = !changes_header(request->op) || !owner_job_has_id(request);
    r = check(server, request);
    if (r == 0)
        r = add_job(server, request, keep ? event : NULL);
    if (r == 0 && keep)
        return true;
    notify_encode_result(answer, r);
    return false;
}

static struct owner_job *next_done(struct owner_server *server)
{
    WITH_LOCK(&server->lock);
    return owner_jobs_take_done(&server->jobs);
}

static void answer_job(struct owner_server *server, struct owner_job *job)
{
    cleanup_encoder struct encoder answer = {0};

    if (job->event) {
        notify_encode_result(&answer, job->result);
        watch_answer(server->watch, job->event, &answer);
        free(job->event);
    }
    free(job);
}

bool owner_server_run(struct owner_server *server)
{
    struct owner_job *job;

    while ((job = next_done(server)))
        answer_job(server, job);
    {
        WITH_LOCK(&server->lock);
        return server->follow;
    }
}

void owner_server_followed(struct owner_server *server)
{
    WITH_LOCK(&server->lock);
    server->follow = false;
    pthread_cond_broadcast(&server->changed);
}

void owner_server_close(struct owner_server *server)
{
    const int64_t deadline = deadline_in_ms(2 * TELL_MS);
    struct owner_job *job;

    if (!server)
        return;
    {
        WITH_LOCK(&server->lock);
        server->closing = true;
        pthread_cond_broadcast(&server->changed);
    }
    if (server->started)
        pthread_join(server->thread, NULL);
    owner_flatten_join(server->flatten);
    while ((job = next_done(server)))
        answer_job(server, job);
    while ((job = owner_jobs_begin(&server->jobs))) {
        job->result = -ESHUTDOWN;
        if (!job->event && deadline_left_ms(deadline) > 0)
            tell_result(server, job, deadline);
        answer_job(server, job);
    }
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
