/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* How long a program that looks at each new device (udev, blkid) may have it open before the device
 * counts as busy. */
#define CLAIM_VISIT_MS 2000

/* A mounted file system claims its device for itself alone; so do we for a moment. 0, or -EBUSY:
 * somebody uses DEVICE that way. Programs that just have it open are not seen. */
int claim_check(const char *device, bool read_only, struct error *err);
