/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/* What a handler answers. An empty one, as left by running out of memory, is sent as an error. */

#define REPLY_DOCKER_JSON "application/vnd.docker.plugins.v1.2+json"

struct reply {
    unsigned status;  /* HTTP status; 0: 200 */
    const char *type; /* of the body, a constant; NULL: REPLY_DOCKER_JSON */
    char *body;       /* text, free() */
    bool drop;        /* close the connection without an answer: dockerd then keeps what it knows */

    /* Set by a handler whose success must be taken back when the answer does not reach the client.
     * May block. undo_arg is freed with free() in any case. */
    void (*undo)(void *undo_arg);
    void *undo_arg;
};

void reply_free(struct reply *reply); /* leaves it empty */

/* Run the undo, if there is one, and forget it. */
void reply_undo(struct reply *reply);

/* Answer JSON, which is taken over (NULL: out of memory). */
void reply_json(struct reply *reply, json_t *json);

/* Answer {"Err": WORDS}; "" is success. */
void reply_err(struct reply *reply, const char *words);

/* Answer with the words of ERR and log them, once, naming CALL and, unless it is "", VOLUME. */
void reply_fail(struct reply *reply, const char *call, const char *volume, struct error *err);

/* Close the connection without an answer. */
void reply_drop(struct reply *reply);

/* TEXT as a JSON string; bytes that are not UTF-8 become "?". NULL when out of memory. */
json_t *reply_text(const char *text);
