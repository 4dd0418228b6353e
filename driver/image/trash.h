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

/* Put image ID into the trash as SPEC says, in place of an entry that was left there. For the one
 * who has locked it. */
int trash_put(struct cluster *cluster, const char *id, const struct rbd_trash_spec *spec,
              int64_t deadline);

/* The entry of image ID: 0, -ENOENT, ... */
int trash_get(struct cluster *cluster, const char *id, int64_t deadline,
              struct rbd_trash_spec *ret);

/* Change the state of an entry, in one step: 0 also when it has the new one; -ESTALE when it has
 * neither; -ENOENT. */
int trash_set_state(struct cluster *cluster, const char *id, enum rbd_trash_state from,
                    enum rbd_trash_state to, int64_t deadline);

/* Metadata of an image with an entry that a user sees. Both begin with the time of the entry's
 * deletion (trash_stamp), so that they say nothing of an entry that was made later, such as by
 * `rbd trash mv`. TRASH_KEY: image_trash has put it there, so it is for the sweep to delete when it
 * expires. RESTORE_KEY: it is getting a name, which follows after a blank. */
#define TRASH_KEY       "docker-volume-rados.trash"
#define RESTORE_KEY     "docker-volume-rados.restore"
#define TRASH_STAMP_MAX 40
void trash_stamp(const struct rbd_trash_spec *spec, char ret[TRASH_STAMP_MAX]);

bool trash_has_expired(const struct rbd_trash_spec *spec);

/* Has image_trash made this entry? */
bool trash_is_ours(const struct image_header *header, const struct rbd_trash_spec *spec);

/* The name that the image of this entry is getting, borrowed; NULL: none. */
const char *trash_restored_name(const struct image_header *header,
                                const struct rbd_trash_spec *spec);

/* May what keeps snapshots go: -EBUSY when one of them is protected, belongs to a group, or has
 * clones; of those, with LIVING_ONLY, only they that are not in the trash themselves. err names
 * them. */
int trash_check_kept(struct cluster *cluster, const struct image_header *header, bool living_only,
                     int64_t deadline, struct error *err);

/* Take the entry of image ID out of the trash (the image itself is left alone). For the one who
 * has locked the image, or of an image that does not exist. */
int trash_forget(struct cluster *cluster, const char *id, int64_t deadline);

/* Is the entry of image ID still the one that was SEEN: 0; -ENOENT; or -ESTALE when it is another
 * one, made by somebody who has removed or restored the image since. */
int trash_check_seen(struct cluster *cluster, const char *id, const struct rbd_trash_spec *seen,
                     int64_t deadline);

/* trash_forget if the entry is in STATE and, unless DELETED is NULL, of that time. 0 also when
 * there is none; -ESTALE when it is another one. That has to stay: nothing else may lead to the
 * image once the name is gone. */
int trash_forget_if(struct cluster *cluster, const char *id, enum rbd_trash_state state,
                    const struct timespec *deleted, int64_t deadline);

/* Let NAME lead to ID, at once and only if it leads nowhere: 0, or -EEXIST. */
int trash_claim(struct cluster *cluster, const char *name, const char *id, int64_t deadline);

/* Put NAME, which leads to ID, into the directory, in place of an entry of another image; or take
 * it out if it is there with this ID. 0, also when that was so already; or an errno. */
int trash_list_name(struct cluster *cluster, const char *name, const char *id, int64_t deadline);
int trash_unlist_name(struct cluster *cluster, const char *name, const char *id, int64_t deadline);

/* NAME leads to ID: list it in the directory and drop its trash entry, as trash_forget_if. */
int trash_publish(struct cluster *cluster, const char *name, const char *id,
                  enum rbd_trash_state state, const struct timespec *deleted, int64_t deadline);

/* The work lock of lifecycle.h. A creator and a deleter differ in the cookie, so that they exclude
 * each other inside one client too; ids are random, so there is one creator per image. */
#define WORK_LOCK   "docker-volume-rados.work"
#define WORK_CREATE "create"
#define WORK_DELETE "delete" /* or restore */
void trash_encode_work_lock(struct encoder *e, const struct cluster *cluster, const char *cookie);
/* Keep other clients' sweeps away with WORK_DELETE: 0, -EBUSY, or -ENOENT when there is no header
 * (any more). */
int trash_work_lock(struct cluster *cluster, const char *id, int64_t deadline, struct error *err);
/* When this fails the lock lapses by itself. */
void trash_work_unlock(struct cluster *cluster, const char *id, const char *cookie);

/* Who works on image ID now. 0 or a negative errno. */
int trash_work_holder(struct cluster *cluster, const char *id, int64_t deadline,
                      struct lock_info *ret);

/* The exclusive lock that keeps others away while the name is taken off. Its tag is not librbd's,
 * so every client takes it for a foreign lock and leaves it; it lapses by itself. */
#define REMOVE_COOKIE "docker-volume-rados remove"
#define REMOVE_TAG    "docker-volume-rados"

/* A client that has the image open without its lock, and is silent, is dead or cut off, and the
 * cluster forgets it after a while. So it is asked again, as long as this much of the deadline is
 * left for the last question and for what follows. A silent holder of the lock is not waited for:
 * it may be cut off for a moment only, and a removal would destroy its data. */
#define TRASH_FINISH_MS 4000

/* Image ID is to go: a living holder of its exclusive lock refuses that (-EBUSY, err names it), a
 * silent one is waited for, a dead one is fenced. 0 also when nobody holds it. */
int trash_displace_dead(struct cluster *cluster, const char *name, const char *id, int64_t deadline,
                        struct error *err);

/* Finish what a dead client left of ENTRY (lifecycle.h), if it is ours: with the source "removing",
 * the image must carry metadata with the prefix MARK_PREFIX. 0 also when there is nothing to do or
 * it is another client's; -EAGAIN: it is not time yet. */
int trash_settle(struct cluster *cluster, const struct rbd_trash_entry *entry,
                 const char *mark_prefix, int64_t deadline, struct error *err);

/* What a lock says that WORDS describe, with the client's token for its successor. */
void trash_describe_lock(const struct cluster *cluster, const char *words, char ret[LOCK_DESC_MAX]);

/* Everything in the trash, also what only `rbd trash ls --all` shows; *ret is one array, free(). */
int trash_list(struct cluster *cluster, int64_t deadline, struct rbd_trash_entry **ret,
               size_t *ret_count, struct error *err);

/* Does the image carry metadata whose key begins with PREFIX? */
bool trash_is_marked(const struct image_header *header, const char *prefix);
