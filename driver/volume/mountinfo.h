/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* The text of /proc/PID/mountinfo (proc(5)). Pure functions; lines that are not as documented are
 * passed over. */

/* The newest mount whose mount point is TARGET, an absolute path without symbolic links: 0 with the
 * device number of its file system, or -ENOENT. */
int mountinfo_find(const char *text, const char *target, dev_t *ret_device);

/* The next mount of the file system on DEVICE, from *at on, which is moved behind it. 0 with its
 * mount point, or -ENOENT. Those whose path does not fit are passed over. */
int mountinfo_next(const char **at, dev_t device, char *ret_target, size_t size);
