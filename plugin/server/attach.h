/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <limits.h>
#include <stdint.h>

#include "base/error.h"
#include "block/control.h"
#include "plugin/server/cluster_link.h"
#include "plugin/server/ledger.h"
#include "plugin/server/supervisor_client.h"
#include "plugin/settings.h"

/* A volume on this host, from its name to a mounted directory and back: the steps in their order,
 * each undone when a later one fails. No table and no locks here: the caller sees to it that one
 * call at a time works on a volume, and owns its ledger entry.
 *
 *   up    read facts, refuse what others hold -> ledger file with a token -> blockd -> device
 *         -> file system on the directory -> ledger file with the device
 *   down  used bytes noted, directory unmounted -> blockd detaches -> ledger file removed
 *
 * entry->device tells whether a blockd is (or may be) there; entry->token, kept until a blockd has
 * ended in order, is how its successor knows a lock left by one that was killed. All block. */

struct attach {
    const struct settings *settings;
    struct supervisor_client *supervisor;
    struct cluster_link *link;
};

/* LIB_DIR/mounts/<name>, where the volume is mounted. */
void attach_target(const struct attach *attach, const char *volume, char ret[PATH_MAX]);

/* Mount entry->volume on its directory; what is there already is used. Fills the entry's image id,
 * token and device. After a failure entry->device is "" when all was undone, else attach_down has
 * to be tried again. -ENOENT: no such volume; -EBUSY: in use elsewhere, err says where. */
int attach_up(const struct attach *attach, struct ledger_entry *entry, int64_t deadline,
              struct error *err);

/* Unmount and detach. 0 when all is gone (entry->device is "" then); -EBUSY when processes or other
 * mount namespaces still use it; another errno when the blockd did not manage. Try again later. */
int attach_down(const struct attach *attach, struct ledger_entry *entry, int64_t deadline,
                struct error *err);

/* What the blockd of IMAGE_ID says; as blockd_call. */
int attach_call(const struct attach *attach, const char *image_id, enum blockd_op op,
                int64_t deadline, struct blockd_reply *ret, struct error *err);

/* BLOCKD_STATUS of one that may die meanwhile, and then is either replaced in a moment or given up:
 * -ENODEV when there is none any more, else as blockd_call. */
int attach_status(const struct attach *attach, const char *image_id, int64_t deadline,
                  struct blockd_reply *ret, struct error *err);
