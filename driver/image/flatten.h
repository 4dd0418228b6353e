/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"

/* Make a clone independent of its parent: copy up all that still shows the parent's, then part.
 *
 * Only while nobody has the image open: we hold its lock throughout. What an image holds does not
 * change by it, so it can be stopped at any point and begun again, and be used in between; what was
 * copied stays copied.
 *
 *   step                              after a crash here
 *   take the lock                     a clone
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
     * Anything but 0 stops it where it is (-ECANCELED). */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

/* Do it. 0, also when it has no parent; -EBUSY (in use: err names the holder and the next step);
 * -ENOENT (no such image, or its parent is gone); -ECANCELED; -ETIMEDOUT (call again, it goes on
 * where it was); -EOPNOTSUPP (image_check_writable); -ENOSPC; or another errno. Blocks up to the
 * deadline; any thread but librados' own. CLUSTER must be of the CONTROL kind. */
int image_flatten(struct cluster *cluster, const char *id, const struct flatten *flatten,
                  int64_t deadline, struct error *err);
