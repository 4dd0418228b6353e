/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/io.h"
#include "rados/cluster.h"
#include "rados/header_notify.h"

/* Ownership of an image: who may write it. Same protocol as librbd and krbd, so stock tools and we
 * respect each other.
 *
 *   state      lock   watch   writes   leaves by
 *   free       no     no      no       ownership_acquire            -> owned
 *   owned      yes    yes     yes      ownership_release            -> free
 *                                      watch error                  -> unwatched
 *   unwatched  yes    no      yes      re-watch and set_cookie      -> owned
 *                                      blocklisted (-ESHUTDOWN)     -> fenced
 *                                      lock lost                    -> fenced
 *                                      half the life of a fence     -> lost
 *   fenced     ?      no      never    ownership_release            -> (ended)
 *   lost       ?      no      (yes)    the process must end at once
 *
 * Lost: another host may have fenced us and the fence may lapse before we hear of it. librados
 * would then send what it still holds, so only the end of the process is safe.
 */

enum ownership_state {
    OWNERSHIP_OWNED,
    OWNERSHIP_UNWATCHED,
    OWNERSHIP_FENCED,
    OWNERSHIP_LOST,
};

struct ownership;

/* Watch image ID's header and take its exclusive lock; then read the header again into *ret_header
 * (the caller frees it). HOST and TOKEN go into the lock's description with the time, and other
 * hosts show them. A lock whose description carries the same non-empty TOKEN is a dead
 * predecessor's (the caller vouches that it is dead): it is fenced and its lock broken at once. Any
 * other holder is left alone while it is alive, waited for while it is silent, and fenced when the
 * cluster has given it up; that takeover is recorded in the image's metadata (takeover.h).
 * WATCH_TIMEOUT_S: seconds after which the cluster forgets a silent watcher.
 * 0; -EBUSY (held by another client: err names it and the next step); -ENOENT;
 * -ETIMEDOUT; -EPERM; -EOPNOTSUPP (image_check_writable); or what librados returned. */
int ownership_acquire(struct cluster *cluster, const char *id, const char *host, const char *token,
                      unsigned watch_timeout_s, int64_t deadline, struct image_header *ret_header,
                      struct ownership **ret, struct error *err);

/* The I/O that must follow the header's changes and stop when fenced. Set once, before serving. */
void ownership_attach_io(struct ownership *ownership, struct image_io *io);

/* A descriptor that polls readable when ownership_run has work. Borrowed. */
int ownership_fd(const struct ownership *ownership);

/* Serve what happened since: answer notifies, follow header updates, re-watch after an error, start
 * what others asked for.
 * Called from the process' main loop when ownership_fd is readable and at least every few seconds.
 */
void ownership_run(struct ownership *ownership);

/* What proves the lock to be ours in an operation on the header (owner_work.h). Borrowed. */
const char *ownership_cookie(const struct ownership *ownership);

enum ownership_state ownership_state(const struct ownership *ownership);

/* When the cluster last confirmed the watch, as of the last ownership_run (CLOCK_MONOTONIC ns).
 * Others may take the image over once that is longer ago than the watch timeout. */
int64_t ownership_confirmed(const struct ownership *ownership);

/* Work that others ask an owner for by notify, as librbd's clients do: SNAP_CREATE, SNAP_REMOVE,
 * RESIZE (larger only) and FLATTEN, once it has its I/O (ownership_attach_io). Each is done by a
 * thread of the ownership, one after the other (a flatten's objects are copied beside them), so
 * that ownership_run waits for none of them; the rest is refused with -EOPNOTSUPP, and REQUEST_LOCK
 * with -EROFS: an owner keeps its image. QUIESCE freezes like a
 * snapshot does, for one client at a time (else -EBUSY), until its UNQUIESCE, or at most for
 * OWNERSHIP_FREEZE_MAX_MS. UNQUIESCE is answered, unlike by librbd: 0 when the freeze held until
 * then, or -ETIMEDOUT.
 *
 * A snapshot, step by step (nothing is changed when one before "add" fails):
 *
 *   freeze     the file system's journal and caches are written out; its users wait
 *   pause      requests under way end; whatever else writes to the device waits
 *   add        an id is taken and, if the lock is still ours, put into the header (one operation)
 *   resume     from here on writes leave the snapshot's data alone
 *   thaw
 *   announce   HEADER_UPDATE to all, then ASYNC_COMPLETE to who asked
 *
 * When the cluster does not answer "add" in time, I/O goes on as if the snapshot existed: if it
 * does turn up, it is whole. */
#define OWNERSHIP_FREEZE_MAX_MS 10000

/* What the owner's program adds to that; each may be NULL. All are called from the ownership's
 * thread. Set once, before serving. */
struct ownership_hooks {
    /* Write everything out and let nobody write until thaw(): 0 (also when nobody could write), or
     * a negative errno with err: then nothing is frozen. It must end by itself, whatever dies, at
     * most OWNERSHIP_FREEZE_MAX_MS after it began. */
    int (*freeze)(void *arg, int64_t deadline, struct error *err);
    /* End it. 0: it held until now; -ETIMEDOUT: it had ended before. */
    int (*thaw)(void *arg);
    /* A request has been done, or failed with RESULT and WORDS: for the log. */
    void (*report)(void *arg, const struct header_notify *request, int result, const char *words);
    void *arg;
};
void ownership_set_hooks(struct ownership *ownership, const struct ownership_hooks *hooks);

/* Called from ownership_run, after the I/O side has the new size, when the image's size changed. */
void ownership_on_resize(struct ownership *ownership, void (*resized)(void *arg, uint64_t size),
                         void *arg);

/* End the work others asked for (what has not begun is refused), unlock, tell the others, unwatch,
 * free. Accepts NULL. */
void ownership_release(struct ownership *ownership);

/* Who holds a lock, in words for an operator: "host-b since 10:02:11 UTC (client 4123)". */
void ownership_describe(const struct lock_info *lock, char *text, size_t size);

/* What a client of ours says of itself: this and " key=value" for "host", "since" (RFC 3339, UTC)
 * and others. Make one that begins now; get the value of KEY, "" when there is none. Pure but for
 * the time. */
#define OWNERSHIP_DESCRIPTION "docker-volume-rados"
void ownership_make_description(char *text, size_t size, const char *host);
void ownership_description_get(const char *description, const char *key, char *value, size_t size);

/* Host name and start time (RFC 3339, UTC) out of a lock's description; "" where it says none (a
 * lock of librbd or krbd). */
void ownership_parse_description(const char *description, char *host, size_t host_size, char *since,
                                 size_t since_size);
