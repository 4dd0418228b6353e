/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "plugin/server/call.h"
#include "plugin/server/endpoint.h"

/* The HTTP front: requests from a listening socket to the endpoints, their replies back.
 *
 * A known endpoint answers 200 and says in "Err" how it went, which docker shows as it is; an
 * unknown path is 404, another method 405. One thread does all of HTTP, in libmicrohttpd; whatever
 * may block is handed on (call.h) with its connection suspended meanwhile. */

struct http;

#define HTTP_CONNECTIONS_FREE 0 /* as many as the limit of open files allows */

/* Serve LISTEN_FD, which must be a listening socket; it stays the caller's. TABLES, SERVICE and
 * CALLS (made with the same service) must outlive the result. CONNECTIONS_MAX: at the same time. 0
 * or negative errno. */
int http_start(int listen_fd, unsigned connections_max, const struct endpoint *const tables[],
               void *service, struct calls *calls, struct http **ret, struct error *err);

/* Accept no more, let running requests end up to the deadline, and free. False when some did not:
 * everything is then left as it is, for the process to end. Accepts NULL. */
bool http_stop(struct http *http, int64_t deadline);
