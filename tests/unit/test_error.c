/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void test_set(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(error_set(&err, -EBUSY, "volume '%s' is mounted on %s", "db", "host-b"),
                     -EBUSY);
    assert_int_equal(err.code, -EBUSY);
    assert_string_equal(err.text, "volume 'db' is mounted on host-b");
}

static void test_errno_adds_words(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(error_errno(&err, -EACCES, "cannot open '%s'", "/x"), -EACCES);
    assert_int_equal(err.code, -EACCES);
    assert_string_equal(err.text, "cannot open '/x': Permission denied");
}

static void test_wrap_keeps_code(void **state)
{
    struct error err = {0};

    (void)state;
    error_set(&err, -ENOSPC, "no space");
    assert_int_equal(error_wrap(&err, "volume '%s'", "db"), -ENOSPC);
    assert_int_equal(error_wrap(&err, "create"), -ENOSPC);
    assert_int_equal(err.code, -ENOSPC);
    assert_string_equal(err.text, "create: volume 'db': no space");
}

static void test_without_an_error(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, -ENOENT, "x"), -ENOENT);
    assert_int_equal(error_errno(NULL, -ENOENT, "x"), -ENOENT);
    assert_true(error_wrap(NULL, "x") < 0);
}

/* Words that do not fit are cut; nothing is written behind them and the code stays. */
static void test_long_words(void **state)
{
    struct {
        struct error err;
        char guard[8];
    } space;
    char longer[2 * ERROR_TEXT_MAX];

    (void)state;
    memset(longer, 'w', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    memset(&space, 0, sizeof(space));
    memset(space.guard, '#', sizeof(space.guard));

    assert_int_equal(error_set(&space.err, -EIO, "%s", longer), -EIO);
    assert_int_equal(strlen(space.err.text), ERROR_TEXT_MAX - 1);
    assert_int_equal(error_errno(&space.err, -EIO, "%s", longer), -EIO);
    assert_int_equal(strlen(space.err.text), ERROR_TEXT_MAX - 1);
    assert_int_equal(error_wrap(&space.err, "in front"), -EIO);
    assert_int_equal(strlen(space.err.text), ERROR_TEXT_MAX - 1);
    assert_memory_equal(space.err.text, "in front: www", 13);
    assert_int_equal(error_wrap(&space.err, "%s", longer), -EIO);
    assert_int_equal(strlen(space.err.text), ERROR_TEXT_MAX - 1);
    assert_memory_equal(space.guard, "########", 8);
}

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(error_words(-ETIMEDOUT), "no answer in time");
    assert_non_null(strstr(error_words(-ESHUTDOWN), "blocklisted"));
    assert_non_null(strstr(error_words(-ENOSPC), "full"));
    assert_non_null(strstr(error_words(-EDQUOT), "quota"));
    assert_string_equal(error_words(-ENOENT), "No such file or directory");
    assert_string_equal(error_words(-123456), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_errno_adds_words),
        cmocka_unit_test(test_wrap_keeps_code),
        cmocka_unit_test(test_without_an_error),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
