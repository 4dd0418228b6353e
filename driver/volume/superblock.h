/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What the first 4096 bytes of an image say about its file system; filesystem_logical_block is the
 * one of these. Pure functions on bytes that anyone may have written. */

bool superblock_is_ext4(const uint8_t superblock[4096]);

/* The size of an ext4 file system: blocks, and bytes in each. 0, or -EUCLEAN when the superblock
 * makes no sense. */
int superblock_ext4_blocks(const uint8_t superblock[4096], uint32_t *ret_block_size,
                           uint64_t *ret_blocks);

/* Whether an ext4 file system has a journal to replay. A frozen one has not. */
bool superblock_wants_recovery(const uint8_t superblock[4096]);

/* Whether an ext4 file system asks for e2fsck before it is mounted: an error was recorded, or it
 * was not unmounted and has no journal that tells how to go on. */
bool superblock_wants_check(const uint8_t superblock[4096]);
