/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_jobs.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

void owner_jobs_init(struct owner_jobs *jobs)
{
    *jobs = (struct owner_jobs){0};
    STAILQ_INIT(&jobs->todo);
    STAILQ_INIT(&jobs->copying);
    STAILQ_INIT(&jobs->done);
}

bool owner_job_has_id(const struct header_notify *request)
{
    const struct notify_id *id = &request->id;

    return id->client_id != 0 || id->handle != 0 || id->number != 0;
}

static bool is_same(const struct owner_job *job, const struct header_notify *request)
{
    return notify_same_id(&job->request.id, &request->id) && job->request.op == request->op;
}

static struct owner_job *find_in(const struct owner_job_list *list,
                                 const struct header_notify *request)
{
    struct owner_job *job = STAILQ_FIRST(list);

    while (job && !is_same(job, request))
        job = STAILQ_NEXT(job, link);
    return job;
}

static struct owner_job *find(const struct owner_jobs *jobs, const struct header_notify *request)
{
    struct owner_job *job = jobs->current;

    if (!job || !is_same(job, request))
        job = find_in(&jobs->todo, request);
    return job ? job : find_in(&jobs->copying, request);
}

static bool find_recent(const struct owner_jobs *jobs, const struct header_notify *request,
                        int *ret_result)
{
    for (unsigned i = 0; i < OWNER_RECENT_MAX; i++) {
        if (notify_same_id(&jobs->recent[i].id, &request->id) &&
            jobs->recent[i].op == request->op) {
            *ret_result = jobs->recent[i].result;
            return true;
        }
    }
    return false;
}

bool owner_jobs_know(struct owner_jobs *jobs, const struct header_notify *request,
                     struct watch_event *event, bool *ret_keep, int *ret_result)
{
    struct owner_job *job;

    *ret_keep = false;
    *ret_result = 0;
    if (!owner_job_has_id(request))
        return false;
    job = find(jobs, request);
    if (!job)
        return find_recent(jobs, request, ret_result);
    if (job->event) { /* nobody waits for the first one's answer any more */
        free(job->event);
        job->event = event;
        *ret_keep = true;
    }
    return true;
}

int owner_jobs_add(struct owner_jobs *jobs, const struct header_notify *request,
                   struct watch_event *event)
{
    struct owner_job *job;

    if (jobs->count >= OWNER_JOBS_MAX)
        return -EBUSY;
    job = calloc(1, sizeof(*job));
    if (!job)
        return -ENOMEM;
    job->request = *request;
    job->event = event;
    STAILQ_INSERT_TAIL(&jobs->todo, job, link);
    jobs->count++;
    return 0;
}

static struct owner_job *take_first(struct owner_job_list *list)
{
    struct owner_job *job = STAILQ_FIRST(list);

    if (job)
        STAILQ_REMOVE_HEAD(list, link);
    return job;
}

struct owner_job *owner_jobs_begin(struct owner_jobs *jobs)
{
    jobs->current = take_first(&jobs->todo);
    return jobs->current;
}

bool owner_jobs_put_off(struct owner_jobs *jobs)
{
    struct owner_job *job = steal_pointer(&jobs->current);
    const bool only = STAILQ_EMPTY(&jobs->copying);

    STAILQ_INSERT_TAIL(&jobs->copying, job, link);
    return only;
}

unsigned owner_jobs_waiting(const struct owner_jobs *jobs, struct notify_id ret[OWNER_JOBS_MAX])
{
    const struct owner_job *job = STAILQ_FIRST(&jobs->copying);
    unsigned count = 0;

    for (; job && count < OWNER_JOBS_MAX; job = STAILQ_NEXT(job, link))
        ret[count++] = job->request.id;
    return count;
}

void owner_jobs_copied(struct owner_jobs *jobs, int result)
{
    struct owner_job *job;

    STAILQ_FOREACH(job, &jobs->copying, link)
    {
        job->copied = true;
        job->result = result;
    }
    STAILQ_CONCAT(&jobs->copying, &jobs->todo); /* they are the oldest */
    STAILQ_CONCAT(&jobs->todo, &jobs->copying);
}

bool owner_jobs_end(struct owner_jobs *jobs)
{
    struct owner_job *job = steal_pointer(&jobs->current);
    const unsigned slot = jobs->recent_next++ % OWNER_RECENT_MAX;

    jobs->count--;
    jobs->recent[slot].id = job->request.id;
    jobs->recent[slot].op = job->request.op;
    jobs->recent[slot].result = job->result;
    if (!job->event)
        return false;
    STAILQ_INSERT_TAIL(&jobs->done, job, link);
    return true;
}

struct owner_job *owner_jobs_take_done(struct owner_jobs *jobs)
{
    return take_first(&jobs->done);
}
