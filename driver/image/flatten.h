/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"

/* Make a clone independent of its parent: copy up all that still shows the parent's, then part.
 *
 * While somebody has the image open, its owner does it, beside the I/O; `rbd flatten` asks it the
 * same way. Otherwise we take the lock for as long as it takes. What an image holds does not change
 * by it, so it can be stopped at any point and begun again, and be used in between; what was copied
 * stays copied.
 *
 *   step                              after a crash here
 *   own the image                     a clone
 *   copy up, object by object         a clone with more objects of its own
 *   note that all are (FLATTEN_KEY)   likewise; the next image_flatten does not look again
 *   strike off at the parent          a clone that its parent does not know and that needs nothing
 *                                       of it: the next image_flatten ends it
 *   part from the parent, drop note   an image
 *
 * Snapshots of an image without the feature deep-flatten keep needing the parent. Then it stays
 * listed there, and the last of those snapshots strikes it off when it goes. */

#define FLATTEN_KEY "docker-volume-rados.flattened"

struct flatten {
    const char *host; /* our own name, for the lock */
    /* Called from the calling thread now and then and at the end, with objects; may be NULL.
     * Anything but 0 ends the call (-ECANCELED): it stops where it is, or goes on at the owner. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

/* Do it. 0, also when it has no parent; -ESHUTDOWN (its owner gives it back, or another host took
 * it over: call again to go on); -EBUSY (in use by a client that does not answer: err names it and
 * the next step); -EROFS or -EOPNOTSUPP (a foreign owner refuses; image_check_writable); -ENOENT
 * (no such image, or its parent is gone); -ECANCELED; -ETIMEDOUT (call again, it goes on where it
 * was); -ENOSPC; or another errno. Blocks up to the deadline; any thread but librados' own. CLUSTER
 * must be of the CONTROL kind. */
int image_flatten(struct cluster *cluster, const char *id, const struct flatten *flatten,
                  int64_t deadline, struct error *err);
