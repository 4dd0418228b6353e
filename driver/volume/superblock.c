/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/superblock.h"

#include <errno.h>
#include <string.h>

#include "volume/filesystem.h"

static uint32_t get_le32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint16_t get_le16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

bool superblock_is_ext4(const uint8_t superblock[4096])
{
    return get_le16(superblock + 1024 + 56) == 0xef53; /* s_magic */
}

static bool superblock_is_xfs(const uint8_t superblock[4096])
{
    return memcmp(superblock, "XFSB", 4) == 0; /* sb_magicnum */
}

uint32_t filesystem_logical_block(const uint8_t superblock[4096])
{
    if (superblock_is_xfs(superblock)) {
        unsigned sector = (unsigned)superblock[102] << 8 | superblock[103]; /* sb_sectsize */

        return sector < 4096 ? 512 : 4096;
    }
    if (superblock_is_ext4(superblock))                           /* s_log_block_size: */
        return get_le32(superblock + 1024 + 24) < 2 ? 512 : 4096; /* log2 of the block, less 10 */
    return 512;
}

int superblock_ext4_blocks(const uint8_t superblock[4096], uint32_t *ret_block_size,
                           uint64_t *ret_blocks)
{
    const uint8_t *ext4 = superblock + 1024;
    uint32_t log_block_size = get_le32(ext4 + 24); /* s_log_block_size, less 10 */
    uint64_t blocks = get_le32(ext4 + 4);          /* s_blocks_count_lo */
    bool is_64bit = get_le32(ext4 + 96) & 0x80;    /* s_feature_incompat */

    if (is_64bit)
        blocks |= (uint64_t)get_le32(ext4 + 336) << 32; /* s_blocks_count_hi */
    if (!superblock_is_ext4(superblock) || log_block_size > 6 ||
        blocks > UINT64_MAX >> (10 + log_block_size))
        return -EUCLEAN;
    *ret_block_size = 1024U << log_block_size;
    *ret_blocks = blocks;
    return 0;
}

bool superblock_wants_recovery(const uint8_t superblock[4096])
{
    return superblock_is_ext4(superblock) &&
           (get_le32(superblock + 1024 + 96) & 4); /* s_feature_incompat: RECOVER */
}

bool superblock_wants_check(const uint8_t superblock[4096])
{
    unsigned state = get_le16(superblock + 1024 + 58); /* s_state */
    bool valid = state & 1, error = state & 2;

    return superblock_is_ext4(superblock) &&
           (error || (!valid && !superblock_wants_recovery(superblock)));
}
