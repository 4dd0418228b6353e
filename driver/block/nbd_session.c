/* SPDX-License-Identifier: Apache-2.0 */
#include "block/nbd_session.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "block/nbd_serve.h"
#include "block/nbd_wire.h"

#define RECEIVERS 2 /* one to hand over, one to fetch */

/* As many requests as a device's queue holds. */
#define MAX_CALLS 128

struct receiver {
    struct nbd_session *session;
    pthread_t thread;
    void *buffer;
};

struct nbd_session {
    struct nbd_server server;
    void (*broken)(void *arg);
    void *arg;
    unsigned running; /* receivers: the first ones */
    struct receiver receivers[RECEIVERS];
};

int nbd_session_new(struct image_io *io, const struct backend_settings *settings,
                    struct nbd_session **ret, struct error *err)
{
    struct nbd_session *session = calloc(1, sizeof(*session));
    int r;

    if (!session)
        return error_errno(err, -ENOMEM, "cannot start an NBD session");
    session->server = (struct nbd_server){
        .socket = -1,
        .io = io,
        .block_bytes = settings->logical_block_bytes,
        .read_only = settings->read_only,
        .receiving = PTHREAD_MUTEX_INITIALIZER,
        .sending = PTHREAD_MUTEX_INITIALIZER,
    };
    r = io_pool_open(MAX_CALLS, NBD_WIRE_IO_MAX, &session->server.pool);
    for (unsigned i = 0; i < RECEIVERS && r == 0; i++) {
        session->receivers[i].session = session;
        /* Where no large write was received it costs no memory. */
        session->receivers[i].buffer = aligned_alloc(4096, NBD_WIRE_IO_MAX);
        if (!session->receivers[i].buffer)
            r = -ENOMEM;
    }
    if (r < 0) {
        nbd_session_free(session);
        return error_errno(err, r, "cannot start an NBD session");
    }
    *ret = session;
    return 0;
}

int nbd_session_connect(struct nbd_session *session, int *ret_kernels, struct error *err)
{
    int ends[2];

    if (session->server.socket >= 0)
        close(session->server.socket);
    session->server.socket = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return error_errno(err, -errno, "cannot connect to the kernel");
    session->server.socket = ends[0];
    *ret_kernels = ends[1];
    return 0;
}

bool nbd_session_is_refused(const struct nbd_session *session)
{
    struct pollfd end = {.fd = session->server.socket}; /* POLLHUP comes unasked */

    return poll(&end, 1, 0) != 0;
}

static void *receiver_main(void *arg)
{
    const struct receiver *receiver = arg;
    struct nbd_session *session = receiver->session;
    int r;

    do {
        r = nbd_serve(&session->server, receiver->buffer);
    } while (r == 0);
    if (r == -EBADMSG)
        session->broken(session->arg);
    return NULL;
}

/* Nothing that the kernel waits for may be lost on the way, so no step after the first thread's
 * start can fail but the start of the next one, which we can do without. */
int nbd_session_start(struct nbd_session *session, void (*broken)(void *arg), void *arg,
                      struct error *err)
{
    int r = 0;

    session->broken = broken;
    session->arg = arg;
    for (unsigned i = 0; i < RECEIVERS && r == 0; i++) {
        struct receiver *receiver = &session->receivers[i];

        r = -pthread_create(&receiver->thread, NULL, receiver_main, receiver);
        if (r == 0) {
            pthread_setname_np(receiver->thread, "nbd-receiver");
            session->running++;
        }
    }
    return session->running == 0 ? error_errno(err, r, "cannot start a thread") : 0;
}

bool nbd_session_wait(struct nbd_session *session, int64_t deadline)
{
    const struct timespec until = deadline_timespec(deadline);

    while (session->running > 0) {
        pthread_t thread = session->receivers[session->running - 1].thread;

        if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) != 0)
            return false;
        session->running--;
    }
    return true;
}

uint64_t nbd_session_size(const struct nbd_session *session)
{
    return nbd_server_size(&session->server);
}

void nbd_session_stats(const struct nbd_session *session, struct backend_stats *ret)
{
    backend_counters_read(&session->server.counters, ret);
    ret->in_flight = io_pool_busy(session->server.pool);
}

void nbd_session_free(struct nbd_session *session)
{
    if (!session)
        return;
    if (session->server.socket >= 0)
        shutdown(session->server.socket, SHUT_RDWR);
    nbd_session_wait(session, INT64_MAX);
    io_pool_free(session->server.pool); /* calls still under way reply into the socket */
    if (session->server.socket >= 0)
        close(session->server.socket);
    for (unsigned i = 0; i < RECEIVERS; i++)
        free(session->receivers[i].buffer);
    pthread_mutex_destroy(&session->server.receiving);
    pthread_mutex_destroy(&session->server.sending);
    free(session);
}
