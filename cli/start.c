/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/start.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FIRST_FREE 5 /* above what a child is given */

static void cleanup_actionsp(posix_spawn_file_actions_t *actions)
{
    posix_spawn_file_actions_destroy(actions);
}

static void cleanup_attributesp(posix_spawnattr_t *attributes)
{
    posix_spawnattr_destroy(attributes);
}

/* FD under a number that no action overwrites before it is used; -1 stays -1. */
static int above(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);
}

static int place(posix_spawn_file_actions_t *actions, int from, int to)
{
    return from < 0 ? 0 : posix_spawn_file_actions_adddup2(actions, from, to);
}

int start_process(const char *program, char *const argv[], int fd3, int fd4, int output,
                  pid_t *ret_pid, struct error *err)
{
    __attribute__((cleanup(cleanup_actionsp))) posix_spawn_file_actions_t actions = {0};
    __attribute__((cleanup(cleanup_attributesp))) posix_spawnattr_t attributes = {0};
    cleanup_close int third = above(fd3);
    cleanup_close int fourth = above(fd4);
    cleanup_close int out = above(output);
    int r;

    if ((fd3 >= 0 && third < 0) || (fd4 >= 0 && fourth < 0) || (output >= 0 && out < 0))
        return error_errno(err, -errno, "cannot start %s", program);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = place(&actions, out, STDOUT_FILENO);
    if (r == 0)
        r = place(&actions, out, STDERR_FILENO);
    if (r == 0)
        r = place(&actions, third, 3);
    if (r == 0)
        r = place(&actions, fourth, 4);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(&actions,
                                                     fourth >= 0 ? 5 : (third >= 0 ? 4 : 3));
    if (r == 0)
        r = posix_spawn(ret_pid, program, &actions, &attributes, argv, environ);
    return r == 0 ? 0 : error_errno(err, -r, "cannot start %s", program);
}
