/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "image/watch.h"
#include "rados/header_notify.h"

/* What others have asked an owner for, from its coming to its answer:
 *
 *   todo -> current -> recent, for who asks again because an answer was lost,
 *           |     ^    and done, when the answer to its notify is still owed
 *           v     |
 *           copying    a FLATTEN, until its objects are copied
 *
 * No lock and no thread: both are the caller's. */

/* A client that floods the owner is refused. */
#define OWNER_JOBS_MAX 64

#define OWNER_RECENT_MAX 64

struct owner_job {
    STAILQ_ENTRY(owner_job) link;
    struct header_notify request;
    struct watch_event *event; /* to be answered and freed; NULL: none */
    bool copied;               /* FLATTEN: its objects are, with RESULT */
    int result;
};
STAILQ_HEAD(owner_job_list, owner_job);

struct owner_jobs {
    struct owner_job_list todo;
    struct owner_job_list copying;
    struct owner_job_list done;
    struct owner_job *current;
    unsigned count; /* not over yet */
    struct {
        struct notify_id id;
        uint32_t op;
        int result;
    } recent[OWNER_RECENT_MAX];
    unsigned recent_next;
};

void owner_jobs_init(struct owner_jobs *jobs);

/* Older clients ask without an id: then the answer to the notify is the result. */
bool owner_job_has_id(const struct header_notify *request);

/* Was REQUEST made before? True with *RET_KEEP: EVENT is now the job's. True without: it is to be
 * answered with *RET_RESULT. */
bool owner_jobs_know(struct owner_jobs *jobs, const struct header_notify *request,
                     struct watch_event *event, bool *ret_keep, int *ret_result);

/* A new one, with EVENT (or NULL). 0, -EBUSY or -ENOMEM. */
int owner_jobs_add(struct owner_jobs *jobs, const struct header_notify *request,
                   struct watch_event *event);

/* The next one to do, which is the current one then; or NULL. */
struct owner_job *owner_jobs_begin(struct owner_jobs *jobs);

/* The current one waits for its objects. True when it is the only one that does. */
bool owner_jobs_put_off(struct owner_jobs *jobs);

/* Who waits for objects: at most OWNER_JOBS_MAX ids; how many. */
unsigned owner_jobs_waiting(const struct owner_jobs *jobs, struct notify_id ret[OWNER_JOBS_MAX]);

/* The objects are copied, with RESULT: those who waited are next. */
void owner_jobs_copied(struct owner_jobs *jobs, int result);

/* The current one is over, with current->result. True: its answer is owed, and it is done; false:
 * it is the caller's to free. */
bool owner_jobs_end(struct owner_jobs *jobs);

/* One that is done, for the caller to answer and free; or NULL. */
struct owner_job *owner_jobs_take_done(struct owner_jobs *jobs);
