/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/blockds.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "block/control.h"
#include "plugin/supervisor/blockd_files.h"

#define KILL_WAIT_MS 2000

/* Packets taken in one go: a blockd gone wild must not keep the supervisor from the others. */
#define KEEPER_BURST 64

static struct blockd *find(struct blockds *blockds, const char *id)
{
    for (unsigned i = 0; i < blockds->used; i++) {
        struct blockd *b = &blockds->rows[i];

        if (b->phase != BLOCKD_FREE && strcmp(b->id, id) == 0)
            return b;
    }
    return NULL;
}

struct blockd *blockds_claim(struct blockds *blockds, const char *id)
{
    struct blockd *b = NULL;

    for (unsigned i = 0; i < blockds->used && !b; i++) {
        if (blockds->rows[i].phase == BLOCKD_FREE)
            b = &blockds->rows[i];
    }
    if (!b) {
        if (blockds->used == SUPERVISOR_BLOCKDS_MAX)
            return NULL;
        b = &blockds->rows[blockds->used++];
    }
    *b = (struct blockd){.phase = BLOCKD_FREE,
                         .child = {.pidfd = -1},
                         .control = -1,
                         .keeper = -1,
                         .adoption = -1,
                         .due = INT64_MAX};
    snprintf(b->id, sizeof(b->id), "%s", id);
    return b;
}

/* Let go of the process, which has ended or is about to. */
static void clear_process(struct blockds *blockds, struct blockd *b)
{
    loop_close(blockds->loop, &b->keeper);
    loop_close(blockds->loop, &b->adoption);
    if (b->adopted)
        loop_close(blockds->loop, &b->child.pidfd);
    child_clear(&b->child);
    b->due = INT64_MAX;
}

/* Nobody can reach it any more; callers that wait are reset once its process is gone too. */
static void clear_control(struct blockds *blockds, struct blockd *b)
{
    blockd_files_remove(blockds->run_dir, b->id);
    loop_close(blockds->loop, &b->control);
}

static void forget(struct blockds *blockds, struct blockd *b)
{
    clear_process(blockds, b);
    clear_control(blockds, b);
    keeper_drop(&b->stored);
    b->phase = BLOCKD_FREE;
}

/* argv in place: the arguments already are strings one behind the other. */
static void build_argv(const struct blockds *blockds, struct blockd *b,
                       char *argv[SUPERVISOR_ARG_COUNT_MAX + 2])
{
    size_t count = 0;

    argv[count++] = (char *)blockds->program;
    for (char *arg = b->args; arg < b->args + b->args_len; arg += strlen(arg) + 1)
        argv[count++] = arg;
    assert(count <= SUPERVISOR_ARG_COUNT_MAX + 1);
    argv[count] = NULL;
}

/* For the words of an operator; "" when unknown. */
static const char *volume_name(const struct blockd *b)
{
    const char *end = b->args + b->args_len;

    for (const char *arg = b->args; arg < end; arg += strlen(arg) + 1) {
        const char *value = arg + strlen(arg) + 1;

        if (strcmp(arg, "--name") == 0 && value < end)
            return value;
    }
    return "";
}

/* A keeper socket that already holds what a predecessor had stored, and the end packet. */
static int make_keeper(const struct fd_list *stored, int *ret_ours, int *ret_theirs)
{
    int ends[2];
    int rc;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    rc = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : keeper_send_all(ends[0], stored);
    if (rc == 0)
        rc = keeper_send(ends[0], "", -1);
    if (rc < 0) {
        close(ends[0]);
        close(ends[1]);
        return rc;
    }
    *ret_ours = ends[0];
    *ret_theirs = ends[1];
    return 0;
}

const char *blockd_volume(const struct blockd *b)
{
    const char *end = b->args + b->args_len;
    const char *arg = b->args;
    bool next = false;

    for (; arg < end; arg += strlen(arg) + 1) {
        if (next)
            return arg;
        next = strcmp(arg, "--name") == 0;
    }
    return "";
}

/* Start the process of a row that has its control socket. Nothing has changed when it fails. */
static int run(struct blockds *blockds, struct blockd *b, struct error *err)
{
    char *argv[SUPERVISOR_ARG_COUNT_MAX + 2];
    struct child_plan plan = {.path = blockds->program, .argv = argv, .fd3 = b->control};
    cleanup_close int ours = -1;
    cleanup_close int theirs = -1;
    struct error files_err;
    int rc = make_keeper(&b->stored, &ours, &theirs);

    if (rc == 0)
        rc = loop_add(blockds->loop, ours, LOOP_KEEPER, blockds_index(blockds, b));
    if (rc < 0)
        return error_errno(err, rc, "image \"%s\": cannot make a keeper socket", b->id);
    build_argv(blockds, b, argv);
    plan.fd4 = theirs;
    rc = child_spawn(&plan, &b->child, err);
    if (rc < 0) {
        loop_close(blockds->loop, &ours);
        return error_wrap(err, "image \"%s\"", b->id);
    }
    b->keeper = steal_fd(&ours);
    b->adopted = false;
    b->phase = BLOCKD_RUNNING;
    b->due = INT64_MAX;
    /* Only an adoption that gets no answer misses it. */
    if (blockd_files_write_pid(blockds->run_dir, b->id, b->child.pid, &files_err) < 0)
        log_warning("%s", files_err.text);
    return 0;
}

int blockds_start(struct blockds *blockds, const char *id, const char *args, uint32_t args_len,
                  struct error *err)
{
    struct blockd *b = find(blockds, id);
    int rc;

    if (b && b->phase == BLOCKD_DYING)
        return error_set(err, -EBUSY, "image \"%s\": process %d was killed but has not ended yet",
                         id, (int)b->child.pid);
    if (b)
        return error_set(err, -EEXIST, "image \"%s\" has a radosvol-blockd", id);
    b = blockds_claim(blockds, id);
    if (!b)
        return error_set(err, -ENOSPC,
                         "image \"%s\": %d volumes are attached, the most there can be", id,
                         SUPERVISOR_BLOCKDS_MAX);
    memcpy(b->args, args, args_len);
    b->args_len = args_len;
    rc = blockd_files_listen(blockds->run_dir, id, &b->control, err);
    if (rc == 0)
        rc = blockd_files_write_args(blockds->run_dir, id, args, args_len, err);
    if (rc == 0)
        rc = run(blockds, b, err);
    if (rc < 0) {
        forget(blockds, b);
        return rc;
    }
    LOG_VOLUME(blockd_volume(b));
    log_info("image \"%s\": started radosvol-blockd, process %d", id, (int)b->child.pid);
    return 0;
}

int blockds_kill(struct blockds *blockds, const char *id, struct error *err)
{
    struct blockd *b = find(blockds, id);
    int64_t deadline = deadline_in_ms(KILL_WAIT_MS);
    pid_t pid;

    if (!b)
        return 0;
    LOG_VOLUME(blockd_volume(b));
    if (b->phase == BLOCKD_WAITING) {
        forget(blockds, b);
        return 0;
    }
    if (b->child.pidfd < 0)
        return error_set(err, -EBUSY,
                         "image \"%s\": its radosvol-blockd was started by a supervisor that died, "
                         "and has not answered this one yet",
                         id);
    child_kill(&b->child, SIGKILL);
    if (b->phase != BLOCKD_DYING) {
        b->phase = BLOCKD_DYING;
        loop_close(blockds->loop, &b->keeper);
        loop_close(blockds->loop, &b->adoption);
        b->due = INT64_MAX;
        /* What it stored is kept until it has ended: only then does closing "fuse" abort the
         * requests that closing "loop" would wait for. */
        clear_control(blockds, b);
    }
    pid = b->child.pid;
    if (child_wait(&b->child, deadline) < 0)
        return error_set(err, -ETIMEDOUT, "image \"%s\": process %d was killed but does not end",
                         id, (int)pid);
    if (!b->adopted)
        waitpid(pid, NULL, WNOHANG);
    forget(blockds, b);
    log_info("image \"%s\": killed radosvol-blockd, process %d", id, (int)pid);
    return 0;
}

uint32_t blockds_list(const struct blockds *blockds, char (*ret)[SUPERVISOR_ID_MAX])
{
    uint32_t count = 0;

    for (unsigned i = 0; i < blockds->used; i++) {
        if (blockds->rows[i].phase != BLOCKD_FREE)
            memcpy(ret[count++], blockds->rows[i].id, SUPERVISOR_ID_MAX);
    }
    return count;
}

/* The process has died and left descriptors: start it again now, or later when it keeps dying. */
static void restart(struct blockds *blockds, struct blockd *b)
{
    if (blockds->stopping) {
        forget(blockds, b);
        return;
    }
    b->due = crashes_add(&b->crashes, clock_now());
    if (b->due == INT64_MAX) {
        log_error("volume '%s', image \"%s\": radosvol-blockd crashed %d times within a minute; "
                  "gave up: all I/O to it fails from now on; stop its containers and start them "
                  "again",
                  volume_name(b), b->id, CRASHES_MAX);
        forget(blockds, b);
    } else if (b->args_len == 0 || b->control < 0) {
        log_error("image \"%s\": radosvol-blockd was not wholly adopted and cannot be started "
                  "again: its device fails all I/O from now on",
                  b->id);
        forget(blockds, b);
    } else {
        b->phase = BLOCKD_WAITING;
    }
}

/* Take the packets that wait. 0, or -ECONNRESET when the blockd has ended or closed the socket. */
static int drain_keeper(struct blockds *blockds, struct blockd *b)
{
    char name[KEEPER_NAME_MAX];
    int fd;
    LOG_VOLUME(blockd_volume(b));

    for (int i = 0; i < KEEPER_BURST; i++) {
        int rc = keeper_receive(b->keeper, name, &fd);

        if (rc == -EBADMSG) {
            log_warning("image \"%s\": ignored a malformed packet of radosvol-blockd", b->id);
        } else if (rc < 0) {
            return rc == -EAGAIN ? 0 : -ECONNRESET;
        } else if (fd < 0) {
            fd_list_remove(&b->stored, name);
        } else if (b->adopted && strcmp(name, BLOCKD_CONTROL_NAME) == 0) {
            loop_close(blockds->loop, &b->control);
            b->control = fd;
        } else if (fd_list_put(&b->stored, name, fd) < 0) {
            log_warning("image \"%s\": radosvol-blockd stores too many descriptors; \"%s\" is "
                        "not kept",
                        b->id, name);
        }
    }
    return 0;
}

/* WORDS tell how the process ended; CLEAN: it said so by exit status 0. */
static void on_end(struct blockds *blockds, struct blockd *b, bool clean, const char *words)
{
    LOG_VOLUME(blockd_volume(b));

    if (b->keeper >= 0)
        drain_keeper(blockds, b); /* what it stored just before */
    clear_process(blockds, b);
    if (b->phase == BLOCKD_DYING || clean) {
        log_info("image \"%s\": radosvol-blockd has ended", b->id);
        forget(blockds, b);
    } else if (b->stored.count == 0) {
        if (b->adopted)
            log_info("image \"%s\": radosvol-blockd has ended", b->id);
        else
            log_error("image \"%s\": radosvol-blockd %s before the volume was attached", b->id,
                      words);
        forget(blockds, b);
    } else {
        log_error("image \"%s\": radosvol-blockd %s; its device waits for the next one", b->id,
                  words);
        restart(blockds, b);
    }
}

void blockds_on_keeper(struct blockds *blockds, uint32_t index)
{
    struct blockd *b = &blockds->rows[index];

    if (drain_keeper(blockds, b) == 0)
        return;
    loop_close(blockds->loop, &b->keeper);
    /* An adopted one whose pidfd is not known shows its end only here. */
    if (b->adopted && b->child.pidfd < 0)
        on_end(blockds, b, false, "ended");
}

void blockds_on_adopted_end(struct blockds *blockds, uint32_t index)
{
    on_end(blockds, &blockds->rows[index], false, "ended");
}

bool blockds_on_exit(struct blockds *blockds, pid_t pid, int status)
{
    char words[64];

    for (unsigned i = 0; i < blockds->used; i++) {
        struct blockd *b = &blockds->rows[i];

        if (b->phase == BLOCKD_FREE || b->adopted || b->child.pid != pid)
            continue;
        if (WIFSIGNALED(status))
            snprintf(words, sizeof(words), "was ended by signal %d", WTERMSIG(status));
        else
            snprintf(words, sizeof(words), "ended with status %d", WEXITSTATUS(status));
        on_end(blockds, b, WIFEXITED(status) && WEXITSTATUS(status) == 0, words);
        return true;
    }
    return false;
}

int64_t blockds_due(const struct blockds *blockds)
{
    int64_t due = INT64_MAX;

    for (unsigned i = 0; i < blockds->used; i++) {
        if (blockds->rows[i].phase != BLOCKD_FREE)
            due = deadline_earlier(due, blockds->rows[i].due);
    }
    return due;
}

static void start_again(struct blockds *blockds, struct blockd *b)
{
    struct error err;
    LOG_VOLUME(blockd_volume(b));

    blockds->restarts++;
    if (run(blockds, b, &err) == 0) {
        log_info("image \"%s\": started radosvol-blockd again, process %d", b->id,
                 (int)b->child.pid);
        return;
    }
    log_error("%s", err.text);
    restart(blockds, b);
}

void blockds_tick(struct blockds *blockds)
{
    int64_t now = clock_now();

    for (unsigned i = 0; i < blockds->used; i++) {
        struct blockd *b = &blockds->rows[i];

        if (b->phase == BLOCKD_FREE || b->due > now)
            continue;
        if (b->phase == BLOCKD_WAITING) {
            start_again(blockds, b);
        } else {
            LOG_VOLUME(blockd_volume(b));
            log_error("image \"%s\": radosvol-blockd does not answer this supervisor; it goes on, "
                      "but a crash of it would fail its device's I/O",
                      b->id);
            b->due = INT64_MAX;
        }
    }
}

unsigned blockds_leave(struct blockds *blockds)
{
    unsigned staying = 0;

    for (unsigned i = 0; i < blockds->used; i++) {
        struct blockd *b = &blockds->rows[i];

        if (b->phase == BLOCKD_WAITING)
            start_again(blockds, b);
        if (b->phase == BLOCKD_RUNNING && b->keeper >= 0)
            drain_keeper(blockds, b);
        if (b->phase == BLOCKD_RUNNING && !b->adopted && b->stored.count == 0) {
            child_kill(&b->child, SIGKILL);
            forget(blockds, b);
        }
        if (b->phase == BLOCKD_RUNNING || b->phase == BLOCKD_ADOPTING)
            staying++;
    }
    return staying;
}

void blockds_stop(struct blockds *blockds, int signal_number)
{
    blockds->stopping = true;
    for (unsigned i = 0; i < blockds->used; i++) {
        if (blockds->rows[i].phase != BLOCKD_FREE)
            child_kill(&blockds->rows[i].child, signal_number);
    }
}

unsigned blockds_count(const struct blockds *blockds)
{
    unsigned count = 0;

    for (unsigned i = 0; i < blockds->used; i++)
        count += blockds->rows[i].phase != BLOCKD_FREE;
    return count;
}
