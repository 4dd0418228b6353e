/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <rados/librados.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "image/image.h"

/* Go through the data objects of an image with a few threads, for what librados for C can do to one
 * object at a time only. */

/* How many objects SIZE bytes of the image make. */
uint64_t object_count(const struct image_header *header, uint64_t size);

/* The pool of an image's data objects. 0 or negative errno with err; rados_ioctx_destroy. */
int object_open_pool(struct cluster *cluster, const struct image_header *header, rados_ioctx_t *ret,
                     struct error *err);

struct object_walk {
    uint64_t total;    /* objects 0 to total - 1 */
    unsigned parallel; /* at a time, 0: a good number */
    /* From one of the threads; 0 or a negative errno, which ends the walk. */
    int (*each)(void *arg, uint64_t number);
    /* From the calling thread, several times a second and at the end: how many are done. May be
     * NULL. Anything but 0 ends the walk and is its result. */
    int (*progress)(void *arg, uint64_t done);
    void *arg;
};

/* 0, or the first thing that went wrong; *ret_done objects are done. Blocks; any thread but
 * librados' own. */
int object_walk(const struct object_walk *walk, uint64_t *ret_done);

/* Look at an object, now or at the snapshot that IO reads from: one round trip, no data. Several
 * looks can be under way at once. */
struct object_look {
    rados_completion_t completion;
    uint64_t size; /* bytes, once it has ended */
    time_t modified;
};

/* 0 or negative errno: then there is nothing to end. */
int object_look_begin(struct object_look *look, rados_ioctx_t io, const char *object);

/* 0 or negative errno. *ret_version names one state of one object: a write, also one of the same
 * bytes, makes a new one, and a snapshot keeps that of its copy. 0: there is no object. */
int object_look_end(struct object_look *look, uint64_t *ret_version);
