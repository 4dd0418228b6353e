/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "plugin/settings.h"
#include "volume/volume.h"

/* The command line of a radosvol-blockd (driver/block/blockd_options.h reads it), for the server,
 * which lets the supervisor start it, and for radosvol, which starts one without a plugin. */

#define BLOCKD_ARGS_MAX 32

struct blockd_args {
    const char *list[BLOCKD_ARGS_MAX]; /* without the program; ends with NULL. Borrows all it was
                                          made from */
    char watch_timeout[16];
};

/* *RET must stay where it is as long as the list is used. TOKEN: see ownership.h. BLOCK_BYTES: the
 * device's logical block, 512 or 4096. READ_ONLY: take the lock and write nothing; not needed for a
 * volume that is read-only by itself (access=ro), which takes none. */
void blockd_args_make(const struct settings *settings, const struct volume_facts *facts,
                      const char *token, uint32_t block_bytes, bool read_only,
                      struct blockd_args *ret);
