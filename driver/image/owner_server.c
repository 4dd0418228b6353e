/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_server.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "image/names.h"
#include "image/owner_work.h"
#include "rados/op.h"

/* Times. Who asks hears nothing until the end and gives us up after 30 s (librbd's
 * rbd_request_timed_out_seconds, and OWNER_SILENT_MS), so all of it stays below; and what happens
 * while the file system is frozen stays below OWNERSHIP_FREEZE_MAX_MS. */
#define FREEZE_MS 12000 /* until it is frozen: much to be written out first */
#define PAUSE_MS  4000  /* frozen, for requests under way */
#define ADD_MS    4000  /* frozen and paused */
#define WORK_MS   10000 /* whatever else a request needs */
#define FOLLOW_MS 5000  /* the main loop, to follow the header */
#define TELL_MS   5000  /* others, to hear of it */

/* A client that floods us is refused. */
#define JOBS_MAX 64

/* Results remembered for clients that ask again because an answer was lost. */
#define RECENT_MAX 64

struct job {
    STAILQ_ENTRY(job) link;
    struct header_notify request;
    char cookie[LOCK_COOKIE_MAX];
    struct watch_event *event; /* still to be answered, or NULL; the main loop's */
    int result;
};
STAILQ_HEAD(job_list, job);

struct recent {
    struct notify_id id;
    uint32_t op;
    int result;
};

struct owner_server {
    struct cluster *cluster;
    char id[IMAGE_ID_MAX];
    char object[OBJECT_NAME_MAX];
    struct watch *watch;
    struct image_io *io;
    struct ownership_hooks hooks;

    pthread_mutex_t lock; /* from here to "recent" */
    pthread_cond_t changed;
    bool started; /* the thread */
    bool closing;
    bool follow; /* the main loop is to read the header again */
    struct job_list todo;
    struct job_list done; /* to be answered */
    struct job *current;
    unsigned jobs; /* in todo */
    struct recent recent[RECENT_MAX];
    unsigned recent_next;

    pthread_t thread;
    int64_t frozen_until; /* the thread's: a QUIESCE holds until then; 0: none does */
    struct notify_id frozen_for;
};

static bool has_id(const struct notify_id *id)
{
    return id->client_id != 0 || id->handle != 0 || id->number != 0;
}

/* The thread's work. */

static int freeze(struct owner_server *server, struct error *err)
{
    if (!server->hooks.freeze)
        return 0;
    return server->hooks.freeze(server->hooks.arg, deadline_in_ms(FREEZE_MS), err);
}

static int thaw(struct owner_server *server)
{
    return server->hooks.thaw ? server->hooks.thaw(server->hooks.arg) : 0;
}

/* Add the snapshot while nothing is written. */
static int add_paused(struct owner_server *server, const struct owned_image *image,
                      const char *name, struct error *err)
{
    uint64_t snap_id;
    int r = image_io_pause(server->io, deadline_in_ms(PAUSE_MS));

    if (r < 0)
        return error_errno(err, r, "the cluster does not end what was written before snapshot '%s'",
                           name);
    r = owned_snapshot_add(image, name, deadline_in_ms(ADD_MS), &snap_id, err);
    image_io_resume(server->io);
    return r;
}

static int create_snapshot(struct owner_server *server, const struct owned_image *image,
                           const struct header_notify *request, struct error *err)
{
    const bool freezes = server->frozen_until == 0 && !(request->flags & NOTIFY_SNAP_SKIP_QUIESCE);
    bool frozen = false;
    int r = freezes ? freeze(server, err) : 0;

    if (r < 0 && !(request->flags & NOTIFY_SNAP_IGNORE_QUIESCE_ERROR))
        return r;
    frozen = freezes && r == 0;
    r = add_paused(server, image, request->snapshot, err);
    if (!frozen || thaw(server) == 0 || r < 0)
        return r;
    /* It is not known whether the file system was still frozen when it counted. */
    owned_snapshot_remove(image, request->snapshot, deadline_in_ms(WORK_MS), NULL);
    return error_set(err, -ETIMEDOUT,
                     "the file system did not stay frozen for as long as snapshot '%s' took",
                     request->snapshot);
}

/* Each freeze is of one request: who asked for it is to hear at its end whether it held, which a
 * second request's end in between would make a lie. */
static int quiesce(struct owner_server *server, const struct notify_id *id, struct error *err)
{
    int r;

    if (server->frozen_until != 0)
        return error_set(err, -EBUSY, "it is frozen for client %" PRIu64 " already",
                         server->frozen_for.client_id);
    r = freeze(server, err);
    if (r == 0) {
        server->frozen_until = deadline_in_ms(OWNERSHIP_FREEZE_MAX_MS);
        server->frozen_for = *id;
    }
    return r;
}

static int end_quiesce(struct owner_server *server)
{
    server->frozen_until = 0;
    return thaw(server);
}

static int unquiesce(struct owner_server *server, const struct notify_id *id, struct error *err)
{
    if (server->frozen_until == 0 || !notify_same_id(&server->frozen_for, id) ||
        end_quiesce(server) < 0)
        return error_set(err, -ETIMEDOUT, "that freeze had ended before");
    return 0;
}

static int work(struct owner_server *server, struct job *job, struct error *err)
{
    const struct owned_image image = {
        .cluster = server->cluster, .id = server->id, .cookie = job->cookie, .io = server->io};
    const struct header_notify *request = &job->request;

    switch (request->op) {
    case NOTIFY_SNAP_CREATE:
        return create_snapshot(server, &image, request, err);
    case NOTIFY_SNAP_REMOVE:
        return owned_snapshot_remove(&image, request->snapshot, deadline_in_ms(WORK_MS), err);
    case NOTIFY_RESIZE:
        return owned_resize(&image, request->size, deadline_in_ms(WORK_MS), err);
    case NOTIFY_QUIESCE:
        return quiesce(server, &request->id, err);
    case NOTIFY_UNQUIESCE:
        return unquiesce(server, &request->id, err);
    }
    return error_set(err, -EOPNOTSUPP, "request %u is not served", request->op);
}

static int tell(struct owner_server *server, const struct header_notify *notify)
{
    cleanup_encoder struct encoder payload = {0};

    notify_encode(&payload, notify);
    return op_notify(cluster_io(server->cluster), server->object, &payload, TELL_MS, NULL,
                     deadline_in_ms(2 * TELL_MS));
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
    tell(server, &update);
}

static bool changes_header(uint32_t op)
{
    return op == NOTIFY_SNAP_CREATE || op == NOTIFY_SNAP_REMOVE || op == NOTIFY_RESIZE;
}

static void do_job(struct owner_server *server, struct job *job)
{
    struct error err = {0};

    job->result = work(server, job, &err);
    log_debug("%s: request %u of client %" PRIu64 ": %d %s", server->object, job->request.op,
              job->request.id.client_id, job->result, err.text);
    if (server->hooks.report)
        server->hooks.report(server->hooks.arg, &job->request, job->result, err.text);
    if (job->result == 0 && changes_header(job->request.op))
        announce(server);
}

/* Keep the result for who asks again, and say it: as the answer that is still owed, or to all. */
static void end_job(struct owner_server *server, struct job *job)
{
    const struct header_notify complete = {
        .op = NOTIFY_ASYNC_COMPLETE, .id = job->request.id, .result = job->result};
    bool owed;

    {
        WITH_LOCK(&server->lock);
        server->current = NULL;
        server->recent[server->recent_next++ % RECENT_MAX] =
            (struct recent){.id = job->request.id, .op = job->request.op, .result = job->result};
        owed = job->event != NULL;
        if (owed) {
            STAILQ_INSERT_TAIL(&server->done, job, link);
            watch_wake(server->watch);
        }
    }
    if (owed)
        return;
    /* Who asked may be slow to hear; once more is enough for one that lives. */
    if (changes_header(job->request.op) && tell(server, &complete) == -ETIMEDOUT)
        tell(server, &complete);
    free(job);
}

/* The next job; NULL: the end of a quiesce has come, or that of the server. */
static struct job *next_job(struct owner_server *server, bool *ret_end)
{
    WITH_LOCK(&server->lock);

    while (STAILQ_EMPTY(&server->todo) && !server->closing) {
        struct timespec until = deadline_timespec(server->frozen_until);

        if (server->frozen_until == 0)
            pthread_cond_wait(&server->changed, &server->lock);
        else if (pthread_cond_timedwait(&server->changed, &server->lock, &until) == ETIMEDOUT)
            break;
    }
    *ret_end = server->closing;
    if (server->closing || STAILQ_EMPTY(&server->todo))
        return NULL;
    server->current = STAILQ_FIRST(&server->todo);
    STAILQ_REMOVE_HEAD(&server->todo, link);
    server->jobs--;
    return server->current;
}

static void *serve(void *arg)
{
    struct owner_server *server = arg;
    bool end = false;

    while (!end) {
        struct job *job = next_job(server, &end);

        if (job) {
            do_job(server, job);
            end_job(server, job);
        }
        if (server->frozen_until != 0 && (end || deadline_left_ms(server->frozen_until) == 0))
            end_quiesce(server);
    }
    return NULL;
}

/* Start the thread with all signals blocked: they are for the program's own threads. */
static int start(struct owner_server *server)
{
    sigset_t all, before;
    int r;

    if (server->started)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = -pthread_create(&server->thread, NULL, serve, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
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
    server->cluster = cluster;
    server->watch = watch;
    snprintf(server->id, sizeof(server->id), "%s", id);
    name_header(server->object, id);
    STAILQ_INIT(&server->todo);
    STAILQ_INIT(&server->done);
    pthread_mutex_init(&server->lock, NULL);
    clock_init_cond(&server->changed);
    *ret = server;
    return 0;
}

void owner_server_attach_io(struct owner_server *server, struct image_io *io)
{
    server->io = io;
}

void owner_server_set_hooks(struct owner_server *server, const struct ownership_hooks *hooks)
{
    server->hooks = *hooks;
}

bool owner_server_serves(uint32_t op)
{
    return changes_header(op) || op == NOTIFY_QUIESCE || op == NOTIFY_UNQUIESCE;
}

/* The same request, not done yet. */
static struct job *find_job(struct owner_server *server, const struct notify_id *id, uint32_t op)
{
    struct job *job = server->current;

    if (job && notify_same_id(&job->request.id, id) && job->request.op == op)
        return job;
    STAILQ_FOREACH(job, &server->todo, link)
    {
        if (notify_same_id(&job->request.id, id) && job->request.op == op)
            return job;
    }
    return NULL;
}

static const struct recent *find_recent(const struct owner_server *server,
                                        const struct notify_id *id, uint32_t op)
{
    for (unsigned i = 0; i < RECENT_MAX; i++) {
        if (notify_same_id(&server->recent[i].id, id) && server->recent[i].op == op)
            return &server->recent[i];
    }
    return NULL;
}

/* Was it asked for before? True with what to do about its EVENT. */
static bool is_known(struct owner_server *server, const struct header_notify *request,
                     struct watch_event *event, struct encoder *answer, bool *ret_keep)
{
    const struct recent *recent;
    struct job *job;

    *ret_keep = false;
    if (!has_id(&request->id))
        return false;
    job = find_job(server, &request->id, request->op);
    if (job && job->event) { /* nobody waits for the first one's answer any more */
        free(job->event);
        job->event = event;
        *ret_keep = true;
        return true;
    }
    recent = job ? NULL : find_recent(server, &request->id, request->op);
    if (!job && !recent)
        return false;
    notify_encode_result(answer, recent ? recent->result : 0);
    return true;
}

/* Put it on the list; KEEP: its event is answered when it is done. */
static int add_job(struct owner_server *server, const struct header_notify *request,
                   const char *cookie, struct watch_event *event)
{
    struct job *job;
    int r = start(server);

    if (r < 0)
        return r;
    if (server->jobs >= JOBS_MAX)
        return -EBUSY;
    job = calloc(1, sizeof(*job));
    if (!job)
        return -ENOMEM;
    job->request = *request;
    job->event = event;
    snprintf(job->cookie, sizeof(job->cookie), "%s", cookie);
    STAILQ_INSERT_TAIL(&server->todo, job, link);
    server->jobs++;
    pthread_cond_broadcast(&server->changed);
    return 0;
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
    if (request->op == NOTIFY_RESIZE && request->size < image_io_size(server->io))
        return -EINVAL;
    return 0;
}

bool owner_server_take(struct owner_server *server, const struct header_notify *request,
                       const char *cookie, struct watch_event *event, struct encoder *answer)
{
    bool keep;
    int r;
    WITH_LOCK(&server->lock);

    if (is_known(server, request, event, answer, &keep))
        return keep;
    keep = !changes_header(request->op) || !has_id(&request->id);
    r = check(server, request);
    if (r == 0)
        r = add_job(server, request, cookie, keep ? event : NULL);
    if (r == 0 && keep)
        return true;
    notify_encode_result(answer, r);
    return false;
}

static struct job *next_done(struct owner_server *server)
{
    WITH_LOCK(&server->lock);
    struct job *job = STAILQ_FIRST(&server->done);

    if (job)
        STAILQ_REMOVE_HEAD(&server->done, link);
    return job;
}

static void answer_job(struct owner_server *server, struct job *job)
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
    struct job *job;

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
    struct job *job;

    if (!server)
        return;
    {
        WITH_LOCK(&server->lock);
        server->closing = true;
        pthread_cond_broadcast(&server->changed);
    }
    if (server->started)
        pthread_join(server->thread, NULL);
    while ((job = next_done(server)))
        answer_job(server, job);
    while ((job = STAILQ_FIRST(&server->todo))) {
        STAILQ_REMOVE_HEAD(&server->todo, link);
        job->result = -ESHUTDOWN;
        answer_job(server, job);
    }
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
