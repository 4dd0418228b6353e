/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/owner_work.h"
#include "rados/cluster.h"
#include "rados/header_notify.h"

/* Have something done that only an image's owner may do: by the owner, when there is one that
 * lives (owner_ask.h), and otherwise by ourselves as its owner for the time it takes
 * (owner_self.h). */

/* What to do as the owner of IMAGE, which has no I/O. */
typedef int (*owner_work)(void *arg, const struct owned_image *image, int64_t deadline,
                          struct error *err);

/* REQUEST is what to ask an owner for; its id is filled in here. WORK does the same where there is
 * none. HOST goes into the lock. 0; the owner's or WORK's result; -EBUSY (the holder is neither an
 * owner that could be asked nor dead: err names it); -ETIMEDOUT. Blocks up to the deadline; any
 * thread but librados' own. */
int owner_call(struct cluster *cluster, const char *id, const char *host,
               const struct header_notify *request, owner_work work, void *arg, int64_t deadline,
               struct error *err);
