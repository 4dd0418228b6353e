/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/backend.h"
#include "block/blockd_options.h"
#include "block/control.h"

/* What a blockd is for: one image, open and served as a block device; owned, or --shared: watched
 * and only read. */

struct volume;

/* Connect, take ownership (or watch), open and attach, each step bounded. CANCELLED is asked
 * between the steps. On failure everything is given back. 0, -ECANCELED, or what the step said. */
int volume_attach(const struct blockd_options *options, struct fd_keeper *keeper,
                  bool (*cancelled)(void *arg), void *arg, struct volume **ret, struct error *err);

/* Remove the device, then give lock, watch and connection back, and free VOLUME. -EBUSY (the device
 * is in use) or another failure: nothing has changed. */
int volume_detach(struct volume *volume, struct error *err);

/* Give lock and watch back although the device is in use: all I/O to it fails from now on, and what
 * was under way has ended before. The process must end at once; VOLUME is only good for that. 0, or
 * -ETIMEDOUT: the cluster does not answer, and whoever mounts next must fence us. */
int volume_abandon(struct volume *volume, struct error *err);

/* A descriptor that polls readable when volume_run has work. Borrowed. */
int volume_fd(const struct volume *volume);

/* Look after the ownership: called when volume_fd is readable and at least every VOLUME_RUN_MS. */
#define VOLUME_RUN_MS 2000
void volume_run(struct volume *volume);

const char *volume_device(const struct volume *volume); /* "/dev/loop3" */

/* Why the process must end at once (OWNERSHIP_LOST, READER_CUT_OFF), or NULL. */
const char *volume_loss(const struct volume *volume);

/* Why all I/O fails from now on (OWNERSHIP_FENCED, READER_GONE), or NULL. */
const char *volume_fence(const struct volume *volume);

/* Fill in all of a BLOCKD_STATUS answer but the version and the process. */
void volume_status(const struct volume *volume, struct blockd_reply *ret);
/* The same of a BLOCKD_STATS answer. */
void volume_stats(const struct volume *volume, struct blockd_stats *ret);
