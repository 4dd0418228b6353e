/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "rados/cluster.h"

/* What an operator wants to know when something does not work: each function looks at one thing,
 * leaves everything as it was, and has words with the next step when it is not as it should be. */

/* Which of the keyring files that ceph.conf names is used: 0 with its path; -ENOENT when there is
 * none; or another errno (ceph.conf cannot be read). Does not connect. */
int diagnose_keyring(const struct cluster_settings *settings, char *ret_path, size_t size,
                     struct error *err);

/* May this client fence others, as a takeover must? 0, -EACCES, or another errno. Asks the monitors
 * to blocklist an address that is none: who may do it is told so, who may not is refused. */
int diagnose_fence_right(struct cluster *cluster, struct error *err);

/* Is the pool marked as one of RBD images? 0, -ENODATA, or another errno. */
int diagnose_application(struct cluster *cluster, struct error *err);

/* May this client write objects and call object classes in the pool? A scratch object is made,
 * locked, and removed. 0 with the cluster's clock (that of the OSD) minus this host's, and how far
 * off that may be, in nanoseconds; -EPERM; -ENOSPC (the pool is full); -ETIMEDOUT; or another
 * errno. */
int diagnose_pool(struct cluster *cluster, int64_t deadline, int64_t *ret_clock_ns,
                  int64_t *ret_precision_ns, struct error *err);
