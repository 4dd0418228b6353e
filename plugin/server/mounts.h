/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "plugin/server/attach.h"

/* What is attached on this host: one slot per volume, worked on by one call at a time. A call waits
 * for its own volume's slot only, and no longer than its deadline.
 *
 *   state      directory  device  leaves by
 *   idle       -          -       first mount                                   -> mounted
 *   mounted    yes        yes     last unmount, all given back                  -> idle
 *                                 last unmount, somebody still uses it          -> lingering
 *   lingering  perhaps    yes     retried each second: nobody uses it any more  -> idle
 *                                 a new mount                                   -> mounted
 *
 * Somebody: another mount namespace that got a copy of the mount, or a process with its working
 * directory there. The unmount is a success for dockerd all the same, it would not come again.
 *
 * While it is mounted, its file system follows the size of its device: the device is looked at each
 * second, and when it has grown, or was mounted anew, the file system is made as large as it. (Not
 * by the blockd: it must not touch the files of its own device, or it would wait for itself.)
 *
 * After a restart of the server the slots come from the ledger files and what is really mounted. */

struct mounts;
struct slot;

/* ATTACH is copied; what it points to must outlive the result. Rebuilds the slots without talking
 * to the cluster. 0 or negative errno. */
int mounts_open(const struct attach *attach, struct mounts **ret, struct error *err);

/* Stop retrying, and give back what nobody uses, up to the deadline. For the end of the process:
 * nothing is freed, for a stuck call may still be there. */
void mounts_stop(struct mounts *mounts, int64_t deadline);

/* A dockerd began its life (Plugin.Activate): mounts of IDs of former lives are taken over. */
void mounts_new_epoch(struct mounts *mounts);

/* One more use of the volume by mount ID; *ret_target is where it is mounted. */
int mounts_mount(struct mounts *mounts, const char *volume, const char *id, int64_t deadline,
                 char ret_target[PATH_MAX], struct error *err);

/* One use less. 0 also when the volume or the ID is not known here (a repeated unmount). */
int mounts_unmount(struct mounts *mounts, const char *volume, const char *id, int64_t deadline,
                   struct error *err);

/* Keep others from working on the volume, until mounts_let_go. DOING is what for, in words for
 * those who wait too long: a constant, or NULL. -ETIMEDOUT, or -EBUSY when it is known with what,
 * with err. */
int mounts_hold(struct mounts *mounts, const char *volume, const char *doing, int64_t deadline,
                struct slot **ret, struct error *err);
/* Of a held volume: give back whatever is left over from a dockerd's former life, then 0; or -EBUSY
 * with err when it is in use on this host. */
int mounts_check_unused(struct mounts *mounts, struct slot *slot, int64_t deadline,
                        struct error *err);
/* Of a held and unused volume that was removed from the cluster: keep no file for it. */
void mounts_forget(struct mounts *mounts, struct slot *slot);
/* The same for volumes that other hosts removed: NAMES are all that there were a moment ago. One
 * that is used here, or worked on, is left alone. A volume of such a name that is as new as the
 * question may be forgotten too: should its blockd have been killed, then the next mount waits
 * until the cluster has given the dead one up, as it would on any other host. */
void mounts_forget_gone(struct mounts *mounts, const char *const names[], size_t count);
/* Of a held volume: make its file system as large as its device if it is mounted here (*ret_size:
 * its bytes, 0 when it is not). Whatever makes a device larger, this happens by itself within a few
 * seconds; it is for those who want to know. */
int mounts_grow(struct mounts *mounts, struct slot *slot, uint64_t *ret_size, struct error *err);
void mounts_let_go(struct mounts *mounts, struct slot *slot);

/* What there is of a volume on this host, for Status. Does not block. */
struct mounts_view {
    bool mounted;
    bool lingering;
    char target[PATH_MAX]; /* "" unless mounted */
    char image_id[IMAGE_ID_MAX];
    char device[64];
    char (*ids)[LEDGER_ID_MAX]; /* free() */
    size_t id_count;
};
void mounts_look(struct mounts *mounts, const char *volume, struct mounts_view *ret);

/* Names of the mounted volumes, sorted: one allocation, free(); NULL with *ret_count 0 when there
 * are none. Does not block. */
char (*mounts_names(struct mounts *mounts, size_t *ret_count))[VOLUME_NAME_MAX];
