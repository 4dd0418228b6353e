/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "plugin/supervisor_protocol.h"

/* The server's way to its supervisor (supervisor_protocol.h): starting, killing and listing
 * blockds, each named by its image id. Calls are made one after another; any thread may call.
 *
 * DEADLINE: CLOCK_MONOTONIC ns; waiting for the calls of other threads counts. A call that ran out
 * of time (-ETIMEDOUT) may still be carried out. -ECONNRESET: the supervisor is gone. */

#define SUPERVISOR_FD  3 /* what the supervisor's server finds open at its start */
#define HTTP_LISTEN_FD 4

struct supervisor_client;

/* Speak over SOCKET, which stays the caller's and is closed by it after the client is freed. */
int supervisor_client_open(int socket, struct supervisor_client **ret, struct error *err);
void supervisor_client_free(struct supervisor_client *client); /* accepts NULL */

/* Start a blockd for image ID with ARGS, its arguments after argv[0], NULL at the end. 0 when its
 * control socket can be called (blockd_call waits for the rest), -EEXIST when there is one already,
 * -EBUSY when a killed one has not ended yet, -E2BIG when ARGS do not fit, or another errno. */
int supervisor_start(struct supervisor_client *client, const char *id, const char *const args[],
                     int64_t deadline, struct error *err);

/* Kill the blockd of image ID and drop its device. 0 also when there is none, -ETIMEDOUT when it
 * was killed but has not ended, or another errno. */
int supervisor_kill(struct supervisor_client *client, const char *id, int64_t deadline,
                    struct error *err);

/* How often the server and blockds were started again. -EOPNOTSUPP: the supervisor is too old. */
int supervisor_count(struct supervisor_client *client, int64_t deadline,
                     struct supervisor_counts *ret, struct error *err);

/* The image ids of all blockds. The caller frees *ret (also when *ret_count is 0). */
int supervisor_list(struct supervisor_client *client, int64_t deadline,
                    char (**ret)[SUPERVISOR_ID_MAX], size_t *ret_count, struct error *err);
