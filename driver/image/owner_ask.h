/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "rados/cls_lock.h"
#include "rados/cluster.h"
#include "rados/header_notify.h"

/* Ask a client that owns an image for work, with notifies on the header. Stock clients ask, and are
 * asked, with the same ones.
 *
 *   the owner's answer   then
 *   0                    wait for its ASYNC_COMPLETE; a sign of progress or life from it every
 *                        OWNER_SILENT_MS at least, or it counts as gone
 *   negative errno       that is the result
 *   none                 OWNER_SAYS_NOTHING
 *
 * One thread at a time. Calls block up to the deadline. */

/* An owner that was asked says nothing for so long: -ETIMEDOUT. */
#define OWNER_SILENT_MS 30000

/* The client that was asked is not there, does not answer, or does not know the request. */
#define OWNER_SAYS_NOTHING 1

struct owner_ask;

/* Begin: watches the header of image ID, on which HOLDER says when work is done. CLUSTER is
 * borrowed. 0, -ENOENT, -ETIMEDOUT, ... */
int owner_ask_open(struct cluster *cluster, const char *id, const struct lock_holder *holder,
                   int64_t deadline, struct owner_ask **ret, struct error *err);

/* Have PROGRESS called when the owner tells how far it is with what it was asked for. Anything but
 * 0 ends the wait for it, with that as the result; it goes on all the same. */
void owner_ask_on_progress(struct owner_ask *ask,
                           int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg);

/* Have REQUEST done, whose id is filled in. 0; OWNER_SAYS_NOTHING; the owner's refusal or result;
 * -ETIMEDOUT (not known whether it was done); ... */
int owner_ask_work(struct owner_ask *ask, const struct header_notify *request, int64_t deadline,
                   struct error *err);

/* Have what is mounted from the image frozen (QUIESCE), for OWNERSHIP_FREEZE_MAX_MS at most. 0;
 * OWNER_SAYS_NOTHING; -EBUSY (it is frozen already, for another client or by somebody);
 * -EOPNOTSUPP; or what the freeze failed with. Whatever it is, owner_ask_thaw comes next. */
int owner_ask_freeze(struct owner_ask *ask, int64_t deadline, struct error *err);

/* End that (UNQUIESCE). 0: it held until now. -ETIMEDOUT: it had ended, or nobody can tell. A
 * librbd does not say, and is believed for as long as its own freezes last. */
int owner_ask_thaw(struct owner_ask *ask, int64_t deadline, struct error *err);

void owner_ask_close(struct owner_ask *ask); /* accepts NULL */
