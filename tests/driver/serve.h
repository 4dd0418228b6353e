/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "live.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "image/ownership.h"

/* Serve an image's notifies until told to stop, as the main loop of a blockd does. */

struct server {
    struct ownership *ownership;
    atomic_bool stop;
    pthread_t thread;
};

static inline void *serve(void *arg)
{
    struct server *server = arg;

    while (!atomic_load(&server->stop)) {
        struct pollfd pfd = {.fd = ownership_fd(server->ownership), .events = POLLIN};

        poll(&pfd, 1, 50);
        ownership_run(server->ownership);
    }
    return NULL;
}

static inline void serve_start(struct server *server)
{
    atomic_store(&server->stop, false);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static inline void serve_stop(struct server *server)
{
    atomic_store(&server->stop, true);
    pthread_join(server->thread, NULL);
}
