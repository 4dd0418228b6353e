/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/spawn.h"
#include "volume/filesystem.h"

/* Real formatting of sparse files, looked at with the file systems' own tools. */

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

#define OBJECT (4 * MIB)

static int64_t soon(void)
{
    return deadline_in_ms(60000);
}

static int sparse_file(uint64_t size)
{
    int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static struct volume_options options_of(enum filesystem fs, uint64_t size)
{
    struct volume_options options;

    volume_options_init(&options, size, fs);
    return options;
}

static void format(const struct volume_options *options, int fd)
{
    struct error err = {0};

    if (filesystem_format(options, fd, soon(), &err) < 0)
        fail_msg("%s", err.text);
}

/* Run a tool on FD; it must end well. */
static void run(const char *const argv[], int fd, struct spawn_result *result)
{
    struct error err = {0};

    if (spawn_run(argv, NULL, fd, soon(), result, &err) < 0)
        fail_msg("%s", err.text);
    if (result->status != 0)
        fail_msg("%s ended with %d: %s", argv[0], result->status, result->output);
}

static void assert_says(const struct spawn_result *result, const char *words)
{
    if (!strstr(result->output, words))
        fail_msg("'%s' is not in: %s", words, result->output);
}

static void assert_clean(enum filesystem fs, int fd)
{
    static const char *const ext4[] = {"e2fsck", "-fn", "/proc/self/fd/3", NULL};
    static const char *const xfs[] = {"xfs_repair", "-n", "-f", "/proc/self/fd/3", NULL};
    struct spawn_result result;

    run(fs == FILESYSTEM_EXT4 ? ext4 : xfs, fd, &result);
}

/* The root directory is empty, and is as OPTIONS ask. */
static void assert_root(const struct volume_options *options, int fd)
{
    static const char *const list_ext4[] = {"debugfs", "-R", "ls -p /", "/proc/self/fd/3", NULL};
    static const char *const list_xfs[] = {
        "xfs_db",
        "-r",
        "-f",
        "-c",
        "sb 0",
        "-c",
        "addr rootino",
        "-c",
        "print core.mode core.nlinkv2 core.uid core.gid u3.sfdir3.hdr.count",
        "/proc/self/fd/3",
        NULL};
    struct spawn_result result;
    char words[128];

    if (options->fs == FILESYSTEM_EXT4) {
        run(list_ext4, fd, &result);
        snprintf(words, sizeof(words), "/2/04%04o/%d/%d/.// /2/04%04o/%d/%d/..//", options->mode,
                 (int)options->uid, (int)options->gid, options->mode, (int)options->uid,
                 (int)options->gid); /* debugfs shows large numbers as negative ones */
        assert_says(&result, words);
        assert_null(strstr(result.output, "lost+found"));
    } else {
        run(list_xfs, fd, &result);
        snprintf(words, sizeof(words),
                 "core.mode = 04%04o core.nlinkv2 = 2 core.uid = %u core.gid = %u "
                 "u3.sfdir3.hdr.count = 0",
                 options->mode, options->uid, options->gid);
        assert_says(&result, words);
    }
}

static bool is_zero(const uint8_t *block)
{
    for (size_t i = 0; i < 4096; i++) {
        if (block[i])
            return false;
    }
    return true;
}

/* What would be stored of FD: bytes in blocks that are not all zeros, and objects they are in. */
static void stored(int fd, uint64_t *ret_bytes, unsigned *ret_objects)
{
    static uint8_t block[4096];
    off_t from, to = 0;
    uint64_t last = UINT64_MAX;

    *ret_bytes = 0;
    *ret_objects = 0;
    while ((from = lseek(fd, to, SEEK_DATA)) >= 0) {
        to = lseek(fd, from, SEEK_HOLE);
        assert_true(to > from);
        for (off_t at = from; at < to; at += (off_t)sizeof(block)) {
            assert_int_equal(pread(fd, block, sizeof(block), at), sizeof(block));
            if (is_zero(block))
                continue;
            *ret_bytes += sizeof(block);
            *ret_objects += (uint64_t)at / OBJECT != last;
            last = (uint64_t)at / OBJECT;
        }
    }
    assert_int_equal(errno, ENXIO);
}

static void format_and_look(enum filesystem fs, uint64_t size, uint64_t bytes_max,
                            unsigned objects_max)
{
    struct volume_options options = options_of(fs, size);
    cleanup_close int fd = sparse_file(size);
    uint64_t bytes;
    unsigned objects;

    options.uid = 999;
    options.gid = 4294967294;
    options.mode = 03750;
    format(&options, fd);
    assert_clean(fs, fd);
    assert_root(&options, fd);
    stored(fd, &bytes, &objects);
    assert_in_range(bytes, 4096, bytes_max);
    assert_in_range(objects, 1, objects_max);
}

static void test_ext4_smallest(void **state)
{
    (void)state;
    format_and_look(FILESYSTEM_EXT4, 16 * MIB, MIB, 2);
}

static void test_ext4_10g(void **state)
{
    (void)state;
    format_and_look(FILESYSTEM_EXT4, 10 * GIB, MIB, 16);
}

static void test_ext4_odd_size(void **state)
{
    (void)state;
    format_and_look(FILESYSTEM_EXT4, 3 * GIB + 4096 * 12345, MIB, 16);
}

static void test_ext4_1t(void **state)
{
    (void)state;
    format_and_look(FILESYSTEM_EXT4, TIB, 16 * MIB, 32);
}

static void test_xfs_smallest(void **state)
{
    (void)state;
    format_and_look(FILESYSTEM_XFS, 300 * MIB, MIB, 8);
}

static void test_xfs_10g(void **state)
{
    (void)state;
    format_and_look(FILESYSTEM_XFS, 10 * GIB, MIB, 8);
}

static void test_xfs_odd_size(void **state)
{
    (void)state;
    format_and_look(FILESYSTEM_XFS, 3 * GIB + 4096 * 12345, MIB, 8);
}

static void test_xfs_1t(void **state)
{
    (void)state;
    format_and_look(FILESYSTEM_XFS, TIB, MIB, 8);
}

/* Mode 0755 and owner root go through the same steps as any other. */
static void test_default_root(void **state)
{
    (void)state;
    for (int fs = FILESYSTEM_EXT4; fs <= FILESYSTEM_XFS; fs++) {
        struct volume_options options = options_of((enum filesystem)fs, GIB);
        cleanup_close int fd = sparse_file(GIB);

        format(&options, fd);
        assert_clean(options.fs, fd);
        assert_root(&options, fd);
    }
}

static void test_mode_zero(void **state)
{
    (void)state;
    for (int fs = FILESYSTEM_EXT4; fs <= FILESYSTEM_XFS; fs++) {
        struct volume_options options = options_of((enum filesystem)fs, GIB);
        cleanup_close int fd = sparse_file(GIB);

        options.mode = 0;
        format(&options, fd);
        assert_clean(options.fs, fd);
        assert_root(&options, fd);
    }
}

static void test_probe_knows_what_was_made(void **state)
{
    (void)state;
    for (int fs = FILESYSTEM_EXT4; fs <= FILESYSTEM_XFS; fs++) {
        struct volume_options options = options_of((enum filesystem)fs, GIB);
        cleanup_close int fd = sparse_file(GIB);
        uint8_t superblock[4096];
        enum filesystem found;
        char path[32];

        format(&options, fd);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        assert_int_equal(filesystem_probe(path, &found, NULL), 0);
        assert_int_equal(found, fs);
        assert_int_equal(pread(fd, superblock, 4096, 0), 4096);
        assert_int_equal(filesystem_logical_block(superblock), 4096);
    }
}

/* The kernel zeroes inode tables in the background after the first mount, all 16 GiB of them on a
 * 1 TiB file system, unless each group says that they are zero. */
static void test_ext4_inode_tables_count_as_zeroed(void **state)
{
    struct volume_options options = options_of(FILESYSTEM_EXT4, 10 * GIB);
    cleanup_close int fd = sparse_file(options.size);
    uint8_t group[64];

    (void)state;
    format(&options, fd);
    for (off_t i = 0; i < 80; i++) { /* 10 GiB in groups of 128 MiB, described from block 1 on */
        assert_int_equal(pread(fd, group, sizeof(group), 4096 + i * 64), sizeof(group));
        assert_true(group[18] & 4); /* bg_flags: EXT4_BG_INODE_ZEROED */
    }
}

static void assert_refused(const struct volume_options *options, int fd, int code,
                           const char *words)
{
    struct error err = {0};

    assert_int_equal(filesystem_format(options, fd, soon(), &err), code);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in: %s", words, err.text);
}

static void test_never_formats_twice(void **state)
{
    (void)state;
    for (int fs = FILESYSTEM_EXT4; fs <= FILESYSTEM_XFS; fs++) {
        struct volume_options options = options_of((enum filesystem)fs, GIB);
        cleanup_close int fd = sparse_file(GIB);
        char words[64];

        format(&options, fd);
        snprintf(words, sizeof(words), "already carries %s", filesystem_name(options.fs));
        options.fs = FILESYSTEM_EXT4;
        assert_refused(&options, fd, -EEXIST, words);
        options.fs = FILESYSTEM_XFS;
        assert_refused(&options, fd, -EEXIST, words);
        assert_clean((enum filesystem)fs, fd); /* still what it was */
    }
}

static void test_never_formats_data(void **state)
{
    struct volume_options options = options_of(FILESYSTEM_EXT4, 64 * MIB);
    cleanup_close int fd = sparse_file(options.size);
    char text[5] = "";

    (void)state;
    assert_int_equal(pwrite(fd, "data", 4, 40 * MIB), 4);
    assert_refused(&options, fd, -EEXIST, "already holds data");
    assert_int_equal(pread(fd, text, 4, 40 * MIB), 4);
    assert_string_equal(text, "data");
}

static void test_only_a_file_of_the_right_size(void **state)
{
    struct volume_options options = options_of(FILESYSTEM_EXT4, 64 * MIB);
    cleanup_close int fd = sparse_file(32 * MIB), null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)state;
    assert_refused(&options, fd, -EINVAL, "of the volume's size");
    assert_refused(&options, null, -EINVAL, "only a regular file");
    assert_refused(&options, -1, -EBADF, "cannot look at the file");
}

static void test_tool_that_fails(void **state)
{
    (void)state;
    for (int fs = FILESYSTEM_EXT4; fs <= FILESYSTEM_XFS; fs++) {
        struct volume_options options = options_of((enum filesystem)fs, GIB);
        cleanup_close int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_int_equal(ftruncate(fd, (off_t)GIB), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
        assert_refused(&options, fd, -EIO,
                       fs == FILESYSTEM_EXT4 ? "'mkfs.ext4' failed with status"
                                             : "'mkfs.xfs' failed with status");
    }
}

static void test_deadline(void **state)
{
    struct volume_options options = options_of(FILESYSTEM_EXT4, GIB);
    cleanup_close int fd = sparse_file(GIB);
    struct error err = {0};

    (void)state;
    assert_int_equal(filesystem_format(&options, fd, clock_now(), &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "mkfs.ext4"));
}

static void test_tools_are_installed(void **state)
{
    (void)state;
    assert_int_equal(filesystem_check_tools(FILESYSTEM_EXT4, NULL), 0);
    assert_int_equal(filesystem_check_tools(FILESYSTEM_XFS, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ext4_smallest),
        cmocka_unit_test(test_ext4_10g),
        cmocka_unit_test(test_ext4_odd_size),
        cmocka_unit_test(test_ext4_1t),
        cmocka_unit_test(test_xfs_smallest),
        cmocka_unit_test(test_xfs_10g),
        cmocka_unit_test(test_xfs_odd_size),
        cmocka_unit_test(test_xfs_1t),
        cmocka_unit_test(test_default_root),
        cmocka_unit_test(test_mode_zero),
        cmocka_unit_test(test_probe_knows_what_was_made),
        cmocka_unit_test(test_ext4_inode_tables_count_as_zeroed),
        cmocka_unit_test(test_never_formats_twice),
        cmocka_unit_test(test_never_formats_data),
        cmocka_unit_test(test_only_a_file_of_the_right_size),
        cmocka_unit_test(test_tool_that_fails),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_tools_are_installed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
