/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What the first 4096 bytes of an image say about its file system; filesystem_logical_block is the
 * third of these. Pure functions on bytes that anyone may have written. */

bool superblock_is_ext4(const uint8_t superblock[4096]);

/* Whether an ext4 file system asks for e2fsck before it is mounted: an error was recorded, or it
 * was not unmounted and has no journal that tells how to go on. */
bool superblock_wants_check(const uint8_t superblock[4096]);
