/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "volume/options.h"
#include "volume/text.h"

#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

static struct volume_options options;

static int setup(void **state)
{
    (void)state;
    volume_options_init(&options, 10 * GIB, FILESYSTEM_EXT4);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    volume_options_free(&options);
    return 0;
}

static void assert_set(const char *key, const char *value)
{
    struct error err = {0};

    if (volume_options_set(&options, key, value, &err) < 0)
        fail_msg("%s=%s: %s", key, value, err.text);
    assert_int_equal(err.code, 0);
}

static void assert_refused(const char *key, const char *value, const char *words)
{
    struct volume_options before = options;
    struct error err = {0};

    if (volume_options_set(&options, key, value, &err) != -EINVAL)
        fail_msg("%s=%s is taken", key, value);
    assert_int_equal(err.code, -EINVAL);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in: %s", words, err.text);
    assert_memory_equal(&options, &before, sizeof(before)); /* nothing has changed */
}

static void assert_check(int expected, const char *words)
{
    struct error err = {0};

    assert_int_equal(volume_options_check(&options, &err), expected);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in: %s", words, err.text);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(options.given, 0);
    assert_int_equal(options.size, 10 * GIB);
    assert_int_equal(options.fs, FILESYSTEM_EXT4);
    assert_string_equal(options.mount_options, "");
    assert_int_equal(options.uid, 0);
    assert_int_equal(options.gid, 0);
    assert_int_equal(options.mode, 0755);
    assert_int_equal(options.order, 22);
    assert_false(options.protect);
    assert_int_equal(options.labels.count, 0);
    assert_check(0, "");
}

static void test_each_option(void **state)
{
    (void)state;
    assert_set("size", "1.5T");
    assert_set("fs", "xfs");
    assert_set("mount-options", "noatime,logbufs=8");
    assert_set("uid", "999");
    assert_set("gid", "4294967294");
    assert_set("mode", "01777");
    assert_set("owner", "Zoë from the database team");
    assert_set("data-pool", "ec-4.2_ssd");
    assert_set("object-size", "8M");
    assert_set("protect", "true");
    assert_set("from", "db-1@monday.2");
    assert_set("access", "ro");
    assert_int_equal(options.size, 3 * TIB / 2);
    assert_int_equal(options.fs, FILESYSTEM_XFS);
    assert_string_equal(options.mount_options, "noatime,logbufs=8");
    assert_int_equal(options.uid, 999);
    assert_int_equal(options.gid, UINT32_MAX - 1);
    assert_int_equal(options.mode, 01777);
    assert_string_equal(options.owner, "Zoë from the database team");
    assert_string_equal(options.data_pool, "ec-4.2_ssd");
    assert_string_equal(options.from, "db-1@monday.2");
    assert_true(options.read_only);
    assert_set("access", "rw");
    assert_false(options.read_only);
    assert_int_equal(options.order, 23);
    assert_true(options.protect);
    assert_int_equal(options.given, (1 << 12) - 1);
    assert_check(0, "");
}

static void test_given(void **state)
{
    (void)state;
    assert_set("fs", "ext4"); /* the default, but asked for */
    assert_int_equal(options.given, OPTION_FS);
    assert_set("protect", "false");
    assert_int_equal(options.given, OPTION_FS | OPTION_PROTECT);
    assert_set("label.a", "b"); /* labels are compared one by one */
    assert_int_equal(options.given, OPTION_FS | OPTION_PROTECT);
}

static void test_malformed_values(void **state)
{
    char text[2000];

    (void)state;
    assert_refused("size", "5X",
                   "option 'size' has value '5X': use a number with K, M, G or T, such as 10G");
    assert_refused("size", "", "option 'size' has value ''");
    assert_refused("fs", "btrfs", "use ext4 or xfs");
    assert_refused("fs", "EXT4", "use ext4 or xfs");
    assert_refused("uid", "-1", "use a user number");
    assert_refused("uid", "4294967295", "use a user number"); /* (uid_t)-1 means "leave it" */
    assert_refused("uid", "root", "use a user number");
    assert_refused("gid", "18446744073709551616", "use a group number");
    assert_refused("gid", "", "use a group number");
    assert_refused("gid", "1 ", "use a group number");
    assert_refused("mode", "0888", "use an octal number");
    assert_refused("mode", "10000", "use an octal number");
    assert_refused("mode", "u=rwx", "use an octal number");
    assert_refused("object-size", "3M", "a power of two from 64K to 32M");
    assert_refused("object-size", "32K", "a power of two from 64K to 32M");
    assert_refused("object-size", "64M", "a power of two from 64K to 32M");
    assert_refused("object-size", "65535", "a power of two from 64K to 32M");
    assert_refused("protect", "yes", "use true or false");
    assert_refused("protect", "", "use true or false");
    assert_refused("access", "", "use rw, or ro together with from");
    assert_refused("access", "RO", "use rw, or ro together with from");
    assert_refused("access", "true", "use rw, or ro together with from");
    assert_refused("from", "", "use the name of a volume, or volume@snapshot");
    assert_refused("from", "db@", "use the name of a volume, or volume@snapshot");
    assert_refused("from", "@monday", "use the name of a volume, or volume@snapshot");
    assert_refused("from", "a/b@monday", "use the name of a volume, or volume@snapshot");
    assert_refused("from", "db@mon day", "use the name of a volume, or volume@snapshot");
    assert_refused("data-pool", "", "the name of a pool");
    assert_refused("data-pool", "a/b", "the name of a pool");
    assert_refused("owner", "a\nb", "option 'owner' has value 'a?b'");
    assert_refused("owner", "\xc3", "option 'owner' has value '?'");
    assert_refused("mount-options", "a\x7f", "words separated by commas");

    memset(text, 'x', sizeof(text));
    text[OWNER_MAX] = '\0';
    assert_refused("owner", text, "xxx...'");
    assert_refused("data-pool", text, "xxx...'");
    text[OWNER_MAX - 1] = '\0';
    assert_set("owner", text);
    assert_set("data-pool", text);
}

static void test_unknown_keys(void **state)
{
    static const char *const keys[] = {"",      "Size",     "size ", "From", "Access",
                                       "label", "labels.a", "o",     "fs2",  "sizes"};
    const char *all = "the options are size, fs, mount-options, uid, gid, mode, owner, data-pool, "
                      "object-size, protect, from, access, label.<key>";

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_refused(keys[i], "1", all);
    assert_refused("a\x1b[1m", "1", "unknown option 'a?[1m': ");
}

static void test_labels(void **state)
{
    (void)state;
    assert_set("label.com.docker.compose.project", "shop");
    assert_set("label.app", "db");
    assert_set("label.Zone", "");
    assert_set("label.app", "web"); /* again: replaced */
    assert_int_equal(options.labels.count, 3);
    assert_string_equal(options.labels.items[0].key, "Zone");
    assert_string_equal(options.labels.items[0].value, "");
    assert_string_equal(options.labels.items[1].key, "app");
    assert_string_equal(options.labels.items[1].value, "web");
    assert_int_equal(options.labels.items[1].value_len, 3);
    assert_string_equal(options.labels.items[2].key, "com.docker.compose.project");
}

static void test_label_limits(void **state)
{
    char key[300] = "label.", value[1100];

    (void)state;
    memset(value, 'v', sizeof(value));
    value[1025] = '\0';
    assert_refused("label.a", value, "label 'a' has value 'vvv");
    value[1024] = '\0';
    assert_set("label.a", value);
    memset(key + 6, 'k', 129);
    assert_refused(key, "1", "at most 128 characters");
    key[6 + 128] = '\0';
    assert_set(key, "1");
    assert_refused("label.", "1", "label '' is not allowed");
    assert_refused("label..a", "1", "label '.a' is not allowed");
    assert_refused("label.a b", "1", "label 'a b' is not allowed");
    assert_refused("label.\xc3\xa4", "1", "label '\?\?' is not allowed");
    assert_refused("label.a", "x\ty", "label 'a' has value 'x?y'");
    for (int i = 2; i < 64; i++) {
        snprintf(key, sizeof(key), "label.n%d", i);
        assert_set(key, "1");
    }
    assert_int_equal(options.labels.count, 64);
    assert_refused("label.one-more", "1", "at most 64");
    assert_set("label.a", "replacing one is no more");
}

static void test_size_against_filesystem(void **state)
{
    (void)state;
    assert_set("size", "12M");
    assert_check(-EINVAL, "size 12M is too small for ext4: use at least 16M");
    assert_set("size", "16M");
    assert_check(0, "");
    assert_set("fs", "xfs");
    assert_check(-EINVAL, "size 16M is too small for xfs: use at least 300M");
    assert_set("size", "300M");
    assert_check(0, "");
    assert_set("fs", "ext4");
    assert_set("size", "16T");
    assert_check(0, "");
    assert_set("size", "17T");
    assert_check(-EINVAL, "size 17T is too large for ext4: use at most 16T");
    assert_set("fs", "xfs");
    assert_check(0, "");
    options.size = 10 * GIB + 512; /* a default size from elsewhere */
    assert_check(-EINVAL, "not a multiple of 4096");
}

static void test_size_against_objects(void **state)
{
    (void)state;
    assert_set("fs", "xfs");
    assert_set("size", "1P");
    assert_check(-EINVAL, "size 1P is too large for objects of 4M: use a larger object-size");
    assert_set("object-size", "8M");
    assert_check(0, "");
    assert_set("object-size", "64K");
    assert_set("size", "16000000000K"); /* 250,000,000 objects */
    assert_check(0, "");
    assert_set("size", "16384000000K"); /* 256,000,000 */
    assert_check(0, "");
    assert_set("size", "16384000004K");
    assert_check(-EINVAL, "objects of 64K");
}

static void test_mount_options_against_filesystem(void **state)
{
    (void)state;
    assert_set("mount-options", "logbufs=4"); /* before fs: the order of options is arbitrary */
    assert_check(-EINVAL, "mount option 'logbufs=4' is not allowed on ext4");
    assert_set("fs", "xfs");
    assert_check(0, "");
}

static void test_volume_names(void **state)
{
    static const char *const good[] = {"a", "0", "db", "My_vol-1.0", "a..b", "A--"};
    static const char *const bad[] = {"",    ".",   "..",  "../x",     "a/b", "-a",  "_a",
                                      "a b", "a\n", "a@b", "\xc3\xa4", "a:b", "a\\b"};
    char name[302];
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(volume_name_check(good[i], NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(volume_name_check(bad[i], NULL), -EINVAL);
    memset(name, 'n', sizeof(name));
    name[201] = '\0';
    assert_int_equal(volume_name_check(name, &err), -EINVAL);
    assert_non_null(strstr(err.text, "use letters, digits"));
    assert_non_null(strstr(err.text, "at most 200 characters"));
    name[200] = '\0';
    assert_int_equal(volume_name_check(name, NULL), 0);
}

static void test_printable(void **state)
{
    static const char *const good[] = {"", "plain ~", "ü", "日本", "😀", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\n",
        "a\x1f",
        "\x7f",
        "\xc2\x80", /* C1 */
        "\xc2\x9f",
        "\xe2\x80\xa8", /* line separator */
        "\x80",
        "\xc3",
        "\xc3(",
        "\xe2\x82", /* cut */
        "\xc0\xaf",
        "\xe0\x80\xaf", /* overlong */
        "\xf0\x80\x80\xaf",
        "\xed\xa0\x80", /* a surrogate */
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xff",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(text_is_printable(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(text_is_printable(bad[i]));
}

static void test_quote(void **state)
{
    char quoted[TEXT_QUOTED_MAX], text[200];

    (void)state;
    text_quote("a\tü", quoted);
    assert_string_equal(quoted, "a?\?\?");
    memset(text, 'x', sizeof(text));
    text[TEXT_QUOTED_MAX - 1] = '\0';
    text_quote(text, quoted);
    assert_string_equal(quoted, text); /* just fits */
    text[TEXT_QUOTED_MAX - 1] = 'x';
    text[sizeof(text) - 1] = '\0';
    text_quote(text, quoted);
    assert_int_equal(strlen(quoted), TEXT_QUOTED_MAX - 1);
    assert_string_equal(quoted + TEXT_QUOTED_MAX - 5, "x...");
}

static void test_access_against_the_rest(void **state)
{
    static const char *const written[][2] = {{"uid", "1000"}, {"gid", "0"}, {"mode", "0700"}};

    (void)state;
    assert_set("access", "rw"); /* may be written out */
    assert_check(0, "");
    assert_set("access", "ro");
    assert_check(-EINVAL, "with from=<volume>@<snapshot>");
    assert_set("from", "db@monday");
    assert_check(0, "");
    assert_set("owner", "who looks");
    assert_set("mount-options", "noatime");
    assert_check(0, "");
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        struct volume_options before = options;
        char words[64];

        snprintf(words, sizeof(words), "option '%s' would have to be written", written[i][0]);
        assert_set(written[i][0], written[i][1]);
        assert_check(-EINVAL, words);
        assert_set("access", "rw");
        assert_check(0, "");
        options = before;
    }
}

static void test_free_twice(void **state)
{
    (void)state;
    assert_set("label.a", "b");
    volume_options_free(&options);
    assert_int_equal(options.labels.count, 0);
    volume_options_free(&options);
}

#define with_options(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_options(test_defaults),
        with_options(test_each_option),
        with_options(test_given),
        with_options(test_malformed_values),
        with_options(test_unknown_keys),
        with_options(test_labels),
        with_options(test_label_limits),
        with_options(test_size_against_filesystem),
        with_options(test_size_against_objects),
        with_options(test_mount_options_against_filesystem),
        with_options(test_access_against_the_rest),
        cmocka_unit_test(test_volume_names),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_quote),
        with_options(test_free_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
