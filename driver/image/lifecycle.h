/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"

/* How an image comes and goes, so that a crash at any point leaves a whole image under its name, or
 * none, and never a half one that anybody sees.
 *
 * One rule decides what an image in the RBD trash is: if its name still leads to it (rbd_id.<name>
 * holds its id), it is alive and only the bookkeeping is unfinished; if not, it is to be deleted,
 * or, where it went there to be kept, kept until it expires.
 *
 *   step                      trash entry   rbd_id.<name>   in rbd_directory   after a crash here
 *   image_prepare             yes           no              no                 deleted by the sweep
 *   image_publish: claim      yes           yes             no                 listed by the sweep
 *   image_publish: list       yes           yes             yes                entry dropped
 *   image_publish: end        no            yes             yes                (an image)
 *   image_unpublish: begin    yes           yes             yes                entry dropped
 *   image_unpublish: unlist   yes           yes             no                 listed again
 *   image_unpublish: unclaim  yes           no              no                 deleted by the sweep
 *   image_delete              no            no              no                 (nothing)
 *
 * Those entries have the source "removing", which `rbd trash ls` shows with --all only.
 *
 * An image that is to be kept for a while is in the trash as `rbd trash mv --expires-at` puts it
 * there: source "user", a time of expiry, and a state. Stock tools list, restore and purge it; who
 * changes the state first, from "normal", has it, they or we. Snapshots stay with it.
 *
 *   step                      state      rbd_id.<name>  in rbd_directory  after a crash here
 *   image_trash: begin        moving     yes            yes               entry dropped
 *   image_trash: unlist       moving     yes            no                listed again
 *   image_trash: unclaim      moving     no             no                state made normal
 *   image_trash: end          normal     no             no                (in the trash)
 *
 *   image_restore: note       normal     no             no                (in the trash)
 *   image_restore: begin      restoring  no             no                state made normal
 *   image_restore: claim      restoring  yes, the new   no                listed, entry dropped
 *   image_restore: list       restoring  yes            yes               entry dropped
 *   image_restore: end        (none)     yes            yes               (an image)
 *
 *   image_purge: condemn      removing   no             no                deleted by the sweep
 *   image_purge: delete       (none)     no             no                (nothing)
 *
 * The sweep does so with images that image_trash put there and image_restore noted the new name of
 * (both say so in the image's metadata, with the entry's time: trash.h), and deletes of them those
 * that have expired; what stock tools put there or work on is theirs.
 *
 * While a client
 * works on such an image it holds the lock "docker-volume-rados.work" on the header, which lapses
 * by itself; the sweep leaves locked images alone, but for those that the caller's own dead
 * predecessor (cluster.h) had locked: that one is fenced, and its work is finished at once. Calls
 * block up to their deadline, at most LIFECYCLE_CALL_MAX_S seconds, which is well below the lock's
 * life; any thread but librados' own.
 */

#define LIFECYCLE_CALL_MAX_S 60

struct image_spec {
    uint64_t size;        /* bytes */
    uint8_t order;        /* log2 of the object size */
    int64_t data_pool_id; /* -1: the pool of the header */
    const struct rbd_pair *metadata;
    size_t metadata_count;
    const struct rbd_parent *parent; /* NULL, or what a clone shows (clone.h) */
    uint64_t overlap;                /* bytes of it, at least 1 */
};

/* Make an image that nobody sees, with room for its data to be written. NAME is the one it is meant
 * to get. The features are layering and exclusive-lock, plus data-pool where one is given, and for
 * a clone deep-flatten, which our way of copying up is (io.h). */
int image_prepare(struct cluster *cluster, const char *name, const struct image_spec *spec,
                  int64_t deadline, struct image_header *ret, struct error *err);

/* Give a prepared image its name, at once and only if nobody has it: 0, or -EEXIST. */
int image_publish(struct cluster *cluster, const char *name, const char *id, int64_t deadline,
                  struct error *err);

/* Delete a prepared image that failed with REASON (a negative errno) before it had a name. After
 * -ETIMEDOUT nobody can tell yet what was done, so it is left to the sweep: -EAGAIN. */
int image_abandon(struct cluster *cluster, const char *id, int reason, struct error *err);

/* Take an image's name away, if nobody uses the image: it is locked for ourselves first, and
 * stays so for a minute, so that nobody who looked its id up before can mount it. Nothing was
 * changed when it fails; after -ETIMEDOUT either may be true. A client that has the image open
 * without its lock and does not answer is waited for: the cluster gives a dead one up soon. MARK is
 * a metadata key that is set on the image, so that the sweep knows it as ours. 0; -EBUSY (locked or
 * open somewhere: err names the client); -ENOTEMPTY (it has snapshots); -ENOENT; or another errno.
 */
int image_unpublish(struct cluster *cluster, const char *name, const char *id, const char *mark,
                    int64_t deadline, struct error *err);

/* Put an image into the trash for KEEP_S seconds: it loses its name as with image_unpublish, and
 * keeps everything else. 0, and what image_unpublish returns, but for -ENOTEMPTY; -EBUSY also when
 * a snapshot is protected or has a clone that is alive (err names it): an expiry could not be kept.
 * Clones that are in the trash themselves do not count: they go first. */
int image_trash(struct cluster *cluster, const char *name, const char *id, unsigned keep_s,
                int64_t deadline, struct error *err);

/* Take an image out of the trash, whoever put it there, and give it NAME, if nobody has that. 0,
 * also when a dead client had done all of that but the bookkeeping; -EEXIST (the name is taken:
 * nothing changed); -ENOENT (not in the trash); -EPERM (not there by the doing of a user); -EBUSY
 * (being deleted or restored by another client); after -ETIMEDOUT either may be true: the next try,
 * or the sweep, settles it. */
int image_restore(struct cluster *cluster, const char *id, const char *name, int64_t deadline,
                  struct error *err);

/* Delete an image in the trash for good, its snapshots with it. 0; -ENOENT, -EPERM as above; -EBUSY
 * (a snapshot is protected or has clones, the image is used, restored by another client, or not one
 * of those that WHICH says: err names the reason); -EAGAIN as image_delete. It cannot be restored
 * any more once something was deleted. */
enum purge_which {
    PURGE_ANY,
    PURGE_EXPIRED,
    PURGE_CONDEMNED, /* somebody has begun to, and died */
};
int image_purge(struct cluster *cluster, const char *id, enum purge_which which, int64_t deadline,
                struct error *err);

/* Is the image with this header still the one called NAME: 0, or -ENOENT. For one who looked its id
 * up a while ago and holds its lock now; costs nothing unless the image was ever in the trash. */
int image_check_named(struct cluster *cluster, const char *name, const struct image_header *header,
                      int64_t deadline, struct error *err);

/* Delete an image that has no name: snapshots, data, header, trash entry. 0, or -EAGAIN when the
 * deadline came first (call again; the sweep does), -EBUSY when another client is at it, or another
 * errno. */
int image_delete(struct cluster *cluster, const char *id, int64_t deadline, struct error *err);

/* Finish what dead clients left, and delete what has expired: see the tables. Of the images with
 * the source "removing", looks only at those that carry metadata with the prefix MARK_PREFIX. 0
 * when all is done, -EAGAIN when something had to be left for later, or another errno. */
int image_sweep(struct cluster *cluster, const char *mark_prefix, int64_t deadline,
                struct error *err);
