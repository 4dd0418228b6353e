/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "rados/cluster.h"

/* What becomes of a lock whose holder may be dead: find out, without asking a living holder for
 * anything, and make a dead one harmless.
 *
 * Only the cluster can take the power to write away, by refusing everything that comes from one
 * client instance (the blocklist). A dead host may still have writes under way in the network or in
 * an OSD's queue, and a host that was only cut off will send its writes when it comes back. So the
 * order is: blocklist, wait until the OSDs will know, and only then break the lock. */

/* How long the blocklist remembers an instance. A client that was cut off for half as long ends
 * itself (ownership.h), so that its last writes cannot arrive after that. */
#define FENCE_LIFE_S 86400

enum holder_life {
    HOLDER_ALIVE,  /* it watches the header and answered */
    HOLDER_SILENT, /* it is registered as a watcher and does not answer: dead or cut off, but the
                    * cluster has not given it up yet */
    HOLDER_DEAD,   /* it does not watch any more */
    HOLDER_FOREIGN /* not the lock of librbd, krbd or ours: made by hand; nobody can tell */
};

/* "alive", "silent", "dead", "foreign" */
const char *holder_life_word(enum holder_life life);

/* Is the holder of LOCK (count > 0) alive? Asks all watchers of image ID with a header update,
 * which every client may ignore. 0, -ETIMEDOUT, or what librados returned. Takes about a second
 * when a watcher is silent. */
int takeover_look(struct cluster *cluster, const char *id, const struct lock_info *lock,
                  int64_t deadline, enum holder_life *ret, struct error *err);

/* Blocklist the client instance that HOLDER names, wait for the OSD map that says so, and break its
 * lock LOCK on the header of image ID. Nothing else of that host is touched. Whether the holder is
 * dead is the caller's business.
 * 0; -EPERM (the caps lack "profile rbd"); or another errno, then the lock is as it was. */
int takeover_fence(struct cluster *cluster, const char *id, const char *lock,
                   const struct lock_holder *holder, int64_t deadline, struct error *err);

/* A lock that dies with its client carries a token in its description, TAKEOVER_TOKEN and the
 * token at the end. Is HOLDER another client with the same non-empty TOKEN, that is, a predecessor
 * of this one, which is dead? */
#define TAKEOVER_TOKEN " token="
bool takeover_is_predecessor(const struct cluster *cluster, const struct lock_holder *holder,
                             const char *token);

/* One attempt to get past whoever holds the exclusive lock of image ID, on behalf of HOST. A
 * predecessor (TOKEN) and a dead holder are fenced, the latter with a record. 0: look again,
 * perhaps after a pause (*ret_life is HOLDER_SILENT); *ret_lock is what was found, of count 0 when
 * nobody holds it. -EBUSY: takeover_refuse; or another errno. */
int takeover_displace(struct cluster *cluster, const char *id, const char *host, const char *token,
                      int64_t deadline, struct lock_info *ret_lock, enum holder_life *ret_life,
                      struct error *err);

/* -EBUSY, with err naming the holder and the next step. */
int takeover_refuse(const struct lock_info *lock, enum holder_life life, struct error *err);

/* Leave a record in the image's metadata: who took it from whom, when and why. The last
 * TAKEOVER_RECORDS_MAX are kept. */
#define TAKEOVER_KEY         "docker-volume-rados.takeover." /* + RFC 3339 time with nanoseconds */
#define TAKEOVER_RECORDS_MAX 20
int takeover_record(struct cluster *cluster, const char *id, const struct lock_info *lock,
                    const char *new_host, const char *why, int64_t deadline, struct error *err);
