/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "block/backend.h"
#include "block/fd_list.h"
#include "block/fuse.h"
#include "block/fuse_mount.h"
#include "block/loop.h"

/* A loop device on a file of a FUSE file system of our own. Works on every kernel.
 *
 *   file system ─► loop device ─► FUSE file ─► /dev/fuse ─► readers (fuse.h) ─► image
 *
 * Three descriptors outlive a crash of this process in the keeper:
 *
 *   "fuse"  the session: while it is open somewhere, requests wait instead of failing
 *   "root"  the file system, through which the file's size is refreshed
 *   "loop"  the device, which would clear itself when its last user is gone
 *
 * A process that finds only some of them starts anew, and what it found disappears when it is
 * forgotten.
 *
 * Failure modes
 *   crash of this process   requests wait; the successor has them sent again; no error is seen
 *   crash of the keeper too the session aborts: I/O errors, and the device goes with its last user
 *   crash during attach     nothing is kept yet: all disappears
 *   crash during detach     as during attach, or the device is still whole and the successor has it
 */

struct backend {
    struct fuse_session *session;
    struct fd_keeper *keeper;
    int loop_fd;
    bool read_only;
    char device[LOOP_DEVICE_MAX];
};

/* In the order in which they must be closed (fd_list.h). */
static const char *const kept_names[] = {"fuse", "root", "loop", NULL};

static void forget(struct fd_keeper *keeper)
{
    for (const char *const *name = kept_names; *name; name++) {
        int r = keeper->store(keeper, *name, -1);

        if (r < 0)
            log_debug("cannot take descriptor \"%s\" back: %s", *name, error_words(r));
    }
}

static int keep(struct backend *backend, struct error *err)
{
    const struct {
        const char *name;
        int fd;
    } kept[] = {
        {"fuse", fuse_session_fd(backend->session)},
        {"root", fuse_session_root(backend->session)},
        {"loop", backend->loop_fd},
    };

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        int r = backend->keeper->store(backend->keeper, kept[i].name, kept[i].fd);

        if (r < 0) {
            forget(backend->keeper);
            return error_errno(err, r, "cannot have the supervisor keep descriptor \"%s\"",
                               kept[i].name);
        }
    }
    return 0;
}

static int probe(struct error *err)
{
    int r = fuse_mount_probe(err);

    return r < 0 ? r : loop_probe(err);
}

/* DEADLINE 0: nobody can be using the device yet. */
static void backend_free(struct backend *backend, int64_t deadline)
{
    if (backend->loop_fd >= 0)
        close(backend->loop_fd);
    fuse_session_end(backend->session, deadline);
    free(backend);
}

static void cleanup_backendp(struct backend **backend)
{
    if (*backend)
        backend_free(*backend, 0);
}

static int update_size(struct backend *backend, struct error *err)
{
    int r = fuse_session_update_size(backend->session, err);

    if (r < 0)
        return r;
    return loop_set_size(backend->loop_fd, backend->device, fuse_session_size(backend->session),
                         err);
}

/* The device's descriptor is the last to be opened and must be the last to be closed, also by a
 * death: its number is taken first. */
static int start(struct backend *backend, struct image_io *io,
                 const struct backend_settings *settings, struct error *err)
{
    cleanup_close int place = open("/dev/null", O_RDONLY | O_CLOEXEC);
    cleanup_close int file = -1;
    cleanup_close int loop_fd = -1;
    int r;

    if (place < 0)
        return error_errno(err, -errno, "cannot attach a device");
    r = fuse_session_open(io, settings, place, &backend->session, err);
    if (r == 0)
        r = fuse_session_open_file(backend->session, &file, err);
    if (r == 0)
        r = loop_attach(file, settings->name, settings->logical_block_bytes, backend->read_only,
                        backend->device, &loop_fd, err);
    if (r < 0)
        return r;
    if (dup3(loop_fd, place, O_CLOEXEC) < 0)
        return error_errno(err, -errno, "cannot attach a device");
    backend->loop_fd = steal_fd(&place);
    return keep(backend, err);
}

/* Returns 1 when there was nothing whole to go on with. */
static int resume(struct backend *backend, struct image_io *io,
                  const struct backend_settings *settings, struct error *err)
{
    /* Closed in the reverse order, "fuse" first: see kept_names. */
    cleanup_close int loop_fd = backend->keeper->fetch(backend->keeper, "loop");
    cleanup_close int root_fd = backend->keeper->fetch(backend->keeper, "root");
    cleanup_close int fuse_fd = backend->keeper->fetch(backend->keeper, "fuse");
    int r;

    if (fuse_fd < 0 || root_fd < 0 || loop_fd < 0) {
        if (fuse_fd >= 0 || root_fd >= 0 || loop_fd >= 0)
            forget(backend->keeper);
        return 1;
    }
    r = loop_device(loop_fd, backend->device, err);
    fuse_fd = fd_raise(fuse_fd, loop_fd);
    if (r == 0)
        r = fuse_session_resume(steal_fd(&fuse_fd), steal_fd(&root_fd), io, settings,
                                &backend->session, err);
    if (r < 0) {
        /* Better an I/O error than requests that hang for ever. */
        forget(backend->keeper);
        return r;
    }
    backend->loop_fd = steal_fd(&loop_fd);
    return update_size(backend, err);
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
    backend->loop_fd = -1;
    backend->read_only = settings->read_only;
    r = resume(backend, io, settings, err);
    if (r == 1)
        r = start(backend, io, settings, err);
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
    (void)size; /* the file always has the size of the image */
    return update_size(backend, err);
}

static void stats(const struct backend *backend, struct backend_stats *ret)
{
    fuse_session_stats(backend->session, ret);
}

static int detach(struct backend *backend, int64_t deadline, struct error *err)
{
    int r = loop_clear(backend->loop_fd, backend->device, backend->read_only, deadline, err);

    if (r < 0)
        return r;
    forget(backend->keeper);
    backend_free(backend, deadline);
    return 0;
}

static int caution(struct error *err)
{
    int r = fuse_mount_time_limit(err);

    return r < 0 ? r : fuse_mount_survives(err);
}

const struct backend_ops fuse_loop_backend = {
    .name = "fuse",
    .kept = kept_names,
    .probe = probe,
    .caution = caution,
    .attach = attach,
    .device = device,
    .resize = resize,
    .stats = stats,
    .detach = detach,
};
