/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "plugin/server/endpoint.h"
#include "plugin/server/workers.h"

/* Calls that are handled on worker threads, each answered in time whatever its handler does.
 *
 *   state      leaves by
 *   RUNNING    handler ended, client still there    -> ANSWERED, the handler's reply
 *              handler ended, client has hung up    -> ANSWERED, undone, nothing to send
 *              limit passed, handler still busy     -> LATE, an error as the reply
 *   ANSWERED   reply sent                           -> (freed)
 *              reply did not reach the client       -> undone, (freed)
 *   LATE       handler ended at last                -> undone, (freed)
 *
 * So dockerd always hears from us before it gives up, and never holds less than we think it does:
 * it sends no unmount for a mount whose answer it did not get. One case cannot be told: a client
 * that ends with our answer unread in its socket. Answers come seconds before dockerd's own
 * deadline, so that takes a dockerd that dies just then; the next one takes its mount over by the
 * ID (ledger.h), or its Remove gives it back. */

struct calls;
struct call;

/* SERVICE goes to the handlers. NULL when out of memory. */
struct calls *calls_new(void *service);

/* Handle REQUEST (taken over). ANSWERED(ARG) is called once, from any thread, maybe before this
 * returns; the reply is there from then on. CLIENT_FD must stay open until then. NULL when out of
 * memory: ANSWERED is then not called. */
struct call *calls_start(struct calls *calls, const struct endpoint *endpoint,
                         struct json_request *request, int client_fd, void (*answered)(void *arg),
                         void *arg);

struct reply *call_reply(struct call *call); /* borrowed until call_end */

/* The client got the reply, or did not. Ends the use of CALL. */
void call_end(struct call *call, bool reached);

/* What the threads that handle calls are doing, by enum endpoint_kind. */
#define CALLS_POOLS ENDPOINT_KINDS
void calls_look(struct calls *calls, struct workers_view ret[CALLS_POOLS]);

/* Wait for all handlers to end and free; what has not ended by the deadline is left behind
 * (returns false). Nothing may be started meanwhile. */
bool calls_free(struct calls *calls, int64_t deadline);
