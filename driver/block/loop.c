/* SPDX-License-Identifier: Apache-2.0 */
#include "block/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "block/backend.h"
#include "block/claim.h"

#define CONTROL "/dev/loop-control"

/* A free device may be taken by someone else before we have configured it. */
#define ATTACH_TRIES 64

#define PAUSE_MS 10 /* between looks at a device that somebody visits */

int loop_probe(struct error *err)
{
    cleanup_close int control = open(CONTROL, O_RDWR | O_CLOEXEC);

    if (control >= 0)
        return 0;
    if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
        return error_errno(err, -errno, "cannot open " CONTROL " (load it with \"modprobe loop\")");
    return error_errno(err, -errno, "cannot open " CONTROL);
}

static int open_free(int control, bool read_only, char device[LOOP_DEVICE_MAX], int *ret_fd,
                     struct error *err)
{
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    int fd;

    if (number < 0)
        return error_errno(err, -errno, "no free loop device");
    snprintf(device, LOOP_DEVICE_MAX, "/dev/loop%d", number);
    fd = open(device, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, -errno, "cannot open %s", device);
    *ret_fd = fd;
    return 0;
}

static int configure(int fd, int file_fd, const char *name, uint32_t block_bytes, bool read_only)
{
    struct loop_config config = {
        .fd = (uint32_t)file_fd,
        .block_size = block_bytes,
        .info.lo_flags =
            LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0),
    };

    snprintf((char *)config.info.lo_file_name, sizeof(config.info.lo_file_name), "%s", name);
    return ioctl(fd, LOOP_CONFIGURE, &config) < 0 ? -errno : 0;
}

/* The kernel falls back to buffered I/O without a word. Then data would be cached twice, and a
 * flush of the device would wait for memory that only we can free. */
static int check_direct(int fd, const char *device, struct error *err)
{
    struct loop_info64 info;

    if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
        return error_errno(err, -errno, "cannot look at %s", device);
    if (!(info.lo_flags & LO_FLAGS_DIRECT_IO))
        return error_set(err, -EOPNOTSUPP, "%s does not do direct I/O on a FUSE file", device);
    return 0;
}

static int find_and_configure(int file_fd, const char *name, uint32_t block_bytes, bool read_only,
                              char device[LOOP_DEVICE_MAX], int *ret_fd, struct error *err)
{
    cleanup_close int control = open(CONTROL, O_RDWR | O_CLOEXEC);

    if (control < 0)
        return error_errno(err, -errno, "cannot open " CONTROL);
    for (int i = 0; i < ATTACH_TRIES; i++) {
        cleanup_close int fd = -1;
        int r = open_free(control, read_only, device, &fd, err);

        if (r < 0)
            return r;
        r = configure(fd, file_fd, name, block_bytes, read_only);
        if (r == 0) {
            *ret_fd = steal_fd(&fd);
            return 0;
        }
        if (r != -EBUSY)
            return error_errno(err, r, "cannot configure %s", device);
    }
    return error_set(err, -EBUSY, "others took each of %d free loop devices before we could",
                     ATTACH_TRIES);
}

int loop_attach(int file_fd, const char *name, uint32_t block_bytes, bool read_only,
                char device[LOOP_DEVICE_MAX], int *ret_fd, struct error *err)
{
    cleanup_close int fd = -1; /* closing it clears the device again */
    int r = find_and_configure(file_fd, name, block_bytes, read_only, device, &fd, err);

    if (r < 0)
        return r;
    r = check_direct(fd, device, err);
    if (r < 0)
        return r;
    if (ioctl(fd, BLKRASET, BACKEND_READ_AHEAD_SECTORS) < 0)
        return error_errno(err, -errno, "cannot set the read-ahead of %s", device);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int loop_device(int fd, char device[LOOP_DEVICE_MAX], struct error *err)
{
    char link[32];
    ssize_t len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, device, LOOP_DEVICE_MAX - 1);
    if (len < 0)
        return error_errno(err, -errno, "cannot find the name of the loop device");
    device[len] = '\0';
    if (strncmp(device, "/dev/loop", 9) != 0)
        return error_set(err, -EINVAL, "'%s' is not a loop device", device);
    return 0;
}

int loop_set_size(int fd, const char *device, uint64_t size, struct error *err)
{
    uint64_t now;

    if (ioctl(fd, BLKGETSIZE64, &now) < 0)
        return error_errno(err, -errno, "cannot find the size of %s", device);
    if (now == size)
        return 0;
    if (ioctl(fd, LOOP_SET_CAPACITY, 0) < 0)
        return error_errno(err, -errno, "cannot resize %s", device);
    return 0;
}

/* As AUTOCLEAR is set already, LOOP_CLR_FD changes nothing as long as others have the device open;
 * else it shuts the device to newcomers and ends it with our descriptor (with newer kernels) or at
 * once (with older ones). LOOP_GET_STATUS64 tells which: there is no status of an ending device. */
static int try_clear(int fd, const char *device, struct error *err)
{
    struct loop_info64 info;

    if (ioctl(fd, LOOP_CLR_FD, 0) < 0 && errno != ENXIO)
        return error_errno(err, -errno, "cannot clear %s", device);
    if (ioctl(fd, LOOP_GET_STATUS64, &info) == 0)
        return error_set(err, -EBUSY, "%s is open in another program: close it first", device);
    if (errno != ENXIO)
        return error_errno(err, -errno, "cannot look at %s", device);
    return 0;
}

int loop_clear(int fd, const char *device, bool read_only, int64_t deadline, struct error *err)
{
    const int64_t patience = deadline_earlier(deadline, deadline_in_ms(CLAIM_VISIT_MS));
    const struct timespec pause = {.tv_nsec = PAUSE_MS * NS_PER_MS};
    int r;

    for (;;) {
        r = claim_check(device, read_only, err);
        if (r < 0)
            return r;
        /* A device that is ending fails all I/O, so this comes first. When it fails, the volume is
         * fenced or full: the programs that wrote have been told, and the device must go anyway. */
        if (fsync(fd) < 0)
            log_debug("writing out %s: %s", device, error_words(-errno));
        r = try_clear(fd, device, err);
        if (r != -EBUSY || clock_now() >= patience)
            return r;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
}
