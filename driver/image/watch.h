/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "rados/cluster.h"

/* A watch on an image's header. librados reports notifies and errors on threads of its own, which
 * must not block: they only queue here, and the owner's main loop takes them. All functions are for
 * that one thread. Notifies of this very client are answered at once and not queued. */

struct watch;

/* A notify to be answered; free(). */
struct watch_event {
    uint64_t notify_id;
    uint64_t handle; /* of the watch it came by */
    uint64_t sender; /* client id */
    size_t len;
    uint8_t data[];
};

/* Watch OBJECT. 0, -ENOENT, -ETIMEDOUT, or what librados returned. */
int watch_open(struct cluster *cluster, const char *object, unsigned timeout_s, int64_t deadline,
               struct watch **ret, struct error *err);

/* Watch anew after an error: the handle changes. 0; -ESHUTDOWN (blocklisted); or another errno,
 * then try again later. */
int watch_reopen(struct watch *watch, int64_t deadline);

uint64_t watch_handle(const struct watch *watch);
int watch_fd(const struct watch *watch); /* polls readable when there is something to take */

/* The oldest notify not taken yet, or NULL; the caller frees it. */
struct watch_event *watch_next(struct watch *watch);

/* Have watch_fd poll readable. Any thread. */
void watch_wake(struct watch *watch);

/* Is the watch alive? Milliseconds since the cluster last confirmed it, or a negative errno
 * (-ESHUTDOWN: blocklisted). */
int watch_check(struct watch *watch);

void watch_answer(struct watch *watch, const struct watch_event *event,
                  const struct encoder *answer);

/* Unwatch and free. Accepts NULL. */
void watch_close(struct watch *watch, int64_t deadline);
