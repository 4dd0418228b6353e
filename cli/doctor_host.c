/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/spawn.h"
#include "block/backend.h"
#include "block/fuse_mount.h"
#include "block/loop.h"
#include "volume/filesystem.h"

/* This host: what the data path and Docker need here. */

#define PLUGIN_MS 5000

static void check_kernel(struct doctor *doctor, const struct backend_ops *backend)
{
    struct utsname system;
    unsigned major = 0;
    unsigned minor = 0;
    unsigned version;
    struct error err;

    uname(&system);
    if (sscanf(system.release, "%u.%u", &major, &minor) != 2) {
        doctor_add(doctor, "kernel", RESULT_WARNING, "cannot tell the version of '%s'",
                   system.release);
        return;
    }
    version = major * 1000 + minor;
    if (version < 5008)
        doctor_add(doctor, "kernel", RESULT_FAILED,
                   "Linux %s is too old: 5.8 is needed, 6.9 is better", system.release);
    else if (backend != &nbd_backend && fuse_mount_survives(&err) < 0)
        doctor_add(doctor, "kernel", RESULT_WARNING, "%s", err.text);
    else
        doctor_add(doctor, "kernel", RESULT_OK, "Linux %s", system.release);
}

/* FUSE is of interest where it is what is used, or would be if it worked. */
static void check_devices(struct doctor *doctor, const struct backend_ops *backend,
                          const struct error *missing)
{
    struct error err;

    if (geteuid() != 0) {
        doctor_add(doctor, "devices", RESULT_WARNING,
                   "only root can tell whether block devices can be made: run this as root");
        return;
    }
    if (backend)
        doctor_add(doctor, "back end", RESULT_OK, "%s", backend->name);
    else
        doctor_add(doctor, "back end", RESULT_FAILED, "%s", missing->text);
    if (backend == &nbd_backend)
        return;
    doctor_add_call(doctor, "FUSE", fuse_mount_probe(&err), "/dev/fuse can be used", RESULT_FAILED,
                    &err);
    doctor_add_call(doctor, "FUSE time limit", fuse_mount_time_limit(&err), "none", RESULT_FAILED,
                    &err);
    doctor_add_call(doctor, "loop devices", loop_probe(&err), "can be made", RESULT_FAILED, &err);
}

static void check_programs(struct doctor *doctor)
{
    char path[PATH_MAX];
    struct error err;

    for (int fs = FILESYSTEM_EXT4; fs <= FILESYSTEM_XFS; fs++) {
        char name[32];

        snprintf(name, sizeof(name), "tools for %s", filesystem_name((enum filesystem)fs));
        doctor_add_call(doctor, name, filesystem_check_tools((enum filesystem)fs, &err),
                        "installed", RESULT_FAILED, &err);
    }
    snprintf(path, sizeof(path), "%s/radosvol-blockd", doctor->cli->settings.libexec_dir);
    if (access(path, X_OK) == 0)
        doctor_add(doctor, "radosvol-blockd", RESULT_OK, "%s", path);
    else
        doctor_add(doctor, "radosvol-blockd", RESULT_FAILED,
                   "%s cannot be run (%s): install the plugin's programs, or say where they are "
                   "with --libexec-dir",
                   path, error_words(-errno));
}

static int connect_plugin(const char *path, int *ret)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    *ret = steal_fd(&fd);
    return 0;
}

/* Ask what changes nothing: to the plugin, Plugin.Activate is the beginning of a dockerd's life. 0,
 * -ETIMEDOUT, -EPROTO, or what the socket said. */
static int ask_plugin(const char *path)
{
    static const char request[] = "POST /VolumeDriver.Capabilities HTTP/1.1\r\nHost: localhost\r\n"
                                  "Content-Length: 0\r\nConnection: close\r\n\r\n";
    const int64_t deadline = deadline_in_ms(PLUGIN_MS);
    cleanup_close int fd = -1;
    char answer[4096];
    size_t len = 0;
    int r = connect_plugin(path, &fd);

    if (r < 0)
        return r;
    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        return -EPROTO;
    while (len < sizeof(answer) - 1) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (poll(&ready, 1, deadline_left_ms(deadline)) <= 0)
            return -ETIMEDOUT;
        n = read(fd, answer + len, sizeof(answer) - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    answer[len] = '\0';
    return strstr(answer, " 200 ") && strstr(answer, "\"Scope\"") ? 0 : -EPROTO;
}

static void check_plugin(struct doctor *doctor)
{
    const char *path = doctor->cli->settings.socket;
    int r;

    progress("asking the plugin");
    r = ask_plugin(path);
    if (r == 0)
        doctor_add(doctor, "plugin", RESULT_OK, "answers at %s", path);
    else if (r == -ENOENT)
        doctor_add(doctor, "plugin", RESULT_WARNING,
                   "there is no %s: start docker-volume-rados before dockerd, or say with --socket "
                   "where it listens",
                   path);
    else
        doctor_add(doctor, "plugin", RESULT_FAILED,
                   "no answer at %s (%s): Docker cannot use volumes; restart docker-volume-rados "
                   "and look at its log",
                   path, r == -EPROTO ? "nothing that makes sense" : error_words(r));
}

void doctor_check_host(struct doctor *doctor)
{
    struct error err;
    const struct backend_ops *backend = backend_choose(doctor->cli->settings.backend, NULL, &err);

    check_kernel(doctor, backend);
    check_devices(doctor, backend, &err);
    check_programs(doctor);
    check_plugin(doctor);
}
