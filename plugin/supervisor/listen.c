/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/listen.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

/* A server whose supervisor was killed dies too, a moment later: see it gone before refusing. */
#define PROBES         10
#define PROBE_DELAY_MS 100

/* Whether somebody accepts connections at ADDRESS: 1 or 0. */
static int answers(const struct sockaddr_un *address)
{
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return 1; /* unknown: leave it alone */
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
        return 1;
    return errno != ECONNREFUSED && errno != ENOENT;
}

static int make_room(const struct sockaddr_un *address, struct error *err)
{
    const char *path = address->sun_path;
    struct stat st;

    if (lstat(path, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        return error_errno(err, -errno, "cannot look at \"%s\"", path);
    }
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, -EEXIST,
                         "\"%s\" exists and is not a socket: remove it, or choose "
                         "another path with --socket",
                         path);
    for (int i = 0; answers(address); i++) {
        if (i == PROBES)
            return error_set(err, -EADDRINUSE,
                             "another process serves \"%s\": stop it, or choose another path with "
                             "--socket",
                             path);
        poll(NULL, 0, PROBE_DELAY_MS);
    }
    if (unlink(path) < 0 && errno != ENOENT)
        return error_errno(err, -errno, "cannot remove the stale socket \"%s\"", path);
    return 0;
}

static int make_parents(const char *path, struct error *err)
{
    char parent[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    char *slash;

    snprintf(parent, sizeof(parent), "%s", path);
    slash = strrchr(parent, '/');
    if (!slash || slash == parent)
        return 0;
    *slash = '\0';
    return file_make_dir(parent, 0755, err);
}

int listen_open(const char *path, int *ret, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_close int fd = -1;
    mode_t mask;
    int rc;

    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(err, -ENAMETOOLONG, "socket \"%s\": the path is over %zu bytes", path,
                         sizeof(address.sun_path) - 1);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    rc = make_parents(path, err);
    if (rc == 0)
        rc = make_room(&address, err);
    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, -errno, "cannot make a socket");
    mask = umask(0177);
    rc = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(mask);
    if (rc < 0)
        return error_errno(err, rc, "cannot make \"%s\"", path);
    if (listen(fd, SOMAXCONN) < 0)
        return error_errno(err, -errno, "cannot listen on \"%s\"", path);
    *ret = steal_fd(&fd);
    return 0;
}
