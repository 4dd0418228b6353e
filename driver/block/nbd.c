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
 * The device's descriptor outlives a crash of this process in the keeper as "nbd". It is configured
 * to end with its last user, so whatever dies, no device is left behind for long.
 *
 * There is one connection. With several, the kernel would give up one that has not answered for
 * 30 s and send its requests over another, which is no way to wait for a cluster that is away.
 *
 * Failure modes
 *   crash of this process   requests wait for the successor's connection; those that were under way
 *                           are sent again when the kernel next looks after them (STUCK_MS)
 *   the successor gives up  whoever lets go of the kept descriptor ends the device (keeper.h): I/O
 *                           errors
 *   crash of the keeper too I/O errors after DEAD_SECONDS, or when the volume is attached again
 *   crash during attach     the device is ended by the next attachment, which knows its identifier
 *   crash during detach     as during attach, or the device is still whole and the successor has it
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
    int fd; /* the device */
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
    if (backend->fd >= 0)
        close(backend->fd);
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

static int open_device(struct backend *backend, struct error *err)
{
    backend->fd = open(backend->device, (backend->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    return backend->fd < 0 ? error_errno(err, -errno, "cannot open %s", backend->device) : 0;
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
    int r = backend->keeper->store(backend->keeper, NBD_DEVICE_KEPT, backend->fd);

    return r < 0 ? error_errno(err, r, "cannot have the supervisor keep %s", backend->device) : 0;
}

static void forget(struct fd_keeper *keeper)
{
    int r = keeper->store(keeper, NBD_DEVICE_KEPT, -1);

    if (r < 0)
        log_debug("cannot take descriptor \"%s\" back: %s", NBD_DEVICE_KEPT, error_words(r));
}

/* Only now may it end with its last user: before, a program that looks at each new device would
 * have been the last one. */
static int set_up(struct backend *backend, struct error *err)
{
    const struct nbd_device_settings settings = {
        .identifier = backend->identifier,
        .client_flags = NBD_CFLAG_DISCONNECT_ON_CLOSE,
    };
    int r = open_device(backend, err);

    if (r == 0)
        r = nbd_device_reconfigure(backend->index, &settings, err);
    if (r < 0)
        return r;
    if (ioctl(backend->fd, BLKRASET, BACKEND_READ_AHEAD_SECTORS) < 0)
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
        struct nbd_device_settings settings = {.identifier = backend->identifier};
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
    uint64_t now;

    if (ioctl(backend->fd, BLKGETSIZE64, &now) < 0)
        return error_errno(err, -errno, "cannot find the size of %s", backend->device);
    return now == size ? 0 : nbd_device_reconfigure(backend->index, &settings, err);
}

/* Returns 1 when there was nothing to go on with. */
static int resume(struct backend *backend, struct error *err)
{
    unsigned index;
    int r;

    backend->fd = backend->keeper->fetch(backend->keeper, NBD_DEVICE_KEPT);
    if (backend->fd < 0)
        return 1;
    r = nbd_device_index(backend->fd, &index, err);
    if (r < 0) {
        forget(backend->keeper);
        return r;
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
    backend->fd = -1;
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

/* The device ends when its last user closes it, so letting go of it tells whether we were that, and
 * nobody can come in between. If not, it is taken up again. */
static int let_go(struct backend *backend, int64_t patience, struct error *err)
{
    int r;

    forget(backend->keeper); /* who closes his copy soon */
    close(steal_fd(&backend->fd));
    if (nbd_session_wait(backend->session, patience))
        return 0;
    r = open_device(backend, err);
    if (r == 0 && nbd_session_wait(backend->session, clock_now())) /* in that very moment */
        return 0;
    if (r == 0)
        r = keep(backend, err);
    return r < 0 ? r
                 : error_set(err, -EBUSY, "%s is open in another program: close it first",
                             backend->device);
}

static int detach(struct backend *backend, int64_t deadline, struct error *err)
{
    int r = claim_check(backend->device, backend->read_only, err);

    if (r < 0)
        return r;
    /* When it fails, the volume is fenced or full: the programs that wrote have been told, and the
     * device must go anyway. */
    if (fsync(backend->fd) < 0)
        log_debug("writing out %s: %s", backend->device, error_words(-errno));
    r = let_go(backend, deadline_earlier(deadline, deadline_in_ms(CLAIM_VISIT_MS)), err);
    if (r < 0)
        return r;
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
