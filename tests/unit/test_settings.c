/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugin/settings.h"

/* Every flag, its variable, and a value that is allowed and not the default. */
static const struct {
    const char *flag;
    const char *env;
    const char *value;
} all[] = {
    {"--socket", "RADOS_SOCKET", "/tmp/other.sock"},
    {"--run-dir", "RADOS_RUN_DIR", "/tmp/run"},
    {"--lib-dir", "RADOS_LIB_DIR", "/tmp/lib"},
    {"--ceph-conf", "CEPH_CONF", "/tmp/ceph.conf"},
    {"--ceph-client", "CEPH_CLIENT", "other"},
    {"--pool", "RADOS_POOL", "rbd"},
    {"--namespace", "RADOS_NAMESPACE", "tenant"},
    {"--host", "RADOS_HOST", "host-b"},
    {"--default-size", "DEFAULT_SIZE", "1T"},
    {"--default-fs", "DEFAULT_FS", "xfs"},
    {"--watch-timeout", "WATCH_TIMEOUT", "120"},
    {"--when-full", "WHEN_FULL", "fail"},
    {"--backend", "BACKEND", "fuse"},
    {"--trash-expiry", "TRASH_EXPIRY", "12h"},
    {"--metrics-address", "METRICS_ADDRESS", "127.0.0.1:9128"},
    {"--log-level", "LOG_LEVEL", "debug"},
    {"--libexec-dir", "RADOS_LIBEXEC_DIR", "/tmp/libexec"},
};

#define ALL (sizeof(all) / sizeof(all[0]))

static int clear_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL; i++)
        unsetenv(all[i].env);
    return 0;
}

static int parse(const char *flag, const char *value, struct settings *ret, struct error *err)
{
    char *argv[] = {(char *)"test", (char *)flag, (char *)value, NULL};

    return settings_parse(!flag ? 1 : !value ? 2 : 3, argv, ret, err);
}

/* The value of setting I as text. */
static const char *value_of(const struct settings *s, size_t i)
{
    static char number[16];
    const char *const texts[ALL] = {
        s->socket,
        s->run_dir,
        s->lib_dir,
        s->ceph_conf,
        s->ceph_client,
        s->pool,
        s->namespace,
        s->host,
        s->default_size,
        s->default_fs,
        number,
        s->fail_when_full ? "fail" : "wait",
        s->backend,
        s->trash_expiry_s == 12 * 3600 ? "12h" : "another",
        s->metrics_address,
        s->log_level == LOG_LEVEL_DEBUG ? "debug" : "another",
        s->libexec_dir,
    };

    snprintf(number, sizeof(number), "%u", s->watch_timeout_s);
    return texts[i];
}

static void refuse(const char *flag, const char *value, const char *words)
{
    struct settings settings;
    struct error err = {0};

    assert_int_equal(parse(flag, value, &settings, &err), -EINVAL);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
}

static void defaults(void **state)
{
    struct settings s;
    struct error err = {0};
    char host[HOST_NAME_MAX + 1];

    (void)state;
    assert_int_equal(parse(NULL, NULL, &s, &err), 0);
    assert_string_equal(s.socket, "/run/docker/plugins/rados.sock");
    assert_string_equal(s.run_dir, "/run/docker-volume-rados");
    assert_string_equal(s.lib_dir, "/var/lib/docker-volume-rados");
    assert_string_equal(s.ceph_conf, "/etc/ceph/ceph.conf");
    assert_string_equal(s.ceph_client, "docker");
    assert_string_equal(s.pool, "docker");
    assert_string_equal(s.namespace, "");
    assert_int_equal(gethostname(host, sizeof(host)), 0);
    assert_string_equal(s.host, host);
    assert_string_equal(s.default_size, "10G");
    assert_string_equal(s.default_fs, "ext4");
    assert_int_equal(s.watch_timeout_s, 15);
    assert_false(s.fail_when_full);
    assert_string_equal(s.backend, "auto");
    assert_int_equal(s.trash_expiry_s, 7 * 86400);
    assert_int_equal(s.log_level, LOG_LEVEL_INFO);
    assert_int_equal(s.libexec_dir[0], '/');
}

static void each_by_flag(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        struct settings s;
        struct error err = {0};
        char joined[128];

        assert_int_equal(parse(all[i].flag, all[i].value, &s, &err), 0);
        assert_string_equal(value_of(&s, i), all[i].value);
        memset(&s, 0, sizeof(s));
        snprintf(joined, sizeof(joined), "%s=%s", all[i].flag, all[i].value);
        assert_int_equal(parse(joined, NULL, &s, &err), 0);
        assert_string_equal(value_of(&s, i), all[i].value);
    }
}

static void each_by_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        struct settings s;
        struct error err = {0};

        setenv(all[i].env, all[i].value, 1);
        assert_int_equal(parse(NULL, NULL, &s, &err), 0);
        assert_string_equal(value_of(&s, i), all[i].value);
        unsetenv(all[i].env);
    }
}

static void flag_wins(void **state)
{
    struct settings s;
    struct error err = {0};

    (void)state;
    setenv("RADOS_POOL", "not/allowed", 1);
    assert_int_equal(parse("--pool", "rbd", &s, &err), 0);
    assert_string_equal(s.pool, "rbd");
}

static void last_flag_wins(void **state)
{
    char *argv[] = {(char *)"test", (char *)"--pool", (char *)"a", (char *)"--pool=b", NULL};
    struct settings s;
    struct error err = {0};

    (void)state;
    assert_int_equal(settings_parse(4, argv, &s, &err), 0);
    assert_string_equal(s.pool, "b");
}

static void empty_variable_is_default(void **state)
{
    struct settings s;
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < ALL; i++)
        setenv(all[i].env, "", 1);
    assert_int_equal(parse(NULL, NULL, &s, &err), 0);
    assert_string_equal(s.pool, "docker");
    assert_int_equal(s.watch_timeout_s, 15);
}

static void refusals_name_the_flag(void **state)
{
    char long_path[300];
    char long_name[200];

    (void)state;
    memset(long_path, 'x', sizeof(long_path));
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';
    memset(long_name, 'x', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    refuse("--bogus", "1", "\"--bogus\"");
    refuse("stray", NULL, "\"stray\"");
    refuse("--poo", "x", "\"--poo\"");
    refuse("", NULL, "unknown flag \"\"");
    refuse("--pool", NULL, "--pool needs a value");
    refuse("--pool", "", "flag --pool: \"\"");
    refuse("--pool", "a/b", "flag --pool: \"a/b\"");
    refuse("--pool", "a b", "without space");
    refuse("--pool", "a\nb", "--pool");
    refuse("--pool", long_name, "128 bytes");
    refuse("--namespace", "a@b", "--namespace");
    refuse("--host", "a b", "--host");
    refuse("--ceph-client", "client.docker", "without \"client.\"");
    refuse("--socket", "relative", "absolute");
    refuse("--socket", long_path, "at most 107 bytes");
    refuse("--run-dir", long_path, "at most 255 bytes");
    refuse("--ceph-conf", "/a\tb", "--ceph-conf");
    refuse("--libexec-dir", "", "--libexec-dir");
    refuse("--default-size", "", "--default-size");
    refuse("--backend", "loop", "auto, fuse or nbd");
    refuse("--log-level", "loud", "error, warning, info or debug");
}

static void watch_timeout_range(void **state)
{
    static const char *const refused[] = {"4",   "121",  "",    "-5",  "+15",
                                          "15s", "0x10", " 15", "1e1", "99999999999999999999"};
    struct settings s;
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        refuse("--watch-timeout", refused[i], "whole seconds from 5 to 120");
    assert_int_equal(parse("--watch-timeout", "5", &s, &err), 0);
    assert_int_equal(s.watch_timeout_s, 5);
}

static void trash_expiry_range(void **state)
{
    static const struct {
        const char *text;
        unsigned seconds;
    } allowed[] = {{"0", 0},       {"0d", 0},      {"90s", 90},         {"30m", 1800},
                   {"12h", 43200}, {"7d", 604800}, {"3650d", 315360000}};
    static const char *const refused[] = {"",    "7",   "d",   "7 d",   "-1d",
                                          "7D",  "7dd", "1w",  "3651d", "99999999999999999999s",
                                          "+7d", " 7d", "0x7d"};
    struct settings s;
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        refuse("--trash-expiry", refused[i], "such as 7d");
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        assert_int_equal(parse("--trash-expiry", allowed[i].text, &s, &err), 0);
        assert_int_equal(s.trash_expiry_s, allowed[i].seconds);
    }
}

static void refusals_name_the_variable(void **state)
{
    (void)state;
    setenv("WATCH_TIMEOUT", "never", 1);
    refuse(NULL, NULL, "environment variable WATCH_TIMEOUT: \"never\"");
}

static void asked_for_help(void **state)
{
    struct settings s;
    struct error err = {0};

    (void)state;
    assert_int_equal(parse("--help", NULL, &s, &err), 1);
    assert_int_equal(parse("--version", NULL, &s, &err), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults, clear_environment),
        cmocka_unit_test_setup(each_by_flag, clear_environment),
        cmocka_unit_test_setup(each_by_environment, clear_environment),
        cmocka_unit_test_setup(flag_wins, clear_environment),
        cmocka_unit_test_setup(last_flag_wins, clear_environment),
        cmocka_unit_test_setup(empty_variable_is_default, clear_environment),
        cmocka_unit_test_setup(refusals_name_the_flag, clear_environment),
        cmocka_unit_test_setup(watch_timeout_range, clear_environment),
        cmocka_unit_test_setup(trash_expiry_range, clear_environment),
        cmocka_unit_test_setup(refusals_name_the_variable, clear_environment),
        cmocka_unit_test_setup(asked_for_help, clear_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
