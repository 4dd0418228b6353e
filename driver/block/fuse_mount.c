/* SPDX-License-Identifier: Apache-2.0 */
#include "block/fuse_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "block/fuse_wire.h"

#define TIME_LIMIT_MAX 64 /* bytes of a setting's text */

static int open_device(int *ret, struct error *err)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        *ret = fd;
        return 0;
    }
    if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
        return error_errno(err, -errno, "cannot open /dev/fuse (load it with \"modprobe fuse\")");
    return error_errno(err, -errno, "cannot open /dev/fuse");
}

static int open_context(int *ret, struct error *err)
{
    int fd = fsopen("fuse", FSOPEN_CLOEXEC);

    if (fd >= 0) {
        *ret = fd;
        return 0;
    }
    if (errno == EPERM)
        return error_set(err, -EPERM, "may not mount a FUSE file system (needs CAP_SYS_ADMIN)");
    return error_errno(err, -errno, "the kernel cannot make a FUSE file system");
}

int fuse_mount_probe(struct error *err)
{
    cleanup_close int device = -1;
    cleanup_close int context = -1;
    int r = open_device(&device, err);

    if (r < 0)
        return r;
    return open_context(&context, err);
}

int fuse_mount_time_limit(struct error *err)
{
    static const char *const names[] = {"default_request_timeout", "max_request_timeout"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cleanup_free char *text = NULL;
        char path[128];
        unsigned long seconds;
        size_t len;

        snprintf(path, sizeof(path), "/proc/sys/fs/fuse/%s", names[i]);
        if (file_read(path, TIME_LIMIT_MAX, &text, &len, NULL) < 0)
            continue; /* an older kernel, which has no limit */
        seconds = strtoul(text, NULL, 10);
        if (seconds > 0)
            return error_set(err, -ETIME,
                             "fs.fuse.%s is %lu s: volumes would fail when the cluster is away for "
                             "longer; 'sysctl -w fs.fuse.%s=0' and mount them anew",
                             names[i], seconds, names[i]);
    }
    return 0;
}

int fuse_mount_survives(struct error *err)
{
    struct utsname system;
    unsigned major = 0;
    unsigned minor = 0;

    uname(&system);
    if (sscanf(system.release, "%u.%u", &major, &minor) != 2 || major > 6 ||
        (major == 6 && minor >= 9))
        return 0;
    return error_set(
        err, -EOPNOTSUPP,
        "Linux %s: containers see I/O errors when a volume's process crashes; with NBD "
        "(\"modprobe nbd\"), or Linux 6.9 or newer, they do not",
        system.release);
}

static int mount_detached(int fuse_fd, int *ret_root_fd, struct error *err)
{
    cleanup_close int context = -1;
    char number[16];
    const struct {
        const char *key, *value;
    } parameters[] = {
        {"source", "docker-volume-rados"},
        {"fd", number},
        {"rootmode", "40000"},
        {"user_id", "0"},
        {"group_id", "0"},
    };
    int root;
    int r = open_context(&context, err);

    if (r < 0)
        return r;
    snprintf(number, sizeof(number), "%d", fuse_fd);
    for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
        if (fsconfig(context, FSCONFIG_SET_STRING, parameters[i].key, parameters[i].value, 0) < 0)
            return error_errno(err, -errno, "cannot set \"%s\" of a FUSE file system",
                               parameters[i].key);
    }
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return error_errno(err, -errno, "cannot make a FUSE file system");
    root = fsmount(context, FSMOUNT_CLOEXEC,
                   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME);
    if (root < 0)
        return error_errno(err, -errno, "cannot mount a FUSE file system");
    *ret_root_fd = root;
    return 0;
}

/* The kernel's first request, queued by the mount itself, so that reading it never waits. */
static int answer_init(int fuse_fd, uint16_t max_background, struct error *err)
{
    cleanup_free void *packet = malloc(FUSE_WIRE_PACKET_MAX);
    struct fuse_wire_request request;
    struct fuse_init_out out;
    struct fuse_out_header header = {.len = sizeof(header) + sizeof(out)};
    struct iovec parts[2] = {
        {.iov_base = &header, .iov_len = sizeof(header)},
        {.iov_base = &out, .iov_len = sizeof(out)},
    };
    ssize_t len;

    if (!packet)
        return error_errno(err, -ENOMEM, "cannot start a FUSE session");
    len = read(fuse_fd, packet, FUSE_WIRE_PACKET_MAX);
    if (len < 0)
        return error_errno(err, -errno, "cannot read from /dev/fuse");
    if (fuse_wire_decode(packet, (size_t)len, &request) < 0 || request.opcode != FUSE_INIT)
        return error_set(err, -EPROTO, "the kernel did not begin the FUSE session with INIT");
    if (fuse_wire_init(&request, (unsigned)sysconf(_SC_PAGESIZE), max_background, &out) < 0)
        return error_set(err, -EPROTO,
                         "the kernel's FUSE (version %u.%u) is too old: Linux 5.8 is needed",
                         request.init.major, request.init.minor);
    header.unique = request.unique;
    if (writev(fuse_fd, parts, 2) < 0)
        return error_errno(err, -errno, "the kernel refuses the FUSE session");
    return 0;
}

int fuse_mount_open(uint16_t max_background, int *ret_fuse_fd, int *ret_root_fd, struct error *err)
{
    cleanup_close int fuse_fd = -1;
    cleanup_close int root_fd = -1;
    int r = open_device(&fuse_fd, err);

    if (r < 0)
        return r;
    r = mount_detached(fuse_fd, &root_fd, err);
    if (r < 0)
        return r;
    r = answer_init(fuse_fd, max_background, err);
    if (r < 0)
        return r;
    *ret_fuse_fd = steal_fd(&fuse_fd);
    *ret_root_fd = steal_fd(&root_fd);
    return 0;
}

int fuse_mount_resend(int fuse_fd, struct error *err)
{
    const struct fuse_out_header header = {
        .len = sizeof(header),
        .error = FUSE_WIRE_NOTIFY_RESEND,
    };

    if (write(fuse_fd, &header, sizeof(header)) == (ssize_t)sizeof(header))
        return 0;
    if (errno == EINVAL)
        return error_set(err, -EOPNOTSUPP,
                         "this kernel cannot send a dead process' requests again "
                         "(Linux 6.9 is needed to survive a crash without I/O errors)");
    return error_errno(err, -errno, "cannot take over a FUSE session");
}
