/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "volume/options.h"

#define EXT4_DEFAULTS "discard,errors=remount-ro,nodioread_nolock"

static void assert_mounts(enum filesystem fs, const char *text, unsigned long flags,
                          const char *data)
{
    char got_data[MOUNT_OPTIONS_MAX];
    unsigned long got_flags;
    struct error err = {0};
    int r = mount_options_parse(fs, text, &got_flags, got_data, &err);

    if (r < 0)
        fail_msg("'%s': %s", text, err.text);
    assert_int_equal(got_flags, flags);
    assert_string_equal(got_data, data);
}

static void assert_refused(enum filesystem fs, const char *text, const char *words)
{
    char data[MOUNT_OPTIONS_MAX] = "untouched";
    unsigned long flags = 12345;
    struct error err = {0};

    if (mount_options_parse(fs, text, &flags, data, &err) != -EINVAL)
        fail_msg("'%s' is taken", text);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in: %s", words, err.text);
    assert_int_equal(flags, 12345);
    assert_string_equal(data, "untouched");
}

static void test_defaults(void **state)
{
    (void)state;
    assert_mounts(FILESYSTEM_EXT4, "", MS_NODEV, EXT4_DEFAULTS);
    assert_mounts(FILESYSTEM_XFS, "", MS_NODEV, "discard,nouuid");
}

static void test_flags(void **state)
{
    (void)state;
    assert_mounts(FILESYSTEM_EXT4, "noatime", MS_NODEV | MS_NOATIME, EXT4_DEFAULTS);
    assert_mounts(FILESYSTEM_XFS, "relatime,nodiratime,lazytime,nosuid,noexec,sync,dirsync",
                  MS_NODEV | MS_RELATIME | MS_NODIRATIME | MS_LAZYTIME | MS_NOSUID | MS_NOEXEC |
                      MS_SYNCHRONOUS | MS_DIRSYNC,
                  "discard,nouuid");
    assert_mounts(FILESYSTEM_XFS, "strictatime,nodev", MS_NODEV | MS_STRICTATIME, "discard,nouuid");
}

static void test_defaults_switched_off(void **state)
{
    (void)state;
    assert_mounts(FILESYSTEM_XFS, "dev", 0, "discard,nouuid");
    assert_mounts(FILESYSTEM_XFS, "nodiscard,dev", 0, "nodiscard,nouuid");
    assert_mounts(FILESYSTEM_EXT4, "nodiscard", MS_NODEV,
                  "nodiscard,errors=remount-ro,nodioread_nolock");
    assert_mounts(FILESYSTEM_EXT4, "discard", MS_NODEV, EXT4_DEFAULTS);
}

static void test_data(void **state)
{
    (void)state;
    assert_mounts(FILESYSTEM_EXT4, "commit=1,noatime,data=journal,nodelalloc,stripe=1024",
                  MS_NODEV | MS_NOATIME,
                  "commit=1,data=journal,nodelalloc,stripe=1024," EXT4_DEFAULTS);
    assert_mounts(FILESYSTEM_EXT4, "commit=30,data=ordered", MS_NODEV,
                  "commit=30,data=ordered," EXT4_DEFAULTS);
    assert_mounts(FILESYSTEM_XFS, "logbufs=8,logbsize=256k,allocsize=64m,inode64,largeio,wsync",
                  MS_NODEV,
                  "logbufs=8,logbsize=256k,allocsize=64m,inode64,largeio,wsync,discard,nouuid");
}

static void assert_as_is(enum filesystem fs, const char *text, const char *data)
{
    char left[MOUNT_OPTIONS_MAX];
    unsigned long flags;
    struct error err = {0};

    assert_int_equal(mount_options_parse(fs, text, &flags, left, &err), 0);
    mount_options_leave_journal(fs, left);
    assert_string_equal(left, data);
}

/* Nothing about writing, which ext4 would even refuse together with "noload". */
static void test_as_is(void **state)
{
    (void)state;
    assert_as_is(FILESYSTEM_EXT4, "", "errors=remount-ro,nodioread_nolock,noload");
    assert_as_is(FILESYSTEM_EXT4, "commit=1,noatime,data=journal,nodelalloc,stripe=16,nodiscard",
                 "stripe=16,errors=remount-ro,nodioread_nolock,noload");
    assert_as_is(FILESYSTEM_XFS, "", "nouuid,norecovery");
    assert_as_is(FILESYSTEM_XFS,
                 "logbufs=8,logbsize=256k,allocsize=64m,inode64,largeio,wsync,discard",
                 "logbufs=8,logbsize=256k,allocsize=64m,inode64,largeio,wsync,nouuid,norecovery");
}

/* What could lose, expose or hide data, or reaches outside the volume. */
static void test_dangerous(void **state)
{
    static const char *const on_ext4[] = {
        "nobarrier",
        "barrier=0",
        "data=writeback",
        "journal_async_commit",
        "noauto_da_alloc",
        "noload",
        "norecovery",
        "errors=continue",
        "journal_dev=8",
        "journal_path=/",
        "commit=0",
        "commit=31",
        "nojournal_checksum",
        "ro",
        "rw",
        "remount",
        "bind",
        "loop",
        "usrjquota=x",
        "init_itable=0",
    };
    static const char *const on_xfs[] = {
        "nobarrier", "norecovery", "nouuid",       "logdev=/dev/sda", "rtdev=/dev/sda",
        "ro",        "logbufs=9",  "logbufs=1",    "logbsize=1k",     "allocsize=1g",
        "ikeep=1",   "commit=5",   "data=journal",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(on_ext4) / sizeof(on_ext4[0]); i++)
        assert_refused(FILESYSTEM_EXT4, on_ext4[i], on_ext4[i]);
    for (size_t i = 0; i < sizeof(on_xfs) / sizeof(on_xfs[0]); i++)
        assert_refused(FILESYSTEM_XFS, on_xfs[i], on_xfs[i]);
}

static void test_malformed(void **state)
{
    static const char *const texts[] = {
        ",",
        "noatime,",
        ",noatime",
        "noatime,,nosuid",
        " noatime",
        "noatime nosuid",
        "noatime=1",
        "noatime=",
        "commit",
        "commit=",
        "commit=x",
        "commit=05",
        "commit=-1",
        "commit=1=2",
        "commit=999999999999",
        "data=",
        "data",
        "data=o",
        "data=ordered|journal",
        "data=|",
        "NOATIME",
        "=",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_refused(FILESYSTEM_EXT4, texts[i], "is not allowed on ext4: use noatime, ");
}

static void test_refusal_lists_what_is_allowed(void **state)
{
    (void)state;
    assert_refused(FILESYSTEM_EXT4, "x", "nodiscard, commit=1..30, data=ordered|journal, ");
    assert_refused(FILESYSTEM_XFS, "x", "nodiscard, logbufs=2..8, logbsize=32k|64k|128k|256k, ");
    assert_refused(FILESYSTEM_XFS, "\x01\xff", "mount option '\?\?' is not allowed on xfs");
}

static void test_contradictions(void **state)
{
    (void)state;
    assert_refused(FILESYSTEM_EXT4, "noatime,relatime", "'relatime' contradicts");
    assert_refused(FILESYSTEM_EXT4, "discard,nodiscard", "'nodiscard' contradicts");
    assert_refused(FILESYSTEM_EXT4, "dev,nodev", "'nodev' contradicts");
    assert_refused(FILESYSTEM_EXT4, "noatime,noatime", "repeats 'noatime'");
    assert_refused(FILESYSTEM_EXT4, "commit=5,commit=6", "repeats 'commit'");
}

static void test_length(void **state)
{
    char text[MOUNT_OPTIONS_MAX + 64];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_refused(FILESYSTEM_EXT4, text, "too long");
    text[MOUNT_OPTIONS_MAX - 1] = '\0'; /* the longest that is looked at */
    assert_refused(FILESYSTEM_EXT4, text, "xxx...' is not allowed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_defaults_switched_off),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_as_is),
        cmocka_unit_test(test_dangerous),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_refusal_lists_what_is_allowed),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
