/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* The body of a request: hostile bytes to a plain struct. Pure: no I/O, nothing kept. */

#define JSON_REQUEST_BODY_MAX  (1024 * 1024) /* bytes; whoever collects the body enforces it */
#define JSON_REQUEST_DEPTH_MAX 8             /* arrays and objects inside each other */
#define JSON_REQUEST_TEXT_MAX  4096          /* bytes of a name, an id, an option's value */
#define JSON_REQUEST_KEY_MAX   256           /* bytes of an option's name */
#define JSON_REQUEST_OPTS_MAX  256           /* options in one request */
#define JSON_REQUEST_NAMES_MAX 256           /* volumes in one request */

struct json_option {
    char *key;
    char *value;
};

struct json_request {
    /* Strings; NULL when absent. */
    char *name;     /* "Name" */
    char *id;       /* "ID" */
    char *snapshot; /* "Snapshot" */
    char *to;       /* "To" */
    char *size;     /* "Size" */
    char *host;     /* "Host" */
    char *label;    /* "Label" */

    bool expired; /* "Expired" */
    bool all;     /* "All" */
    bool used;    /* "Used" */

    char **names; /* "Names", an array of strings; NULL when absent */
    size_t name_count;
    struct json_option *opts; /* "Opts", in the order they were sent; null counts as none */
    size_t opt_count;
};

/* Decode LEN bytes of BODY: one JSON object; keys we do not know are ignored.
 * 0; -ENODATA when the body is empty or blank (a client that lost its body on a retry);
 * -EINVAL with err saying what is wrong with it; -ENOMEM. *ret is empty after a failure. */
int json_request_decode(const char *body, size_t len, struct json_request *ret, struct error *err);

void json_request_free(struct json_request *request); /* leaves it empty */

static inline void cleanup_json_requestp(struct json_request *request)
{
    json_request_free(request);
}
#define cleanup_json_request __attribute__((cleanup(cleanup_json_requestp)))
