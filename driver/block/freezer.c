/* SPDX-License-Identifier: Apache-2.0 */
#include "block/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "block/keeper.h"
#include "block/loop.h"

/* How long a thaw, which writes a superblock, is waited for. */
#define THAW_MS 5000

/* Between two looks whether a process has ended that is about to. */
#define LOOK_NS (2 * NS_PER_MS)

struct freezer {
    char program[PATH_MAX];
    char device[LOOP_DEVICE_MAX];
    struct fd_keeper *keeper;
    pid_t pid;  /* of the freeze going on, or of one that was given up; 0: none */
    int socket; /* to it, or -1 */
};

/* Start radosvol-freeze with FD as descriptor NUMBER and no other. */
static int start(const struct freezer *freezer, const char *argument, int fd, int number,
                 pid_t *ret_pid)
{
    char *const argv[] = {(char *)freezer->program, (char *)argument, NULL};
    char *const environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t set;
    int r;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, fd, number);
    posix_spawn_file_actions_addclosefrom_np(&actions, number + 1);
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attributes, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attributes, &set);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    r = -posix_spawn(ret_pid, freezer->program, &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

/* Wait for PID's end until the deadline: 0 with its status, or -ETIMEDOUT. */
static int wait_end(pid_t pid, int64_t deadline, int *ret_status)
{
    const struct timespec moment = {.tv_nsec = LOOK_NS};

    for (;;) {
        pid_t r = waitpid(pid, ret_status, WNOHANG);

        if (r == pid)
            return 0;
        if (r < 0 && errno != EINTR) {
            *ret_status = -1;
            return 0;
        }
        if (deadline_left_ms(deadline) == 0)
            return -ETIMEDOUT;
        nanosleep(&moment, NULL);
    }
}

/* Thaw what FD is in. 0: it was frozen; -EINVAL: it was not; or -ETIMEDOUT. */
static int thaw_by_descriptor(const struct freezer *freezer, int fd)
{
    int status = 0;
    pid_t pid;
    int r = start(freezer, "--thaw", fd, 4, &pid);

    if (r == 0)
        r = wait_end(pid, deadline_in_ms(THAW_MS), &status);
    if (r < 0)
        return r;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EINVAL;
}

/* What our program, or a predecessor's, left frozen by its end. */
static int thaw_kept(const struct freezer *freezer)
{
    cleanup_close int fd = freezer->keeper->fetch(freezer->keeper, FREEZER_KEPT_NAME);

    return fd < 0 ? -EINVAL : thaw_by_descriptor(freezer, fd);
}

static void forget(const struct freezer *freezer)
{
    int r = freezer->keeper->store(freezer->keeper, FREEZER_KEPT_NAME, -1);

    if (r < 0)
        log_debug("cannot take descriptor \"%s\" back: %s", FREEZER_KEPT_NAME, error_words(r));
}

/* Nothing more to say to our program, which ends by itself; reap it if that is soon. */
static void leave(struct freezer *freezer, int64_t deadline)
{
    int status;

    if (freezer->socket >= 0)
        close(freezer->socket);
    freezer->socket = -1;
    forget(freezer);
    if (freezer->pid > 0 && wait_end(freezer->pid, deadline, &status) == 0)
        freezer->pid = 0;
}

int freezer_open(const char *program, const char *device, struct fd_keeper *keeper,
                 struct freezer **ret)
{
    struct freezer *freezer = calloc(1, sizeof(*freezer));

    if (!freezer)
        return -ENOMEM;
    freezer->keeper = keeper;
    freezer->socket = -1;
    snprintf(freezer->program, sizeof(freezer->program), "%s", program);
    snprintf(freezer->device, sizeof(freezer->device), "%s", device);
    if (thaw_kept(freezer) == 0)
        log_debug("%s: thawed what a predecessor left frozen", device);
    forget(freezer);
    *ret = freezer;
    return 0;
}

void freezer_close(struct freezer *freezer)
{
    if (!freezer)
        return;
    freezer_thaw(freezer);
    free(freezer);
}

/* The next word of our program, and the descriptor that may come with it (the caller's, or -1):
 * 0, -ETIMEDOUT, or -ECONNRESET (it has ended). */
static int hear(const struct freezer *freezer, int64_t deadline, char word[KEEPER_NAME_MAX],
                int *ret_fd)
{
    struct pollfd ready = {.fd = freezer->socket, .events = POLLIN};
    int r;

    *ret_fd = -1;
    do {
        r = poll(&ready, 1, deadline_left_ms(deadline));
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        return -ETIMEDOUT;
    r = keeper_receive(freezer->socket, word, ret_fd);
    return r < 0 ? -ECONNRESET : 0;
}

static int launch(struct freezer *freezer, struct error *err)
{
    int sockets[2];
    int r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return error_errno(err, -errno, "cannot make a socket for '%s'", freezer->program);
    r = start(freezer, freezer->device, sockets[1], 3, &freezer->pid);
    close(sockets[1]);
    freezer->socket = sockets[0];
    if (r < 0)
        freezer->pid = 0;
    return r < 0 ? error_errno(err, r, "cannot start '%s'", freezer->program) : 0;
}

/* Have the directory kept that our program has opened. 1: there is no mount. */
static int take_mount(struct freezer *freezer, int64_t deadline, struct error *err)
{
    cleanup_close int fd = -1;
    char word[KEEPER_NAME_MAX];
    int r = hear(freezer, deadline, word, &fd);

    if (r == 0 && strcmp(word, FREEZE_NONE) == 0)
        return 1;
    if (r == 0 && (fd < 0 || strcmp(word, FREEZE_MOUNT) != 0))
        r = -EBADMSG;
    if (r == 0)
        r = freezer->keeper->store(freezer->keeper, FREEZER_KEPT_NAME, fd);
    return r < 0 ? error_errno(err, r, "cannot find where '%s' is mounted", freezer->device) : 0;
}

static int begin(struct freezer *freezer, int64_t deadline, struct error *err)
{
    cleanup_close int fd = -1;
    char word[KEEPER_NAME_MAX] = "";
    int code = 0;
    int r = keeper_send(freezer->socket, FREEZE_BEGIN, -1);

    if (r == 0)
        r = hear(freezer, deadline, word, &fd);
    if (r == 0 && strcmp(word, FREEZE_DONE) == 0)
        return 0;
    if (r == 0 && (sscanf(word, FREEZE_FAILED "%d", &code) != 1 || code <= 0))
        r = -EBADMSG;
    if (r == 0)
        r = -code;
    if (r == -EBUSY)
        return error_set(err, r, "the file system on '%s' is frozen by somebody else",
                         freezer->device);
    if (r == -ETIMEDOUT)
        return error_set(err, r,
                         "the file system on '%s' did not write everything out in time: does the "
                         "cluster answer, and are there fewer writes?",
                         freezer->device);
    return error_errno(err, r, "cannot freeze the file system on '%s'", freezer->device);
}

int freezer_freeze(void *arg, int64_t deadline, struct error *err)
{
    struct freezer *freezer = arg;
    int status;
    int r;

    if (freezer->pid > 0 && wait_end(freezer->pid, clock_now(), &status) < 0)
        return error_set(err, -EBUSY, "an earlier freeze of '%s' has not ended yet",
                         freezer->device);
    freezer->pid = 0;
    r = launch(freezer, err);
    if (r == 0)
        r = take_mount(freezer, deadline, err);
    if (r == 0)
        r = begin(freezer, deadline, err);
    if (r == 0)
        return 0;
    leave(freezer, r == -ETIMEDOUT ? clock_now() : deadline_in_ms(THAW_MS));
    return r == 1 ? 0 : r;
}

int freezer_thaw(void *arg)
{
    struct freezer *freezer = arg;
    cleanup_close int fd = -1;
    char word[KEEPER_NAME_MAX] = "";
    int r;

    if (freezer->socket < 0)
        return 0; /* there was nothing to freeze */
    r = keeper_send(freezer->socket, FREEZE_END, -1);
    r = hear(freezer, deadline_in_ms(THAW_MS), word, &fd);
    if (r == -ECONNRESET)
        r = thaw_kept(freezer); /* our program died; what it froze is frozen still */
    else if (r == 0 && strcmp(word, FREEZE_ENDED) != 0)
        r = -ETIMEDOUT;
    leave(freezer, deadline_in_ms(THAW_MS));
    return r < 0 ? -ETIMEDOUT : 0;
}
