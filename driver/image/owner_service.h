/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/io.h"
#include "image/ownership.h"
#include "rados/cluster.h"
#include "rados/header_notify.h"

/* What an owner does for others, one request at a time (ownership.h says what): the work itself.
 * owner_server.h has the thread that does it, and its place in the protocol. */

struct owner_service {
    struct cluster *cluster; /* these are borrowed */
    const char *id;
    struct image_io *io;
    struct ownership_hooks hooks;
    int64_t frozen_until; /* a QUIESCE holds until then; 0: none does */
    struct notify_id frozen_for;
};

/* Do what REQUEST asks for; of a FLATTEN, what is left when all objects are copied. COOKIE proves
 * the lock to be ours. 0 or a negative errno. */
int owner_service_do(struct owner_service *service, const struct header_notify *request,
                     const char *cookie, struct error *err);

/* End a QUIESCE that nobody ended. 0: it held until now; -ETIMEDOUT: it had ended before. */
int owner_service_end_quiesce(struct owner_service *service);
