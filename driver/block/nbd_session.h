/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/backend.h"
#include "image/io.h"

/* One NBD connection to the kernel, served by threads of its own. */

struct nbd_session;

/* IO is borrowed until nbd_session_free. */
int nbd_session_new(struct image_io *io, const struct backend_settings *settings,
                    struct nbd_session **ret, struct error *err);

/* Make a connection, in place of one that was never served. The kernel's end is the caller's. */
int nbd_session_connect(struct nbd_session *session, int *ret_kernels, struct error *err);

/* Has the kernel closed its end of a connection that is not served yet? */
bool nbd_session_is_refused(const struct nbd_session *session);

/* Serve the connection. BROKEN(ARG) is called from one of the threads when the kernel sends what is
 * no request. */
int nbd_session_start(struct nbd_session *session, void (*broken)(void *arg), void *arg,
                      struct error *err);

/* Has the connection ended, or does it by the deadline? */
bool nbd_session_wait(struct nbd_session *session, int64_t deadline);

uint64_t nbd_session_size(const struct nbd_session *session); /* of the device, bytes */
void nbd_session_stats(const struct nbd_session *session, struct backend_stats *ret);

/* End the connection, wait for the requests under way, and free. Accepts NULL. */
void nbd_session_free(struct nbd_session *session);
