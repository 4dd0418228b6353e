/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* What the supervisor waits for, all in one epoll set. One event is taken at a time, so an event
 * can never be about a descriptor that an event before it has closed. */

enum loop_source {
    LOOP_TIMEOUT,  /* nothing happened in time */
    LOOP_SIGNAL,   /* the signalfd */
    LOOP_SERVER,   /* the server's requests */
    LOOP_KEEPER,   /* blockd INDEX stores a descriptor, or has ended */
    LOOP_ADOPTED,  /* the adopted blockd INDEX has ended (pidfd) */
    LOOP_ADOPTION, /* blockd INDEX answers BLOCKD_ADOPT */
};

struct loop {
    int epoll;
};

struct loop_event {
    enum loop_source source;
    uint32_t index;
};

int loop_open(struct loop *loop, struct error *err);

/* Wait for FD to be readable or hung up. 0 or negative errno. */
int loop_add(const struct loop *loop, int fd, enum loop_source source, uint32_t index);

/* Stop waiting for *FD and close it; *fd becomes -1. Harmless when it is -1 already. */
void loop_close(const struct loop *loop, int *fd);

/* The next event, or LOOP_TIMEOUT when DEADLINE (CLOCK_MONOTONIC ns, INT64_MAX: none) comes first.
 */
struct loop_event loop_wait(const struct loop *loop, int64_t deadline);
