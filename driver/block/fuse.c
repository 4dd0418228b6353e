/* SPDX-License-Identifier: Apache-2.0 */
#include "block/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "block/fd_list.h"
#include "block/fuse_mount.h"
#include "block/fuse_serve.h"
#include "block/fuse_wire.h"

/* Design
 *
 * READERS threads read requests from one descriptor and hand them to the image; replies are written
 * by whichever thread completes them, straight from the completion. A reader waits only while
 * librados' in-flight limits are used up, so two are enough: one to hand over, one to fetch. The
 * descriptor is never cloned per thread (FUSE_DEV_IOC_CLONE): requests belong to the clone they
 * were read from and would fail when a crash closes it.
 *
 * A session ends when the kernel ends it: the last user of the mount is gone, and reading says
 * ENODEV. That is also the proof that nobody uses the file any more. */

#define READERS 2

/* As many as a loop device's queue holds. */
#define MAX_BACKGROUND 128

/* Discards and the like do not count as background requests; loop makes one at a time per cgroup.
 * When even these calls are used up, readers wait. */
#define MAX_CALLS (MAX_BACKGROUND + 32)

struct reader {
    struct fuse_session *session;
    pthread_t thread;
    void *packet;
};

struct fuse_session {
    struct fuse_server server;
    int root_fd;
    unsigned started; /* readers with a thread */
    struct reader readers[READERS];
};

/* Reading is the only place where a reader may be cancelled, and it is only when the kernel does
 * not let go of the mount in time (fuse_session_end). */
static ssize_t read_packet(const struct reader *reader)
{
    int state;
    ssize_t len;

    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    len = read(reader->session->server.fd, reader->packet, FUSE_WIRE_PACKET_MAX);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return len;
}

static void *reader_main(void *arg)
{
    struct reader *reader = arg;
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    for (;;) {
        ssize_t len = read_packet(reader);

        if (len >= 0) {
            fuse_serve(&reader->session->server, reader->packet, (size_t)len);
            continue;
        }
        /* ENOENT: a request was withdrawn while it was being read. */
        if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
            break;
    }
    if (errno != ENODEV)
        log_debug("reading from /dev/fuse ended: %s", error_words(-errno));
    return NULL;
}

/* Nothing that the kernel waits for may be lost on the way, so no step after the first thread's
 * start can fail but the start of the next one, which we can do without. */
static int start_readers(struct fuse_session *session, struct error *err)
{
    int r = 0;

    for (unsigned i = 0; i < READERS; i++) {
        session->readers[i].session = session;
        session->readers[i].packet = aligned_alloc(4096, FUSE_WIRE_PACKET_MAX);
        if (!session->readers[i].packet)
            return error_errno(err, -ENOMEM, "cannot start a FUSE session");
        /* The kernel copies requests into it. If it had to fault a page in while this process is
         * being killed, it would not try again but fail the request. */
        memset(session->readers[i].packet, 0, FUSE_WIRE_PACKET_MAX);
    }
    for (unsigned i = 0; i < READERS && r == 0; i++) {
        r = -pthread_create(&session->readers[i].thread, NULL, reader_main, &session->readers[i]);
        if (r == 0) {
            pthread_setname_np(session->readers[i].thread, "fuse-reader");
            session->started++;
        }
    }
    if (session->started == 0)
        return error_errno(err, r, "cannot start a thread");
    return 0;
}

static int new_session(int fuse_fd, int root_fd, struct image_io *io,
                       const struct backend_settings *settings, struct fuse_session **ret,
                       struct error *err)
{
    struct fuse_session *session = calloc(1, sizeof(*session));
    int r;

    if (!session)
        return error_errno(err, -ENOMEM, "cannot start a FUSE session");
    session->server = (struct fuse_server){
        .fd = -1,
        .io = io,
        .name = settings->name,
        .block_bytes = settings->logical_block_bytes,
        .read_only = settings->read_only,
    };
    session->root_fd = -1;
    r = io_pool_open(MAX_CALLS, FUSE_WIRE_IO_MAX, &session->server.pool);
    if (r < 0) {
        free(session);
        return error_errno(err, r, "cannot start a FUSE session");
    }
    session->server.fd = fuse_fd;
    session->root_fd = root_fd;
    *ret = session;
    return 0;
}

/* Takes the descriptors over, also on failure. */
static int start_session(int fuse_fd, int root_fd, struct image_io *io,
                         const struct backend_settings *settings, struct fuse_session **ret,
                         struct error *err)
{
    struct fuse_session *session = NULL;
    int r = new_session(fuse_fd, root_fd, io, settings, &session, err);

    if (r < 0) {
        close(root_fd);
        close(fuse_fd);
        return r;
    }
    r = start_readers(session, err);
    if (r < 0) {
        fuse_session_end(session, 0);
        return r;
    }
    *ret = session;
    return 0;
}

int fuse_session_open(struct image_io *io, const struct backend_settings *settings, int below,
                      struct fuse_session **ret, struct error *err)
{
    int fuse_fd;
    int root_fd;
    int r = fuse_mount_open(MAX_BACKGROUND, &fuse_fd, &root_fd, err);

    if (r < 0)
        return r;
    return start_session(fd_raise(fuse_fd, below), root_fd, io, settings, ret, err);
}

int fuse_session_resume(int fuse_fd, int root_fd, struct image_io *io,
                        const struct backend_settings *settings, struct fuse_session **ret,
                        struct error *err)
{
    int r = fuse_mount_resend(fuse_fd, err);

    if (r < 0) {
        close(root_fd);
        close(fuse_fd);
        return r;
    }
    return start_session(fuse_fd, root_fd, io, settings, ret, err);
}

int fuse_session_fd(const struct fuse_session *session)
{
    return session->server.fd;
}

int fuse_session_root(const struct fuse_session *session)
{
    return session->root_fd;
}

int fuse_session_open_file(struct fuse_session *session, int *ret, struct error *err)
{
    int flags = session->server.read_only ? O_RDONLY : O_RDWR;
    int fd = openat(session->root_fd, session->server.name, flags | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return error_errno(err, -errno, "cannot open the FUSE file '%s'", session->server.name);
    *ret = fd;
    return 0;
}

int fuse_session_update_size(struct fuse_session *session, struct error *err)
{
    struct statx st;

    if (statx(session->root_fd, session->server.name, AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW,
              STATX_SIZE, &st) < 0)
        return error_errno(err, -errno, "cannot look at the FUSE file '%s'", session->server.name);
    return 0;
}

uint64_t fuse_session_size(const struct fuse_session *session)
{
    return fuse_server_size(&session->server);
}

void fuse_session_stats(const struct fuse_session *session, struct backend_stats *ret)
{
    backend_counters_read(&session->server.counters, ret);
    ret->in_flight = io_pool_busy(session->server.pool);
}

static void join_readers(struct fuse_session *session, int64_t deadline)
{
    const struct timespec until = deadline_timespec(deadline);

    for (unsigned i = 0; i < session->started; i++) {
        pthread_t thread = session->readers[i].thread;

        if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0)
            continue;
        pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
}

void fuse_session_end(struct fuse_session *session, int64_t deadline)
{
    if (!session)
        return;
    close(session->root_fd);
    join_readers(session, deadline);
    /* Calls still under way reply into the descriptor. */
    io_pool_free(session->server.pool);
    close(session->server.fd);
    for (unsigned i = 0; i < READERS; i++)
        free(session->readers[i].packet);
    free(session);
}
