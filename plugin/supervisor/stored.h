/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "block/keeper.h"

/* The descriptors one blockd has stored. While the supervisor holds them the kernel's requests wait
 * instead of failing, whatever happens to the blockd. */

struct stored {
    unsigned count;
    struct {
        char name[KEEPER_NAME_MAX];
        int fd;
    } items[KEEPER_FDS_MAX];
};

/* Keep FD under NAME, in place of an older one. Takes FD over; -ENOSPC (FD is closed) when there
 * are KEEPER_FDS_MAX others. */
int stored_put(struct stored *stored, const char *name, int fd);

/* Close what is kept under NAME, if anything. */
void stored_remove(struct stored *stored, const char *name);

/* Close all, in the order in which they were stored (keeper.h says why). */
void stored_drop(struct stored *stored);

/* Send copies of all to a new blockd's keeper socket, then the end packet. 0 or negative errno. */
int stored_send(const struct stored *stored, int socket);
