/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <inttypes.h>
#include <stdio.h>

#include "image/image.h"
#include "rados/cls_rbd.h"

/* The names of an image's RADOS objects. */

#define OBJECT_NAME_MAX (RBD_NAME_MAX + 32)

#define RBD_DIRECTORY "rbd_directory"
#define RBD_TRASH     "rbd_trash"
#define TRASH_ENTRY   "id_" /* and the id: an entry's key in its omap */
#define RBD_LOCK_NAME "rbd_lock"
#define RBD_LOCK_TAG  "internal"

static inline void name_rbd_id(char object[OBJECT_NAME_MAX], const char *name)
{
    snprintf(object, OBJECT_NAME_MAX, "rbd_id.%s", name);
}

static inline void name_header(char object[OBJECT_NAME_MAX], const char *id)
{
    snprintf(object, OBJECT_NAME_MAX, "rbd_header.%s", id);
}

static inline void name_object_map(char object[OBJECT_NAME_MAX], const char *id)
{
    snprintf(object, OBJECT_NAME_MAX, "rbd_object_map.%s", id);
}

/* PREFIX: struct image_header's object_prefix. */
#define DATA_NAME_MAX (IMAGE_PREFIX_MAX + 20)
static inline void name_data(char object[DATA_NAME_MAX], const char *prefix, uint64_t number)
{
    snprintf(object, DATA_NAME_MAX, "%s.%016" PRIx64, prefix, number);
}
