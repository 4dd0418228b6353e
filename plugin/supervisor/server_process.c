/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/server_process.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define DELAY_MIN   (100 * NS_PER_MS)
#define DELAY_MAX   (5 * NS_PER_S)
#define LONG_ENOUGH (60 * NS_PER_S)

/* Plan the next start. */
static void wait_for_restart(struct server_process *server)
{
    int64_t now = clock_now();

    if (server->delay == 0 || now - server->started >= LONG_ENOUGH)
        server->delay = DELAY_MIN;
    server->state = SERVER_WAITING;
    server->due = now + server->delay;
    server->delay = server->delay * 2 < DELAY_MAX ? server->delay * 2 : DELAY_MAX;
}

int server_start(struct server_process *server, struct error *err)
{
    struct child_plan plan = {.path = server->program,
                              .argv = server->argv,
                              .fd4 = server->listener,
                              .dies_with_parent = true};
    cleanup_close int theirs = -1;
    int ends[2];
    int rc = 0;

    server->started = clock_now();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        wait_for_restart(server);
        return error_errno(err, -errno, "cannot make the server's socket");
    }
    server->requests = ends[0];
    theirs = ends[1];
    plan.fd3 = theirs;
    rc = loop_add(server->loop, server->requests, LOOP_SERVER, 0);
    if (rc < 0)
        error_errno(err, rc, "cannot wait for the server's requests");
    else
        rc = child_spawn(&plan, &server->child, err);
    if (rc < 0) {
        loop_close(server->loop, &server->requests);
        wait_for_restart(server);
        return rc;
    }
    server->state = SERVER_RUNNING;
    server->due = INT64_MAX;
    return 0;
}

static void log_end(int status)
{
    if (WIFSIGNALED(status))
        log_error("docker-volume-rados-server was ended by signal %d; starting it again",
                  WTERMSIG(status));
    else
        log_error("docker-volume-rados-server ended with status %d; starting it again",
                  WEXITSTATUS(status));
}

static void end(struct server_process *server, int status)
{
    server->state = SERVER_ENDED;
    server->due = INT64_MAX;
    server->status = status;
}

void server_on_exit(struct server_process *server, int status)
{
    child_clear(&server->child);
    loop_close(server->loop, &server->requests);
    if (server->stopping) {
        end(server, 0);
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == SERVER_BAD_SETTINGS) {
        log_error("docker-volume-rados-server refused its settings");
        end(server, SERVER_BAD_SETTINGS);
    } else {
        log_end(status);
        wait_for_restart(server);
    }
}

void server_stop(struct server_process *server, int64_t deadline)
{
    if (server->stopping || server->state == SERVER_ENDED)
        return;
    server->stopping = true;
    if (server->state == SERVER_WAITING) {
        end(server, 0);
        return;
    }
    server->due = deadline;
    child_kill(&server->child, SIGTERM);
}

void server_tick(struct server_process *server)
{
    struct error err;

    if (server->due > clock_now())
        return;
    if (server->state == SERVER_RUNNING) {
        log_warning("docker-volume-rados-server does not end; killing it");
        server->due = INT64_MAX;
        child_kill(&server->child, SIGKILL);
        return;
    }
    server->restarts++;
    if (server_start(server, &err) < 0)
        log_error("%s", err.text);
}
