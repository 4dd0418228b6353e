/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "tests/fuzz/fuzz.h"
#include "volume/filesystem.h"
#include "volume/superblock.h"

/* Anyone may have written an image's first block. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t superblock[4096] = {0};
    uint32_t logical;
    uint32_t block;
    uint64_t blocks;
    int r;

    /* The input is an ext4 superblock from its first field on; the rest is beyond it. */
    memcpy(superblock + 1024, data, size < 1024 ? size : 1024);
    if (size > 1024)
        memcpy(superblock, data + 1024, size < 2048 ? size - 1024 : 1024);
    logical = filesystem_logical_block(superblock);
    CHECK(logical == 512 || logical == 4096);
    CHECK(superblock_is_ext4(superblock) || !superblock_wants_check(superblock));
    CHECK(superblock_is_ext4(superblock) || !superblock_wants_recovery(superblock));
    r = superblock_ext4_blocks(superblock, &block, &blocks);
    CHECK(r == 0 || r == -EUCLEAN);
    if (r == 0)
        CHECK(block >= 1024 && block <= 65536 && blocks <= UINT64_MAX / block);
    return 0;
}
