/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "block/backend.h"
#include "block/claim.h"
#include "block/nbd_device.h"
#include "block/nbd_session.h"
#include "block/nbd_wire.h"

/* An NBD device whose server is this process: no network, a pair of Unix sockets.
 *
 *   file system ─► NBD device ─► socket ─► receivers ─► image
 *
 * The device outlives this process by itself, until somebody ends it. What the keeper has as "nbd"
 * only says which one it is (a descriptor opened with O_PATH). For nobody of us may have the device
 * open while it is in use: to close it, as the kernel does for the dead, waits for a lock that any
 * sync of the whole machine holds until requests are answered that only a successor can answer.
 *
 * There is one connection. With several, the kernel would give up one that has not answered for
 * 30 s and send its requests over another, which is no way to wait for a cluster that is away.
 *
 * Failure modes
 *   crash of this process   requests wait for the successor's connection; those that were under way
 *                           are sent again when the kernel next looks after them (STUCK_MS)
 *   the successor gives up  whoever lets go of the kept descriptor ends the device (keeper.h): I/O
 *                           errors
 *   crash of the keeper too requests wait until the next plugin that starts, or the next attachment
 *                           of the volume, ends the device: I/O errors
 *   crash during attach     the device is ended by the next attachment, which knows its identifier
 *   crash during detach     the device is gone and the successor makes another one, or it is still
 *                           whole and the successor has it
 */

/* How long requests wait while nobody serves them. A process that dies is replaced within seconds,
 * but its successor may find the cluster away, and as long as it does the data is safe and an I/O
 * error would be worse than waiting. It is not for ever, because nobody can kill what waits, and
 * after a crash of process and keeper nobody may come. */
#define DEAD_SECONDS 3600

/* How often the kernel looks after requests that take long; only then it sees that the connection
 * they went over was replaced. It leaves a line in its log for each, too. */
#define STUCK_MS 10000

/* In one request, when the queue can be told: the pool has buffers for it. */
#define REQUEST_MAX_KB 1024

/* How long the kernel may take to see that our predecessor is dead. */
#define RECONNECT_MS 5000

#define PAUSE_MS 10

/* How many devices are searched; there are 16 unless more are in use. */
#define INDEX_MAX 1024

struct backend {
    struct nbd_session *session;
    struct fd_keeper *keeper;
    const char *identifier; /* borrowed */
    bool read_only;
    uint32_t block_bytes;
    unsigned index;
    char device[NBD_DEVICE_MAX];
};

static const char *const kept_names[] = {NBD_DEVICE_KEPT, NULL};

static void pause_shortly(void)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * NS_PER_MS};

    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static void end_device(unsigned index)
{
    struct error err;

    if (nbd_device_disconnect(index, &err) < 0)
        log_warning("%s", err.text);
}

/* Better an I/O error than requests that wait for answers that do not come. */
static void on_broken(void *arg)
{
    const struct backend *backend = arg;

    log_error("%s: the kernel sent what is no NBD request: all I/O to it fails from now on",
              backend->device);
    end_device(backend->index);
}

static void backend_free(struct backend *backend)
{
    nbd_session_free(backend->session);
    free(backend);
}

static void cleanup_backendp(struct backend **backend)
{
    if (*backend)
        backend_free(*backend);
}

static void set_index(struct backend *backend, unsigned index)
{
    backend->index = index;
    snprintf(backend->device, sizeof(backend->device), "/dev/nbd%u", index);
}

/* For a moment, while its requests are answered. The caller closes it. */
static int open_device(const struct backend *backend, struct error *err)
{
    int fd = open(backend->device, (backend->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);

    return fd < 0 ? error_errno(err, -errno, "cannot open %s", backend->device) : fd;
}

/* Where /sys cannot be written (in a container) the device works too, only less well. */
static void set_queue(const struct backend *backend, const char *name, unsigned value)
{
    char path[96];
    char text[16];
    cleanup_close int fd = -1;
    int len = snprintf(text, sizeof(text), "%u", value);

    snprintf(path, sizeof(path), "/sys/block/nbd%u/queue/%s", backend->index, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)len) != len)
        log_debug("cannot write %s: %s", path, error_words(-errno));
}

static int keep(struct backend *backend, struct error *err)
{
    cleanup_close int name = open(backend->device, O_PATH | O_CLOEXEC);
    int r = name < 0 ? -errno : backend->keeper->store(backend->keeper, NBD_DEVICE_KEPT, name);

    return r < 0 ? error_errno(err, r, "cannot have the supervisor keep %s", backend->device) : 0;
}

static void forget(struct fd_keeper *keeper)
{
    int r = keeper->store(keeper, NBD_DEVICE_KEPT, -1);

    if (r < 0)
        log_debug("cannot take descriptor \"%s\" back: %s", NBD_DEVICE_KEPT, error_words(r));
}

static int set_up(struct backend *backend, struct error *err)
{
    cleanup_close int fd = open_device(backend, err);

    if (fd < 0)
        return fd;
    if (ioctl(fd, BLKRASET, BACKEND_READ_AHEAD_SECTORS) < 0)
        return error_errno(err, -errno, "cannot set the read-ahead of %s", backend->device);
    set_queue(backend, "max_sectors_kb", REQUEST_MAX_KB);
    set_queue(backend, "io_timeout", STUCK_MS);
    return keep(backend, err);
}

/* Devices that this image had and nobody serves any more, for processes and keeper died together.
 */
static void end_leftovers(const char *identifier)
{
    for (unsigned index = 0; index < INDEX_MAX; index++) {
        if (nbd_device_shows(index, identifier)) {
            log_warning("/dev/nbd%u was left behind by a dead process: it is ended", index);
            end_device(index);
        }
    }
}

static int start(struct backend *backend, struct error *err)
{
    struct nbd_device_settings settings = {
        .identifier = backend->identifier,
        .size = nbd_session_size(backend->session),
        .block_bytes = backend->block_bytes,
        .server_flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_TRIM | NBD_WIRE_SEND_WRITE_ZEROES |
                        (backend->read_only ? NBD_FLAG_READ_ONLY : 0),
        .dead_seconds = DEAD_SECONDS,
    };
    cleanup_close int kernels = -1;
    unsigned index;
    int r = nbd_session_connect(backend->session, &kernels, err);

    if (r < 0)
        return r;
    end_leftovers(backend->identifier);
    settings.socket = kernels;
    r = nbd_device_connect(&settings, &index, err);
    if (r < 0)
        return r;
    set_index(backend, index);
    r = nbd_session_start(backend->session, on_broken, backend, err);
    if (r == 0)
        r = set_up(backend, err); /* opening it makes the kernel look for partitions */
    if (r < 0)
        end_device(index);
    return r;
}

/* The kernel takes a new connection only in place of one that it knows to be dead, and says the
 * same either way; but what it did not take is closed. */
static int reconnect(struct backend *backend, struct error *err)
{
    const int64_t deadline = deadline_in_ms(RECONNECT_MS);

    for (;;) {
        struct nbd_device_settings settings = {.identifier = backend->identifier,
                                               .last_close = NBD_DEVICE_STAYS};
        int kernels = -1;
        int r = nbd_session_connect(backend->session, &kernels, err);

        if (r < 0)
            return r;
        settings.socket = kernels;
        r = nbd_device_reconfigure(backend->index, &settings, err);
        close(kernels);
        if (r < 0)
            return r;
        if (!nbd_session_is_refused(backend->session))
            return 0;
        if (clock_now() >= deadline)
            return error_set(err, -EBUSY, "%s has a connection to another process",
                             backend->device);
        pause_shortly();
    }
}

static int update_size(struct backend *backend, uint64_t size, struct error *err)
{
    const struct nbd_device_settings settings = {.identifier = backend->identifier, .size = size};
    cleanup_close int fd = open_device(backend, err);
    uint64_t now;

    if (fd < 0)
        return fd;
    if (ioctl(fd, BLKGETSIZE64, &now) < 0)
        return error_errno(err, -errno, "cannot find the size of %s", backend->device);
    return now == size ? 0 : nbd_device_reconfigure(backend->index, &settings, err);
}

/* Returns 1 when there was nothing to go on with. */
static int resume(struct backend *backend, struct error *err)
{
    cleanup_close int name = backend->keeper->fetch(backend->keeper, NBD_DEVICE_KEPT);
    unsigned index;
    int r;

    if (name < 0)
        return 1;
    r = nbd_device_index(name, &index, err);
    if (r < 0 || !nbd_device_shows(index, backend->identifier)) {
        forget(backend->keeper);
        return r < 0 ? r : 1;
    }
    set_index(backend, index);
    r = reconnect(backend, err);
    if (r < 0) {
        /* Better an I/O error than requests that wait in vain. */
        end_device(index);
        forget(backend->keeper);
        return r;
    }
    r = nbd_session_start(backend->session, on_broken, backend, err);
    if (r < 0)
        return r;
    /* Not together with the connection: the kernel would wait for requests that need it. */
    return update_size(backend, nbd_session_size(backend->session), err);
}

static int attach(struct image_io *io, struct fd_keeper *keeper,
                  const struct backend_settings *settings, struct backend **ret, struct error *err)
{
    __attribute__((cleanup(cleanup_backendp))) struct backend *backend =
        calloc(1, sizeof(*backend));
    int r;

    if (!backend)
        return error_errno(err, -ENOMEM, "cannot attach a device");
    backend->keeper = keeper;
    backend->identifier = settings->identifier;
    backend->read_only = settings->read_only;
    backend->block_bytes = settings->logical_block_bytes;
    r = nbd_session_new(io, settings, &backend->session, err);
    if (r < 0)
        return r;
    r = resume(backend, err);
    if (r == 1)
        r = start(backend, err);
    if (r < 0)
        return r;
    *ret = steal_pointer(&backend);
    return 0;
}

static const char *device(const struct backend *backend)
{
    return backend->device;
}

static int resize(struct backend *backend, uint64_t size, struct error *err)
{
    (void)size; /* the image's, which is read again */
    return update_size(backend, nbd_session_size(backend->session), err);
}

static void stats(const struct backend *backend, struct backend_stats *ret)
{
    nbd_session_stats(backend->session, ret);
}

static int set_last_close(const struct backend *backend, enum nbd_device_last_close last_close,
                          struct error *err)
{
    const struct nbd_device_settings settings = {
        .identifier = backend->identifier,
        .last_close = last_close,
    };

    return nbd_device_reconfigure(backend->index, &settings, err);
}

/* Told to end with its last user, and opened and closed again, the device says whether there is
 * another one, and nobody can come in between. If there is, it is to stay. */
static int end_if_unused(struct backend *backend, int64_t patience, struct error *err)
{
    int fd = open_device(backend, err);
    int r = fd < 0 ? fd : set_last_close(backend, NBD_DEVICE_ENDS, err);

    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    /* When it fails, the volume is fenced or full: the programs that wrote have been told, and the
     * device must go anyway. */
    if (fsync(fd) < 0)
        log_debug("writing out %s: %s", backend->device, error_words(-errno));
    close(fd);
    if (nbd_session_wait(backend->session, patience))
        return 0;
    fd = open_device(backend, err);
    if (fd < 0)
        return fd;
    if (!nbd_session_wait(backend->session, clock_now())) { /* in that very moment */
        r = set_last_close(backend, NBD_DEVICE_STAYS, err);
        if (r == 0)
            r = error_set(err, -EBUSY, "%s is open in another program: close it first",
                          backend->device);
    }
    close(fd);
    return r;
}

static int detach(struct backend *backend, int64_t deadline, struct error *err)
{
    const int64_t patience = deadline_earlier(deadline, deadline_in_ms(CLAIM_VISIT_MS));
    int r = 0;

    if (!nbd_session_wait(backend->session, clock_now())) {
        r = claim_check(backend->device, backend->read_only, err);
        if (r == 0)
            r = end_if_unused(backend, patience, err);
    }
    if (r < 0)
        return r;
    forget(backend->keeper);
    backend_free(backend);
    return 0;
}

const struct backend_ops nbd_backend = {
    .name = "nbd",
    .kept = kept_names,
    .probe = nbd_device_probe,
    .attach = attach,
    .device = device,
    .resize = resize,
    .stats = stats,
    .detach = detach,
};
