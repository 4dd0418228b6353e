/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "block/blockd_options.h"

#define ARGS_MAX 32

struct args {
    char *argv[ARGS_MAX];
    int argc;
};

static struct args good_args(void)
{
    static const char *const good[] = {
        "radosvol-blockd",
        "--conf",
        "/etc/ceph/ceph.conf",
        "--client",
        "docker",
        "--pool",
        "docker",
        "--namespace",
        "",
        "--image",
        "5e7d86512215",
        "--name",
        "db",
        "--host",
        "host-a",
        "--token",
        "0123abcd",
        "--watch-timeout",
        "30",
        "--block-size",
        "4096",
        "--log-level",
        "warning",
    };
    struct args args = {.argc = sizeof(good) / sizeof(good[0])};

    for (int i = 0; i < args.argc; i++)
        args.argv[i] = (char *)good[i];
    return args;
}

static int find(const struct args *args, const char *option)
{
    for (int i = 0; i < args->argc; i++) {
        if (strcmp(args->argv[i], option) == 0)
            return i;
    }
    fail_msg("no %s", option);
    return -1;
}

static void test_good(void **state)
{
    struct args args = good_args();
    struct blockd_options options;
    struct error err;

    (void)state;
    assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), 0);
    assert_string_equal(options.conf, "/etc/ceph/ceph.conf");
    assert_string_equal(options.client, "docker");
    assert_string_equal(options.pool, "docker");
    assert_string_equal(options.namespace, "");
    assert_string_equal(options.image, "5e7d86512215");
    assert_string_equal(options.name, "db");
    assert_string_equal(options.host, "host-a");
    assert_string_equal(options.token, "0123abcd");
    assert_string_equal(options.backend, "auto"); /* not given by older servers */
    assert_int_equal(options.watch_timeout_s, 30);
    assert_int_equal(options.block_bytes, 4096);
    assert_int_equal(options.log_level, LOG_LEVEL_WARNING);
    assert_false(options.read_only);
    args.argv[args.argc++] = (char *)"--read-only";
    assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), 0);
    assert_true(options.read_only);
}

static void test_each_is_needed(void **state)
{
    struct args all = good_args();

    (void)state;
    for (int missing = 1; missing < all.argc; missing += 2) {
        struct args args = {.argc = 0};
        struct blockd_options options;
        struct error err;

        for (int i = 0; i < all.argc; i++) {
            if (i != missing && i != missing + 1)
                args.argv[args.argc++] = all.argv[i];
        }
        assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), -EINVAL);
        assert_non_null(strstr(err.text, all.argv[missing]));
    }
}

static void test_bad_values(void **state)
{
    static const char *const bad[][2] = {
        {"--block-size", "1024"},
        {"--block-size", "4096x"},
        {"--block-size", ""},
        {"--block-size", "-4096"},
        {"--watch-timeout", "0"},
        {"--watch-timeout", "3601"},
        {"--watch-timeout", " 30"},
        {"--log-level", "loud"},
        {"--name", "a/b"},
        {"--name", ".."},
        {"--name", ""},
        {"--image", ""},
        {"--conf", ""},
        {"--token", ""},
        {"--host", ""},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct args args = good_args();
        struct blockd_options options;
        struct error err;

        args.argv[find(&args, bad[i][0]) + 1] = (char *)bad[i][1];
        assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), -EINVAL);
        assert_non_null(strstr(err.text, bad[i][0]));
    }
}

static void test_too_long(void **state)
{
    static const char *const options_with_limits[] = {"--name", "--image", "--token", "--host"};
    char text[4096];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (unsigned i = 0; i < 4; i++) {
        struct args args = good_args();
        struct blockd_options options;
        struct error err;

        args.argv[find(&args, options_with_limits[i]) + 1] = text;
        assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), -EINVAL);
        assert_non_null(strstr(err.text, options_with_limits[i]));
    }
}

static void test_shared_is_read_only(void **state)
{
    struct args args = good_args();
    struct blockd_options options;
    struct error err;

    (void)state;
    args.argv[args.argc++] = (char *)"--shared";
    assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), 0);
    assert_true(options.shared);
    assert_true(options.read_only);
}

static void test_backend(void **state)
{
    struct args args = good_args();
    struct blockd_options options;
    struct error err;

    (void)state;
    args.argv[args.argc++] = (char *)"--backend";
    args.argv[args.argc++] = (char *)"fuse";
    assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), 0);
    assert_string_equal(options.backend, "fuse");
    args.argv[args.argc - 1] = (char *)"loop";
    assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--backend"));
}

static void test_unknown_and_twice(void **state)
{
    static const char *const extra[] = {"--frobnicate", "stray", "--name", "--read-only=yes"};

    (void)state;
    for (unsigned i = 0; i < sizeof(extra) / sizeof(extra[0]); i++) {
        struct args args = good_args();
        struct blockd_options options;
        struct error err;

        args.argv[args.argc++] = (char *)extra[i];
        if (strcmp(extra[i], "--name") == 0)
            args.argv[args.argc++] = (char *)"other";
        assert_int_equal(blockd_options_parse(args.argc, args.argv, &options, &err), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_each_is_needed),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_shared_is_read_only),
        cmocka_unit_test(test_backend),
        cmocka_unit_test(test_unknown_and_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
