/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/rollback.h"
#include "rados/cluster.h"

/* Bring an image's data objects back to a snapshot: the part of a rollback (rollback.h) that takes
 * long. Doing it again does no harm; what an earlier try rolled back counts as changed then. */

struct rollback_objects {
    struct cluster *cluster;           /* CONTROL: its operations fail when nobody answers */
    const struct image_header *header; /* its snapshot context is written under */
    uint64_t snap_id;
    uint64_t snap_size; /* bytes; objects behind it are removed */
    unsigned parallel;  /* objects at a time, 0: a good number */
    /* As in struct rollback, but what it returns is the result. Called every few hundred objects
     * and at least once a second, from the calling thread. */
    int (*progress)(void *arg, const struct rollback_progress *progress);
    void *arg;
};

/* 0, what PROGRESS returned, or a negative errno with err. */
int rollback_objects(const struct rollback_objects *what, struct rollback_progress *ret,
                     struct error *err);
