/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "plugin/server/json_request.h"
#include "plugin/server/reply.h"

/* What can be called over HTTP: tables of these, each ended by one without a path; and lists of
 * tables, ended by NULL. */

enum endpoint_need {
    NEED_NAME = 1 << 0, /* "Name", a volume's name */
    NEED_ID = 1 << 1,   /* "ID", a mount ID */
    NEED_SNAPSHOT = 1 << 2,
    NEED_TO = 1 << 3, /* "To", the name of a volume that does not exist yet */
    NEED_SIZE = 1 << 4,
    NEED_HOST = 1 << 5,
    NEED_TO_SNAPSHOT = 1 << 6, /* "To" again, but the name of a snapshot */
};

/* Whose threads handle it: one kind of call never keeps those of the others waiting. */
enum endpoint_kind {
    ENDPOINT_READS,    /* changes nothing */
    ENDPOINT_CHANGES,  /* dockerd's, and may wait for the cluster */
    ENDPOINT_OPERATES, /* an operator's, and may take as long as it takes */
};
#define ENDPOINT_KINDS 3

struct endpoint {
    const char *path; /* "/VolumeDriver.Mount" */
    bool is_get;      /* the method is GET, and there is no body; else it is POST */
    unsigned needs;   /* enum endpoint_need: checked before a handler is called */

    /* Answer without blocking, in the HTTP thread; false leaves it to `handle`. Optional when
     * there is `handle`. */
    bool (*quick)(void *service, const struct json_request *request, struct reply *reply);

    /* Answer on a worker thread, by the deadline. Optional when `quick` always answers. */
    void (*handle)(void *service, const struct json_request *request, int64_t deadline,
                   struct reply *reply);
    enum endpoint_kind kind;
    /* An Err, whatever its words, makes dockerd forget the volume for good. So only the handler may
     * give one; what hinders it is left without an answer, and dockerd asks again. */
    bool err_forgets;
    int limit_ms;     /* the deadline, from the moment the request was read */
    const char *late; /* what becomes of it when the deadline passes all the same */
};

/* The endpoint for PATH, or NULL. */
const struct endpoint *endpoint_find(const struct endpoint *const tables[], const char *path);

/* Answer that the call came to nothing before a handler could judge it, for the reason in WORDS. */
void endpoint_fail(const struct endpoint *endpoint, const char *words, struct reply *reply);

/* Decode and check the body of a request, also what it holds beyond what is needed: 0, or negative
 * errno with err (*ret is empty then). A request that needs nothing may come without a body. */
int endpoint_read_request(const struct endpoint *endpoint, const char *body, size_t len,
                          struct json_request *ret, struct error *err);
