/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/snapshot.h"
#include "rados/cluster.h"

/* Bring an image's contents and size back to those of one of its snapshots, in place.
 *
 * Only while nobody has the image open: we hold its lock throughout. The OSDs do the work, object
 * by object, in parallel, without data passing through here; objects that have not changed since
 * the snapshot are left alone.
 *
 * Half done, an image is neither the old nor the new. Its metadata says so from before the first
 * object changes until after the last (ROLLBACK_KEY), and rollback_check, which everyone who is
 * about to mount asks, refuses it.
 *
 *   step                          after a crash here
 *   take the lock                 old state
 *   safety snapshot               old state, and one snapshot more
 *   set ROLLBACK_KEY              refused for mounting; the next image_rollback, to this snapshot
 *   change objects, size            or any other, goes on (with the same safety snapshot); to the
 *                                   safety snapshot it undoes what was done
 *   replace KEY by the record     new state
 *   give the lock back            new state
 */

#define ROLLBACK_KEY        "docker-volume-rados.rollback"
#define ROLLBACK_RECORD_KEY "docker-volume-rados.restored." /* + RFC 3339 time: who, when, what */

/* The name of a safety snapshot is this and the UTC time (snapshot_default_name). */
#define ROLLBACK_SAFETY_PREFIX "before-restore-"

struct rollback_progress {
    uint64_t done, total; /* objects looked at */
    uint64_t changed;     /* of them, rolled back or removed */
};

struct rollback {
    const char *snapshot; /* name */
    const char *host;     /* our own name, for the lock and the record */
    unsigned parallel;    /* objects at a time, 0: a good number */
    /* Called from the calling thread now and then and at the end; may be NULL. Anything but 0 stops
     * the rollback where it is (-ECANCELED); it can be gone on with. */
    int (*progress)(void *arg, const struct rollback_progress *progress);
    void *arg;
};

struct rollback_result {
    char safety[SNAPSHOT_NAME_MAX]; /* the snapshot taken before, or of the try that was cut off */
    bool resumed;                   /* an earlier try had been cut off */
    struct rollback_progress objects;
};

/* Do it. 0; -EBUSY (in use: err names the holder); -ENOENT (no such image or snapshot);
 * -ECANCELED; -ETIMEDOUT (the deadline came first: call again, it goes on where it was);
 * -EOPNOTSUPP (image_check_writable); -ENOSPC; or another errno. Blocks up to the deadline; any
 * thread but librados' own. CLUSTER must be of the CONTROL kind. */
int image_rollback(struct cluster *cluster, const char *id, const struct rollback *rollback,
                   int64_t deadline, struct rollback_result *ret, struct error *err);

/* May an image with this header be mounted: 0, or -EUCLEAN with err saying which restore was cut
 * off and how to go on. Pure. */
int rollback_check(const struct image_header *header, struct error *err);
