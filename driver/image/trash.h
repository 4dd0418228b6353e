/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"

/* The pieces that creation, removal and sweep (lifecycle.h) share. Each returns 0 or a negative
 * errno; every step may be repeated. */

/* Put image ID, known as NAME, into the trash with the source "removing". */
int trash_add(struct cluster *cluster, const char *id, const char *name, enum rbd_trash_state state,
              int64_t deadline);

/* Take the entry of image ID out of the trash (the image itself is left alone). */
int trash_forget(struct cluster *cluster, const char *id, int64_t deadline);

/* NAME leads to ID: list it in the directory and drop its trash entry. */
int trash_publish(struct cluster *cluster, const char *name, const char *id, int64_t deadline);

/* The work lock of lifecycle.h. A creator and a deleter differ in the cookie, so that they exclude
 * each other inside one client too; ids are random, so there is one creator per image. */
#define WORK_LOCK   "docker-volume-rados.work"
#define WORK_CREATE "create"
#define WORK_DELETE "delete"
void trash_encode_work_lock(struct encoder *e, const struct cluster *cluster, const char *cookie);
/* When this fails the lock lapses by itself. */
void trash_work_unlock(struct cluster *cluster, const char *id, const char *cookie);

/* Who works on image ID now. 0 or a negative errno. */
int trash_work_holder(struct cluster *cluster, const char *id, int64_t deadline,
                      struct lock_info *ret);

/* What a lock says that WORDS describe, with the client's token for its successor. */
void trash_describe_lock(const struct cluster *cluster, const char *words, char ret[LOCK_DESC_MAX]);

/* Everything in the trash, also what only `rbd trash ls --all` shows; *ret is one array, free(). */
int trash_list(struct cluster *cluster, int64_t deadline, struct rbd_trash_entry **ret,
               size_t *ret_count, struct error *err);

/* Does the image carry metadata whose key begins with PREFIX? */
bool trash_is_marked(const struct image_header *header, const char *prefix);
