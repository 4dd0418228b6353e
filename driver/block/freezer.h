/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "block/backend.h"

/* Freezing the file system that is mounted from our own block device.
 *
 * The ioctl that freezes writes to that device and cannot be interrupted, so no thread of ours may
 * make it: a blockd that is killed inside it could not die, as its device would wait for it. So a
 * process does it, radosvol-freeze, of which one lives per freeze. The two talk in packets of
 * keeper.h, over a socket that is its descriptor 3:
 *
 *   blockd                              radosvol-freeze DEVICE
 *   starts it                           finds where the device is mounted and opens that directory
 *                                       FREEZE_MOUNT and the descriptor; or FREEZE_NONE, and ends
 *   has the keeper store it as "frozen"
 *   FREEZE_BEGIN                        syncs, FIFREEZE; FREEZE_DONE, or FREEZE_FAILED <errno>
 *   FREEZE_END, or its end closes       FITHAW; FREEZE_ENDED, and ends
 *                                       FREEZE_LIFE_MS passed: FITHAW; FREEZE_EXPIRED, and ends
 *
 *   who dies                 who thaws
 *   blockd                   radosvol-freeze, whose socket closes
 *   radosvol-freeze          blockd, with another one ("radosvol-freeze --thaw", the kept
 *                            descriptor as 4) as soon as the snapshot is done
 *   both                     the next blockd, which finds "frozen" in its keeper
 *   both and the supervisor  nobody: with the last of them the device is gone, and what was mounted
 *                            from it fails
 *
 * The directory is open, so the mount is busy, while the freeze lasts and not longer. A freeze that
 * does not come about by its deadline is given up: radosvol-freeze thaws when its ioctl returns. */

#define FREEZER_KEPT_NAME "frozen"

#define FREEZE_LIFE_MS 10000

#define FREEZE_MOUNT   "mount"
#define FREEZE_NONE    "none"
#define FREEZE_BEGIN   "begin"
#define FREEZE_DONE    "frozen"
#define FREEZE_FAILED  "failed "
#define FREEZE_END     "end"
#define FREEZE_ENDED   "thawed"
#define FREEZE_EXPIRED "expired"

struct freezer;

/* PROGRAM: path of radosvol-freeze. DEVICE: path of our block device, which is served already: what
 * a predecessor left frozen is thawed, within a few seconds if the device answers. 0 or -ENOMEM. */
int freezer_open(const char *program, const char *device, struct fd_keeper *keeper,
                 struct freezer **ret);

/* As struct ownership_hooks wants it (image/ownership.h): ARG is the freezer. One thread at a
 * time. A device that is mounted nowhere has nothing to freeze: 0. freezer_freeze fails with -EBUSY
 * when somebody else has frozen it, or when an earlier freeze has not come to its end. */
int freezer_freeze(void *arg, int64_t deadline, struct error *err);
int freezer_thaw(void *arg);

void freezer_close(struct freezer *freezer); /* thaws; accepts NULL */
