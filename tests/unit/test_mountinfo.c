/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "volume/mountinfo.h"

static const char real[] =
    "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
    "23 22 0:21 / /proc rw,relatime shared:5 - proc proc rw\n"
    "36 22 7:3 / /mnt/db rw,nodev,relatime shared:1 master:2 - ext4 /dev/loop3 rw\n"
    "37 22 7:4 / /mnt/with\\040space\\011and\\134 rw - xfs /dev/loop4 rw\n"
    "38 36 7:5 / /mnt/db rw - ext4 /dev/loop5 rw\n" /* stacked on the first */
    "39 22 0:50 /mnt/other /mnt/bind rw - tmpfs tmpfs rw\n";

static void assert_found(const char *text, const char *target, unsigned major, unsigned minor)
{
    dev_t device = 0;

    assert_int_equal(mountinfo_find(text, target, &device), 0);
    assert_int_equal(device, makedev(major, minor));
}

static void assert_missing(const char *text, const char *target)
{
    dev_t device = 99;

    assert_int_equal(mountinfo_find(text, target, &device), -ENOENT);
    assert_int_equal(device, 99);
}

static void test_finds(void **state)
{
    (void)state;
    assert_found(real, "/", 254, 0);
    assert_found(real, "/proc", 0, 21);
    assert_found(real, "/mnt/bind", 0, 50);
}

static void test_newest_of_a_stack(void **state)
{
    (void)state;
    assert_found(real, "/mnt/db", 7, 5);
}

static void test_escapes(void **state)
{
    (void)state;
    assert_found(real, "/mnt/with space\tand\\", 7, 4);
    assert_missing(real, "/mnt/with\\040space\\011and\\134");
}

static void test_only_whole_mount_points(void **state)
{
    (void)state;
    assert_missing(real, "/mnt");
    assert_missing(real, "/mnt/d");
    assert_missing(real, "/mnt/db2");
    assert_missing(real, "/mnt/db/");
    assert_missing(real, "/mnt/other"); /* a root inside a file system, not a mount point */
    assert_missing(real, "");
    assert_missing("", "/");
}

static void test_malformed_lines(void **state)
{
    (void)state;
    assert_missing("1 2 7:1 /", "/a");
    assert_missing("1 2 7:1 / /a\\", "/a");
    assert_missing("1 2 7:1 / /a\\04", "/a ");
    assert_missing("1 2 7:1 / /a\\000 rw", "/a");
    assert_missing("1 2 7 / /a rw", "/a");
    assert_missing("1 2 7: / /a rw", "/a");
    assert_missing("1 2 :1 / /a rw", "/a");
    assert_missing("1 2 7:1x / /a rw", "/a");
    assert_missing("1 2 99999999999:1 / /a rw", "/a");
    assert_missing("\n\n   \n \n", "/");
    assert_found("garbage\n1 2 7:1 / /a rw", "/a", 7, 1); /* no newline at the end */
    assert_found("1 2 4095:1048575 / /a rw\n", "/a", 4095, 1048575);
}

static void test_next(void **state)
{
    const char *at = real;
    char target[64];
    char small[8];

    (void)state;
    assert_int_equal(mountinfo_next(&at, makedev(7, 4), target, sizeof(target)), 0);
    assert_string_equal(target, "/mnt/with space\tand\\");
    assert_int_equal(mountinfo_next(&at, makedev(7, 4), target, sizeof(target)), -ENOENT);
    assert_string_equal(at, "");
    at = "1 0 7:3 / /a rw - ext4 d rw\n2 0 7:4 / /b rw\n3 0 7:3 / /c rw";
    assert_int_equal(mountinfo_next(&at, makedev(7, 3), target, sizeof(target)), 0);
    assert_string_equal(target, "/a");
    assert_int_equal(mountinfo_next(&at, makedev(7, 3), target, sizeof(target)), 0);
    assert_string_equal(target, "/c");
    at = "1 0 7:3 / /longer/than/that rw\n2 0 7:3 / /nul\\000 rw\n3 0 7:3\n4 0 7:3 / /short rw\n";
    assert_int_equal(mountinfo_next(&at, makedev(7, 3), small, sizeof(small)), 0);
    assert_string_equal(small, "/short");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds),
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_newest_of_a_stack),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_only_whole_mount_points),
        cmocka_unit_test(test_malformed_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
