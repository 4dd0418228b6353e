/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "volume/filesystem.h"
#include "volume/superblock.h"

/* What is on a device, told from bytes written here by hand. */

#define MIB (1 << 20)

/* A device in memory; its path is in `device`. */
static int fd;
static char device[64];

static int setup(void **state)
{
    (void)state;
    fd = memfd_create("device", MFD_CLOEXEC);
    snprintf(device, sizeof(device), "/proc/self/fd/%d", fd);
    return fd < 0 || ftruncate(fd, 64 * MIB) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return close(fd);
}

static void put(off_t offset, const void *bytes, size_t len)
{
    assert_int_equal(pwrite(fd, bytes, len, offset), (ssize_t)len);
}

/* Enough of each to be taken for it. */

static void put_ext2(void)
{
    put(1024 + 4, "\x00\x40", 2);  /* s_blocks_count: 16384 blocks of 4096 bytes */
    put(1024 + 24, "\x02", 1);     /* s_log_block_size */
    put(1024 + 32, "\x00\x80", 2); /* s_blocks_per_group */
    put(1024 + 40, "\x00\x20", 2); /* s_inodes_per_group */
    put(1024 + 56, "\x53\xef", 2); /* s_magic */
    put(1024 + 76, "\x01", 1);     /* s_rev_level */
}

static void put_ext4(void)
{
    put_ext2();
    put(1024 + 92, "\x04", 1); /* s_feature_compat: has_journal */
    put(1024 + 96, "\x40", 1); /* s_feature_incompat: extents */
}

static void put_xfs(void)
{
    put(0, "XFSB", 4);
    put(4, "\x00\x00\x10\x00", 4);                 /* sb_blocksize */
    put(8, "\x00\x00\x00\x00\x00\x00\x40\x00", 8); /* sb_dblocks */
    put(80, "\x00\x00\x00\x01", 4);                /* sb_rextsize */
    put(84, "\x00\x00\x10\x00", 4);                /* sb_agblocks */
    put(88, "\x00\x00\x00\x04", 4);                /* sb_agcount */
    put(96, "\x00\x00\x04\x00", 4);                /* sb_logblocks */
    put(100, "\xb4\xa5", 2);                       /* sb_versionnum */
    put(102, "\x10\x00", 2);                       /* sb_sectsize */
    put(104, "\x02\x00", 2);                       /* sb_inodesize */
    put(106, "\x00\x08", 2);                       /* sb_inopblock */
    put(120, "\x0c\x0c\x09\x03\x0c", 5);           /* log2s: block, sector, inode, ... */
    put(127, "\x19", 1);                           /* sb_imax_pct */
}

static void put_dos_partitions(void)
{
    /* one Linux partition, from sector 2048, 4096 sectors long */
    put(446, "\x00\x20\x21\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00", 16);
    put(510, "\x55\xaa", 2);
}

static void assert_probed(enum filesystem expected)
{
    enum filesystem fs = (enum filesystem) - 1;
    struct error err = {0};

    if (filesystem_probe(device, &fs, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(fs, expected);
}

static void assert_not_probed(int code, const char *words)
{
    enum filesystem fs = (enum filesystem)99;
    struct error err = {0};

    assert_int_equal(filesystem_probe(device, &fs, &err), code);
    assert_int_equal(fs, 99);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in: %s", words, err.text);
}

static void test_blank(void **state)
{
    (void)state;
    assert_not_probed(-ENODATA, "carries no file system");
}

static void test_ours(void **state)
{
    (void)state;
    put_ext4();
    assert_probed(FILESYSTEM_EXT4);
}

static void test_xfs(void **state)
{
    (void)state;
    put_xfs();
    assert_probed(FILESYSTEM_XFS);
}

static void test_something_else(void **state)
{
    (void)state;
    put_ext2();
    assert_not_probed(-EMEDIUMTYPE, "carries ext2: only ext4 and xfs are mounted");
}

static void test_swap(void **state)
{
    (void)state;
    put(4096 - 10, "SWAPSPACE2", 10);
    put(1024, "\x01\x00\x00\x00\xff\x0f\x00\x00", 8); /* version, last page */
    assert_not_probed(-EMEDIUMTYPE, "carries swap");
}

static void test_partitions(void **state)
{
    (void)state;
    put_dos_partitions();
    assert_not_probed(-EMEDIUMTYPE, "carries a partition table (dos)");
}

static void test_two_file_systems(void **state)
{
    (void)state;
    put_ext4();
    put_xfs();
    assert_not_probed(-EMEDIUMTYPE, "several file systems at once");
}

static void test_file_system_and_partitions(void **state)
{
    (void)state;
    put_ext4();
    put_dos_partitions();
    assert_not_probed(-EMEDIUMTYPE, "ext4 and a partition table (dos)");
}

static void test_no_device(void **state)
{
    (void)state;
    strcpy(device, "/proc/self/fd/9999");
    assert_not_probed(-ENOENT, "cannot open '/proc/self/fd/9999'");
}

/* superblocks, pure */

static uint8_t superblock[4096];

static int setup_superblock(void **state)
{
    (void)state;
    memset(superblock, 0, sizeof(superblock));
    return 0;
}

static void test_logical_block_xfs(void **state)
{
    (void)state;
    memcpy(superblock, "XFSB", 4);
    superblock[102] = 512 >> 8;
    assert_int_equal(filesystem_logical_block(superblock), 512);
    superblock[102] = 2048 >> 8;
    assert_int_equal(filesystem_logical_block(superblock), 512);
    superblock[102] = 4096 >> 8;
    assert_int_equal(filesystem_logical_block(superblock), 4096);
    superblock[102] = superblock[103] = 0xff; /* nonsense: the mount will refuse it */
    assert_int_equal(filesystem_logical_block(superblock), 4096);
}

static void test_logical_block_ext4(void **state)
{
    (void)state;
    memcpy(superblock + 1024 + 56, "\x53\xef", 2);
    assert_int_equal(filesystem_logical_block(superblock), 512); /* blocks of 1024 bytes */
    superblock[1024 + 24] = 1;
    assert_int_equal(filesystem_logical_block(superblock), 512);
    superblock[1024 + 24] = 2;
    assert_int_equal(filesystem_logical_block(superblock), 4096);
    superblock[1024 + 27] = 0xff;
    assert_int_equal(filesystem_logical_block(superblock), 4096);
}

static void test_logical_block_unknown(void **state)
{
    (void)state;
    assert_int_equal(filesystem_logical_block(superblock), 512);
    memset(superblock, 0xff, sizeof(superblock));
    assert_int_equal(filesystem_logical_block(superblock), 512);
}

static void test_wants_check(void **state)
{
    uint8_t *s_state = superblock + 1024 + 58, *s_incompat = superblock + 1024 + 96;

    (void)state;
    *s_state = 2;
    assert_false(superblock_wants_check(superblock)); /* not ext4 */
    memcpy(superblock + 1024 + 56, "\x53\xef", 2);
    *s_state = 1; /* unmounted */
    assert_false(superblock_wants_check(superblock));
    *s_state = 1 | 2; /* an error was seen */
    assert_true(superblock_wants_check(superblock));
    assert_false(superblock_wants_recovery(superblock));
    *s_state = 1;
    *s_incompat = 4; /* a journal to be replayed: the kernel does that */
    assert_false(superblock_wants_check(superblock));
    assert_true(superblock_wants_recovery(superblock));
    *s_state = 0;
    assert_false(superblock_wants_check(superblock));
    *s_state = 2;
    assert_true(superblock_wants_check(superblock));
    *s_state = 0;
    *s_incompat = 0; /* not unmounted, and no journal */
    assert_true(superblock_wants_check(superblock));
}

static void test_ext4_blocks(void **state)
{
    uint8_t *ext4 = superblock + 1024;
    uint32_t size;
    uint64_t blocks;

    (void)state;
    ext4[4] = 7;
    ext4[24] = 2;
    ext4[336] = 1; /* counts only with the feature 64bit */
    assert_int_equal(superblock_ext4_blocks(superblock, &size, &blocks), -EUCLEAN); /* not ext4 */
    memcpy(ext4 + 56, "\x53\xef", 2);
    assert_int_equal(superblock_ext4_blocks(superblock, &size, &blocks), 0);
    assert_int_equal(size, 4096);
    assert_int_equal(blocks, 7);
    ext4[96] = 0x80;
    assert_int_equal(superblock_ext4_blocks(superblock, &size, &blocks), 0);
    assert_true(blocks == (UINT64_C(1) << 32) + 7);
    memset(ext4 + 336, 0xff, 4); /* more bytes than there can be */
    assert_int_equal(superblock_ext4_blocks(superblock, &size, &blocks), -EUCLEAN);
    memset(ext4 + 336, 0, 4);
    ext4[24] = 7; /* blocks of 128 KiB */
    assert_int_equal(superblock_ext4_blocks(superblock, &size, &blocks), -EUCLEAN);
}

#define with_device(test)     cmocka_unit_test_setup_teardown(test, setup, teardown)
#define with_superblock(test) cmocka_unit_test_setup(test, setup_superblock)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_device(test_blank),
        with_device(test_ours),
        with_device(test_xfs),
        with_device(test_something_else),
        with_device(test_swap),
        with_device(test_partitions),
        with_device(test_two_file_systems),
        with_device(test_file_system_and_partitions),
        with_device(test_no_device),
        with_superblock(test_logical_block_xfs),
        with_superblock(test_logical_block_ext4),
        with_superblock(test_logical_block_unknown),
        with_superblock(test_wants_check),
        with_superblock(test_ext4_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
