/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "block/backend.h"

/* Freezing the file system that is mounted from our own block device.
 *
 * The ioctl that freezes writes to that device and cannot be interrupted, so no thread of ours may
 * make it: a blockd that is killed inside it could not die, as its device would wait for it. So a
 * process does it, radosvol-freeze, of which one lives per freeze:
 *
 *   blockd                               radosvol-freeze
 *   starts it with one end of a socket   finds where the device is mounted, opens that directory
 *                                        sends it:  "mount" and the descriptor; or "none"
 *   keeper stores it as "frozen"
 *   "freeze"                             syncs, FIFREEZE, "frozen"
 *   "thaw", or the socket closes,        FITHAW, "thawed", ends
 *     or FREEZE_MAX_MS have passed
 *
 *   who dies                 who thaws
 *   blockd                   radosvol-freeze, whose socket closes
 *   radosvol-freeze          blockd, whose socket closes, with another one on the kept descriptor
 *   both                     the next blockd, which finds "frozen" in its keeper
 *   both and the supervisor  nobody could: the device is gone too, and what was mounted from it
 *                            fails; "radosvol rescue" ends such mounts
 *
 * A freeze that takes longer than its deadline is undone by radosvol-freeze when it ends; its users
 * wait for the device as they would have to without the freeze. */

#define FREEZER_KEPT_NAME "frozen"

struct freezer;

/* PROGRAM: path of radosvol-freeze. DEVICE: path of our block device. Thaws what a predecessor left
 * frozen (the device must be served already). 0, or negative errno. */
int freezer_open(const char *program, const char *device, struct fd_keeper *keeper,
                 struct freezer **ret, struct error *err);

/* As struct ownership_hooks wants it (image/ownership.h): ARG is the freezer. One thread at a
 * time. */
int freezer_freeze(void *arg, int64_t deadline, struct error *err);
int freezer_thaw(void *arg);

void freezer_close(struct freezer *freezer); /* thaws; accepts NULL */
