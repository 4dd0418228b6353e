/* SPDX-License-Identifier: Apache-2.0 */

/* docker-volume-rados, the supervisor: owns what must not die, and so does little else.
 *
 * Happy path: read the settings, lock the run directory, listen for Docker, adopt the blockds of a
 * predecessor, start the server, say "ready"; then serve events until SIGTERM.
 *
 * What fails:
 *   the server dies          connections wait in the listening socket until it is started again
 *   a blockd dies            its descriptors are kept; the next one gets them, I/O goes on
 *   the supervisor dies      the server dies with it, blockds go on alone until the next adopts
 * them the supervisor is asked  the server is asked to end; attached blockds stay, except that to
 * end                   nothing outlives PID 1 of a container: there they are asked to end too
 *
 * One thread, one epoll set, tables of fixed size, no allocation once it serves. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "plugin/settings.h"
#include "plugin/supervisor/adopt.h"
#include "plugin/supervisor/blockds.h"
#include "plugin/supervisor/listen.h"
#include "plugin/supervisor/loop.h"
#include "plugin/supervisor/requests.h"
#include "plugin/supervisor/server_process.h"
#include "plugin/supervisor/systemd.h"

/* dockerd gives a managed plugin 10 s from SIGTERM to SIGKILL. */
#define SERVER_STOP_MS  7000
#define BLOCKDS_STOP_MS 1000 /* in order; then the same again in any case */

struct supervisor {
    struct settings settings;
    char server_path[PATH_MAX];
    char blockd_path[PATH_MAX];
    struct loop loop;
    int signals;
    int listener;
    bool listener_passed; /* by systemd: not ours to remove */
    struct server_process server;
    struct blockds blockds;
};

static int find_program(const struct settings *settings, const char *name, char ret[PATH_MAX],
                        struct error *err)
{
    snprintf(ret, PATH_MAX, "%s/%s", settings->libexec_dir, name);
    if (access(ret, X_OK) < 0)
        return error_errno(err, -errno, "cannot run \"%s\" (see --libexec-dir)", ret);
    return 0;
}

/* Hold RUN_DIR for life: two supervisors would fight over the same blockds. */
static int lock_run_dir(const char *run_dir, struct error *err)
{
    char path[PATH_MAX];
    char pid[16] = "";
    int len;
    int fd;

    snprintf(path, sizeof(path), "%s/supervisor.lock", run_dir);
    fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, -errno, "cannot open \"%s\"", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int rc = -errno;

        if (rc == -EWOULDBLOCK && read(fd, pid, sizeof(pid) - 1) > 0)
            rc = error_set(err, -EADDRINUSE,
                           "another docker-volume-rados (process %.*s) runs in \"%s\": stop it, or "
                           "choose another directory with --run-dir",
                           (int)strcspn(pid, "\n"), pid, run_dir);
        else
            rc = error_errno(err, rc, "cannot lock \"%s\"", path);
        close(fd);
        return rc;
    }
    len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || write(fd, pid, (size_t)len) < 0)
        log_warning("cannot write \"%s\": %s", path, error_words(-errno));
    return 0; /* the descriptor stays open, that is the lock */
}

static int make_dirs(const struct settings *settings, struct error *err)
{
    char path[PATH_MAX];
    int rc = file_make_dir(settings->run_dir, 0700, err);

    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "%s/blockd", settings->run_dir);
    return file_make_dir(path, 0700, err);
}

/* Every blockd costs up to 11 descriptors here. Children keep the limit: the server serves many
 * connections, a blockd talks to many OSDs. */
static void raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warning("cannot raise the limit of open descriptors: %s", error_words(-errno));
}

static int open_signals(struct supervisor *s, struct error *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP); /* blocked and then ignored */
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return error_errno(err, -errno, "cannot block signals");
    /* A parent may have left it ignored; then the kernel would reap our children unseen. */
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return error_errno(err, -errno, "cannot make a signalfd");
    return 0;
}

/* All that is needed to listen. Nothing is running yet when it fails. */
static int open_all(struct supervisor *s, struct error *err)
{
    int rc = systemd_take(&s->listener, err);

    s->listener_passed = s->listener >= 0;
    if (rc == 0)
        rc = child_reserve_fds(err);
    if (rc == 0)
        rc = find_program(&s->settings, "docker-volume-rados-server", s->server_path, err);
    if (rc == 0)
        rc = find_program(&s->settings, "radosvol-blockd", s->blockd_path, err);
    if (rc == 0)
        rc = make_dirs(&s->settings, err);
    if (rc == 0)
        rc = lock_run_dir(s->settings.run_dir, err);
    if (rc == 0 && !s->listener_passed)
        rc = listen_open(s->settings.socket, &s->listener, err);
    if (rc == 0)
        rc = loop_open(&s->loop, err);
    if (rc == 0)
        rc = open_signals(s, err);
    if (rc < 0)
        return rc;
    rc = loop_add(&s->loop, s->signals, LOOP_SIGNAL, 0);
    return rc < 0 ? error_errno(err, rc, "cannot wait for signals") : 0;
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == s->server.child.pid)
            server_on_exit(&s->server, status);
        else if (!blockds_on_exit(&s->blockds, pid, status))
            log_debug("reaped process %d", (int)pid);
    }
}

static void on_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;

    if (read(s->signals, &info, sizeof(info)) != sizeof(info))
        return;
    switch (info.ssi_signo) {
    case SIGCHLD:
        reap(s);
        break;
    case SIGTERM:
    case SIGINT:
        log_info("ending on signal %u", info.ssi_signo);
        systemd_notify("STOPPING=1");
        server_stop(&s->server, deadline_in_ms(SERVER_STOP_MS));
        break;
    default:
        break;
    }
}

/* Wait for one event, at most until DEADLINE, and do what it asks for. */
static void step(struct supervisor *s, int64_t deadline)
{
    struct loop_event event;

    deadline =
        deadline_earlier(deadline, deadline_earlier(s->server.due, blockds_due(&s->blockds)));
    event = loop_wait(&s->loop, deadline);
    switch (event.source) {
    case LOOP_TIMEOUT:
        break;
    case LOOP_SIGNAL:
        on_signal(s);
        break;
    case LOOP_SERVER:
        if (requests_serve(s->server.requests, &s->blockds, s->server.restarts) < 0)
            loop_close(&s->loop, &s->server.requests);
        break;
    case LOOP_KEEPER:
        blockds_on_keeper(&s->blockds, event.index);
        break;
    case LOOP_ADOPTED:
        blockds_on_adopted_end(&s->blockds, event.index);
        break;
    case LOOP_ADOPTION:
        adopt_on_answer(&s->blockds, event.index);
        break;
    }
    server_tick(&s->server);
    blockds_tick(&s->blockds);
}

/* Those that are left end with us, the first process of their container. */
static void stop_blockds(struct supervisor *s, int signal_number)
{
    int64_t deadline = deadline_in_ms(BLOCKDS_STOP_MS);

    blockds_stop(&s->blockds, signal_number);
    while (blockds_count(&s->blockds) > 0 && clock_now() < deadline)
        step(s, deadline);
}

/* The server has ended; so will the supervisor. */
static void finish(struct supervisor *s)
{
    unsigned staying;

    if (!s->listener_passed)
        unlink(s->settings.socket);
    if (getpid() == 1) {
        stop_blockds(s, SIGTERM);
        stop_blockds(s, SIGQUIT);
        return;
    }
    staying = blockds_leave(&s->blockds);
    if (staying > 0)
        log_info("%u attached volumes stay in service; the next supervisor takes them over",
                 staying);
}

static int supervise(struct supervisor *s, char *argv[], struct error *err)
{
    int rc;

    s->blockds.run_dir = s->settings.run_dir;
    s->blockds.program = s->blockd_path;
    s->blockds.loop = &s->loop;
    rc = adopt_all(&s->blockds, err);
    if (rc < 0)
        return rc;
    argv[0] = s->server_path;
    s->server = (struct server_process){.program = s->server_path,
                                        .argv = argv,
                                        .listener = s->listener,
                                        .loop = &s->loop,
                                        .child = {.pidfd = -1},
                                        .requests = -1};
    rc = server_start(&s->server, err);
    if (rc < 0)
        return rc;
    systemd_notify("READY=1");
    log_info("serving %s", s->listener_passed ? "the passed socket" : s->settings.socket);
    while (s->server.state != SERVER_ENDED)
        step(s, INT64_MAX);
    finish(s);
    return s->server.status;
}

int main(int argc, char *argv[])
{
    static struct supervisor supervisor; /* megabytes, of which only rows in use are touched */
    struct error err;
    int rc = settings_parse(argc, argv, &supervisor.settings, &err);

    if (rc == 1)
        return 0;
    if (rc < 0) {
        log_error("%s", err.text);
        return SERVER_BAD_SETTINGS;
    }
    log_init("docker-volume-rados", supervisor.settings.log_level);
    log_set_place(supervisor.settings.host, NULL);
    if (geteuid() != 0) {
        log_error("must run as root: it makes block devices and mounts");
        return 1;
    }
    raise_fd_limit();
    rc = open_all(&supervisor, &err);
    if (rc == 0)
        rc = supervise(&supervisor, argv, &err);
    if (rc < 0) {
        log_error("%s", err.text);
        return 1;
    }
    return rc;
}
