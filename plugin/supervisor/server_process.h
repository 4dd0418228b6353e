/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "plugin/supervisor/child.h"
#include "plugin/supervisor/loop.h"

/* The server process: docker-volume-rados-server with the supervisor's own arguments, descriptor 3
 * for its requests, 4 the listening HTTP socket. It may die at any time:
 *
 *   state     process  leaves by
 *   RUNNING   yes      any end                        -> WAITING
 *                      exit with SERVER_BAD_SETTINGS  -> ENDED
 *                      any end after server_stop      -> ENDED
 *   WAITING   -        100 ms, doubled with each end up to 5 s, 100 ms again after an end that came
 *                      later than 60 s after the start -> RUNNING
 *                      server_stop                    -> ENDED
 *   ENDED     -        -
 */

#define SERVER_BAD_SETTINGS 2 /* exit status of both programs: starting again would not help */

enum server_state { SERVER_WAITING, SERVER_RUNNING, SERVER_ENDED };

struct server_process {
    enum server_state state;
    const char *program;
    char *const *argv; /* argv[0] is replaced */
    int listener;
    const struct loop *loop;
    struct child child;
    int requests;      /* our end of the socket to it; -1 */
    uint32_t restarts; /* starts after the first */
    int64_t started;
    int64_t delay; /* before the next start, ns */
    int64_t due;   /* WAITING: when to start. RUNNING after server_stop: when to kill */
    bool stopping;
    int status; /* of ENDED: what the supervisor exits with */
};

/* Start it. 0, or negative errno when exec fails: then it is as if it had died. */
int server_start(struct server_process *server, struct error *err);

/* It was reaped with STATUS (waitpid). */
void server_on_exit(struct server_process *server, int status);

/* Ask it to end (SIGTERM); it is killed when it has not done so by DEADLINE. */
void server_stop(struct server_process *server, int64_t deadline);

/* Start or kill it when its time has come. */
void server_tick(struct server_process *server);
