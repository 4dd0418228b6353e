/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Making a FUSE file system that is attached nowhere: it has no mount point and no line in
 * mountinfo, nobody can open its file but the owner of the mount descriptor, and it goes away by
 * itself with its last user. */

/* What this machine needs for it: 0, or negative errno with err naming what is missing. */
int fuse_mount_probe(struct error *err);

/* Does this machine let requests wait as long as it takes, as a disk's do? 0, or -ETIME with err
 * naming the setting by which the kernel (Linux 6.14 and newer) aborts those that take long: a file
 * system mounted while it is set fails when the cluster is away for longer. */
int fuse_mount_time_limit(struct error *err);

/* Mount and agree on the protocol: *ret_fuse_fd is ready for requests and *ret_root_fd is the mount
 * (openat() on it finds the file). The caller closes both. MAX_BACKGROUND: requests in flight. */
int fuse_mount_open(uint16_t max_background, int *ret_fuse_fd, int *ret_root_fd, struct error *err);

/* Will this kernel send again what a dead process had read but not answered? 0, or -EOPNOTSUPP
 * (before Linux 6.9) with err saying what that means. */
int fuse_mount_survives(struct error *err);

/* Have the kernel send again what a dead process had read from FUSE_FD but not answered. Call it
 * before the first read. 0; -EOPNOTSUPP: the kernel cannot, and those requests end only with the
 * file system. */
int fuse_mount_resend(int fuse_fd, struct error *err);
