/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/blockd_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static int file_path(const char *run_dir, const char *id, const char *suffix, char *ret,
                     size_t size)
{
    int len = snprintf(ret, size, "%s/blockd/%s.%s", run_dir, id, suffix);

    return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

int blockd_files_address(const char *run_dir, const char *id, struct sockaddr_un *ret,
                         struct error *err)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (file_path(run_dir, id, "sock", ret->sun_path, sizeof(ret->sun_path)) < 0)
        return error_set(err, -ENAMETOOLONG,
                         "image \"%s\": the control socket's path in \"%s\" is over %zu bytes; "
                         "choose a shorter --run-dir",
                         id, run_dir, sizeof(ret->sun_path) - 1);
    return 0;
}

int blockd_files_listen(const char *run_dir, const char *id, int *ret, struct error *err)
{
    cleanup_close int fd = -1;
    struct sockaddr_un address;
    mode_t mask;
    int rc = blockd_files_address(run_dir, id, &address, err);

    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, -errno, "image \"%s\": cannot make a socket", id);
    unlink(address.sun_path);
    mask = umask(0177);
    rc = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(mask);
    if (rc < 0)
        return error_errno(err, rc, "cannot make \"%s\"", address.sun_path);
    if (listen(fd, SOMAXCONN) < 0)
        return error_errno(err, -errno, "cannot listen on \"%s\"", address.sun_path);
    *ret = steal_fd(&fd);
    return 0;
}

static int write_file(const char *run_dir, const char *id, const char *suffix, const void *data,
                      size_t len, struct error *err)
{
    char path[PATH_MAX];
    cleanup_close int fd = -1;
    ssize_t written;

    if (file_path(run_dir, id, suffix, path, sizeof(path)) < 0)
        return error_set(err, -ENAMETOOLONG, "\"%s\" is too long", run_dir);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    written = fd < 0 ? -1 : write(fd, data, len);
    if (written < 0)
        return error_errno(err, -errno, "cannot write \"%s\"", path);
    if ((size_t)written != len)
        return error_errno(err, -ENOSPC, "cannot write \"%s\"", path);
    return 0;
}

static int read_file(const char *path, char *ret, size_t size, size_t *ret_len)
{
    cleanup_close int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, ret, size);

    if (len < 0)
        return -errno;
    *ret_len = (size_t)len;
    return 0;
}

int blockd_files_write_args(const char *run_dir, const char *id, const char *args, size_t len,
                            struct error *err)
{
    return write_file(run_dir, id, "args", args, len, err);
}

int blockd_files_read_args(const char *run_dir, const char *id, char ret[SUPERVISOR_ARGS_MAX],
                           size_t *ret_len, struct error *err)
{
    char path[PATH_MAX];
    int rc = file_path(run_dir, id, "args", path, sizeof(path));

    if (rc == 0)
        rc = read_file(path, ret, SUPERVISOR_ARGS_MAX, ret_len);
    if (rc < 0)
        return error_errno(err, rc, "cannot read the arguments of image \"%s\"", id);
    if (supervisor_args_check(ret, *ret_len) < 0)
        return error_set(err, -EBADMSG, "\"%s\" does not hold arguments", path);
    return 0;
}

/* Field 22 of /proc/PID/stat, in clock ticks since boot. The second field is the command in
 * parentheses and may hold anything, so count from its end. */
static int process_start_time(pid_t pid, unsigned long long *ret)
{
    char path[32];
    char text[1024];
    char *field;
    size_t len = 0;
    int rc;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    rc = read_file(path, text, sizeof(text) - 1, &len);
    if (rc < 0)
        return rc == -ENOENT ? -ESRCH : rc;
    text[len] = '\0';
    field = strrchr(text, ')');
    for (int number = 2; field && number < 22; number++)
        field = strchr(field + 1, ' ');
    if (!field)
        return -EBADMSG;
    *ret = strtoull(field + 1, NULL, 10);
    return 0;
}

int blockd_files_write_pid(const char *run_dir, const char *id, pid_t pid, struct error *err)
{
    unsigned long long start;
    char text[64];
    int len;
    int rc = process_start_time(pid, &start);

    if (rc < 0)
        return error_errno(err, rc, "cannot read the start time of process %d", (int)pid);
    len = snprintf(text, sizeof(text), "%d %llu\n", (int)pid, start);
    return write_file(run_dir, id, "pid", text, (size_t)len, err);
}

int blockd_files_open_pid(const char *run_dir, const char *id, pid_t *ret_pid, int *ret_pidfd)
{
    cleanup_close int pidfd = -1;
    unsigned long long start;
    unsigned long long now;
    char path[PATH_MAX];
    char text[64];
    char *end;
    long pid;
    size_t len = 0;
    int rc = file_path(run_dir, id, "pid", path, sizeof(path));

    if (rc == 0)
        rc = read_file(path, text, sizeof(text) - 1, &len);
    if (rc < 0)
        return rc;
    text[len] = '\0';
    pid = strtol(text, &end, 10);
    if (pid <= 1 || pid > INT_MAX || *end != ' ')
        return -EBADMSG;
    start = strtoull(end + 1, &end, 10);
    if (*end != '\n')
        return -EBADMSG;
    pidfd = pidfd_open((pid_t)pid, 0);
    if (pidfd < 0)
        return -errno;
    /* After the pidfd is open: its process cannot be replaced unseen any more. */
    rc = process_start_time((pid_t)pid, &now);
    if (rc == 0 && now != start)
        rc = -ESRCH;
    if (rc < 0)
        return rc;
    *ret_pid = (pid_t)pid;
    *ret_pidfd = steal_fd(&pidfd);
    return 0;
}

void blockd_files_remove(const char *run_dir, const char *id)
{
    static const char *const suffixes[] = {"sock", "args", "pid"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (file_path(run_dir, id, suffixes[i], path, sizeof(path)) == 0)
            unlink(path);
    }
}
