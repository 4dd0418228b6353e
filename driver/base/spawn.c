/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

/* How a tool is run.
 *
 * Happy path: its standard input is a finished file (/dev/null, or memory holding INPUT), so nobody
 * has to feed it; its output is one pipe. We wait for the pipe and the process together, keep the
 * last bytes of the output, and are done when the process has ended: a grandchild that keeps the
 * pipe open does not keep us.
 *
 * At the deadline the tool's whole process group is killed. A tool that waits for a dead device
 * cannot die yet; then the caller goes on all the same, and a thread of its own reaps the tool
 * whenever the device lets go.
 *
 * Every descriptor made here is close-on-exec, and the tool is given 0, 1, 2 and PASS_FD as 3 and
 * nothing else, whatever a library of ours has left open. */

#define TOOL_PATH_MAX 64
#define KILL_GRACE_MS 1000
#define PIPE_BYTES    65536 /* what Linux gives a pipe */

enum { PASS_FD_NUMBER = 3 };

static const char *const directories[] = {"/usr/sbin", "/usr/bin", "/sbin", "/bin"};

static const struct {
    const char *tool;
    const char *package; /* of Debian */
} packages[] = {
    {"blkid", "util-linux"},    {"blockdev", "util-linux"}, {"dumpe2fs", "e2fsprogs"},
    {"debugfs", "e2fsprogs"},   {"e2fsck", "e2fsprogs"},    {"fsfreeze", "util-linux"},
    {"fstrim", "util-linux"},   {"losetup", "mount"},       {"mkfs.ext4", "e2fsprogs"},
    {"mkfs.xfs", "xfsprogs"},   {"modprobe", "kmod"},       {"mount", "mount"},
    {"resize2fs", "e2fsprogs"}, {"tune2fs", "e2fsprogs"},   {"umount", "mount"},
    {"wipefs", "util-linux"},   {"xfs_admin", "xfsprogs"},  {"xfs_db", "xfsprogs"},
    {"xfs_growfs", "xfsprogs"}, {"xfs_repair", "xfsprogs"},
};

static int find_tool(const char *tool, char *path, size_t size, struct error *err)
{
    assert(*tool && !strchr(tool, '/'));
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
        int len = snprintf(path, size, "%s/%s", directories[i], tool);

        if (len > 0 && (size_t)len < size && access(path, X_OK) == 0)
            return 0;
    }
    for (size_t i = 0; i < sizeof(packages) / sizeof(packages[0]); i++) {
        if (strcmp(packages[i].tool, tool) == 0)
            return error_set(err, -ENOENT,
                             "the tool '%s' is not installed: install the package '%s'", tool,
                             packages[i].package);
    }
    return error_set(err, -ENOENT, "the tool '%s' is not installed", tool);
}

int spawn_check(const char *tool, struct error *err)
{
    char path[TOOL_PATH_MAX];

    return find_tool(tool, path, sizeof(path), err);
}

/* FD again under a number above those the tool gets, so that setting up one of them never
 * overwrites another. -1 with errno on failure. */
static int above_standard(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, PASS_FD_NUMBER + 1);
}

/* What the tool reads: a descriptor, or a negative errno. */
static int open_input(const char *input)
{
    cleanup_close int fd = -1;
    int r;

    if (!input)
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    else
        fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (input) {
        r = file_write_all(fd, input, strlen(input));
        if (r < 0)
            return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
            return -errno;
    }
    r = above_standard(fd);
    return r < 0 ? -errno : r;
}

/* The pipe for what the tool says; our end does not block. 0 or a negative errno. */
static int open_output(int *ret_ours, int *ret_tools)
{
    int ends[2], moved, error;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    moved = above_standard(ends[1]);
    error = errno;
    close(ends[1]);
    if (moved < 0) {
        close(ends[0]);
        return -error;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *ret_ours = ends[0];
    *ret_tools = moved;
    return 0;
}

static int set_up(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int input,
                  int output, int pass_fd)
{
    sigset_t none, all;
    int r = posix_spawn_file_actions_adddup2(actions, input, STDIN_FILENO);

    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, output, STDERR_FILENO);
    if (r == 0 && pass_fd >= 0)
        r = posix_spawn_file_actions_adddup2(actions, pass_fd, PASS_FD_NUMBER);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(actions, pass_fd >= 0 ? PASS_FD_NUMBER + 1
                                                                           : STDERR_FILENO + 1);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setpgroup(attributes, 0);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                             POSIX_SPAWN_SETPGROUP);
    return -r;
}

static int start(const char *path, const char *const argv[], int input, int output, int pass_fd,
                 pid_t *ret)
{
    static const char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                                              NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int r = posix_spawn_file_actions_init(&actions);

    if (r != 0)
        return -r;
    r = posix_spawnattr_init(&attributes);
    if (r == 0) {
        r = set_up(&actions, &attributes, input, output, pass_fd);
        if (r == 0) /* the casts: exec's prototype is older than const, it changes nothing */
            r = -posix_spawn(ret, path, &actions, &attributes, (char *const *)argv,
                             (char *const *)environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

/* The last bytes of an endless text. */
struct tail {
    char text[SPAWN_OUTPUT_MAX]; /* no NUL */
    size_t len;
};

static void tail_add(struct tail *tail, const char *data, size_t len)
{
    size_t room = SPAWN_OUTPUT_MAX - 1;
    size_t keep;

    if (len > room) {
        data += len - room;
        len = room;
    }
    keep = tail->len < room - len ? tail->len : room - len;
    memmove(tail->text, tail->text + tail->len - keep, keep);
    memcpy(tail->text + keep, data, len);
    tail->len = keep + len;
}

/* To one line of printable ASCII: runs of anything white or unprintable become one space. Tools
 * speak ASCII under LC_ALL=C, and what is shown must fit into a log line and into JSON. */
static void tail_line(const struct tail *tail, char *line)
{
    size_t len = 0;

    for (size_t i = 0; i < tail->len; i++) {
        char c = tail->text[i];

        if (c > ' ' && c <= '~')
            line[len++] = c;
        else if (len > 0 && line[len - 1] != ' ')
            line[len++] = ' ';
    }
    if (len > 0 && line[len - 1] == ' ')
        len--;
    line[len] = '\0';
}

/* Take what the pipe holds now, and no more than it can hold, because a tool may print faster than
 * we read. False once the pipe has ended. */
static bool drain(int pipe, struct tail *tail)
{
    char chunk[4096];

    for (size_t taken = 0; taken < PIPE_BYTES;) {
        ssize_t n = read(pipe, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        tail_add(tail, chunk, (size_t)n);
        taken += (size_t)n;
    }
    return true;
}

/* Collect output until the process ends: 0, -ETIMEDOUT or another errno. */
static int watch(int process, int pipe, int64_t deadline, struct tail *tail)
{
    struct pollfd fds[] = {{.fd = process, .events = POLLIN}, {.fd = pipe, .events = POLLIN}};

    for (;;) {
        int n = poll(fds, 2, deadline_left_ms(deadline));

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && fds[1].revents && !drain(pipe, tail))
            fds[1].fd = -1;
        if (n > 0 && fds[0].revents) {
            drain(pipe, tail); /* what it said last */
            return 0;
        }
        if (deadline_left_ms(deadline) == 0)
            return -ETIMEDOUT;
    }
}

static int reap(pid_t pid)
{
    int status;
    pid_t r;

    do
        r = waitpid(pid, &status, 0);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void *reap_later(void *arg)
{
    pid_t *pid = arg;

    reap(*pid);
    free(pid);
    return NULL;
}

/* Wait for the killed tool on a thread of its own. Without one it stays in the process table until
 * we end, dead; that does no harm. */
static void reap_without_us(pid_t pid)
{
    pid_t *arg = malloc(sizeof(*arg));
    pthread_t thread;

    if (!arg)
        return;
    *arg = pid;
    if (pthread_create(&thread, NULL, reap_later, arg) == 0)
        pthread_detach(thread);
    else
        free(arg);
}

static void kill_and_reap(pid_t pid, int process)
{
    struct pollfd ended = {.fd = process, .events = POLLIN};

    kill(-pid, SIGKILL);
    if (process >= 0 && poll(&ended, 1, KILL_GRACE_MS) == 1)
        reap(pid);
    else
        reap_without_us(pid);
}

int spawn_run(const char *const argv[], const char *input, int pass_fd, int64_t deadline,
              struct spawn_result *ret, struct error *err)
{
    cleanup_close int in = -1, ours = -1, tools = -1, passed = -1, process = -1;
    char path[TOOL_PATH_MAX];
    struct tail tail = {.len = 0};
    pid_t pid = -1;
    int r = find_tool(argv[0], path, sizeof(path), err);

    if (r < 0)
        return r;
    in = open_input(input);
    if (in < 0)
        return error_errno(err, in, "cannot run '%s'", argv[0]);
    r = open_output(&ours, &tools);
    if (r == 0 && pass_fd >= 0) {
        passed = above_standard(pass_fd);
        r = passed < 0 ? -errno : 0;
    }
    if (r == 0)
        r = start(path, argv, in, tools, passed, &pid);
    if (r < 0)
        return error_errno(err, r, "cannot run '%s'", argv[0]);
    close(steal_fd(&tools)); /* so that the pipe ends with the tool */

    process = pidfd_open(pid, 0);
    r = process < 0 ? -errno : watch(process, ours, deadline, &tail);
    if (r < 0) {
        kill_and_reap(pid, process);
        tail_line(&tail, ret->output);
        if (r == -ETIMEDOUT)
            return error_set(err, r, "'%s' did not end in time and was killed%s%s", argv[0],
                             *ret->output ? "; it said: " : "", ret->output);
        return error_errno(err, r, "cannot wait for '%s'", argv[0]);
    }
    r = reap(pid);
    if (r < 0)
        return error_errno(err, r, "cannot wait for '%s'", argv[0]);
    ret->status = r;
    tail_line(&tail, ret->output);
    return 0;
}
