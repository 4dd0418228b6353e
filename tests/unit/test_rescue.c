/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "tests/unit/scratch.h"

#include "cli/rescue.h"

/* PATH below the scratch directory, as RET. */
static void below(void **state, const char *path, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s%s", (const char *)*state, path);
}

static void make(void **state)
{
    char path[PATH_MAX];
    char link[PATH_MAX];

    below(state, "/a", path);
    assert_int_equal(mkdir(path, 0755), 0);
    below(state, "/a/b", path);
    assert_int_equal(mkdir(path, 0755), 0);
    below(state, "/link", link);
    assert_int_equal(symlink(path, link), 0);
    below(state, "/up", link);
    below(state, "/a", path);
    assert_int_equal(symlink(path, link), 0);
}

static void test_all_ways_lead_to_one(void **state)
{
    static const char *const ways[] = {
        "/a/b", "/a/b/", "/a/b//", "/a/../a/b", "/a/b/.", "/link", "/link/", "/up/b", "/a/b/../b",
    };
    char expected[PATH_MAX];
    char found[PATH_MAX];

    make(state);
    below(state, "/a/b", expected);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        char way[PATH_MAX];

        below(state, ways[i], way);
        assert_int_equal(rescue_canonical(way, found), 0);
        assert_string_equal(found, expected);
    }
}

static void test_relative(void **state)
{
    char expected[PATH_MAX];
    char found[PATH_MAX];

    make(state);
    below(state, "/a", expected);
    assert_int_equal(chdir(expected), 0);
    assert_int_equal(rescue_canonical("b", found), 0);
    below(state, "/a/b", expected);
    assert_string_equal(found, expected);
    assert_int_equal(rescue_canonical(".", found), 0);
    below(state, "/a", expected);
    assert_string_equal(found, expected);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rescue_canonical("/", found), 0);
    assert_string_equal(found, "/");
    assert_int_equal(rescue_canonical("/tmp", found), 0);
    assert_string_equal(found, "/tmp");
}

static void test_what_is_not_there(void **state)
{
    char path[PATH_MAX];
    char found[PATH_MAX];

    below(state, "/nothing", path);
    assert_int_equal(rescue_canonical(path, found), -ENOENT);
    below(state, "/nothing/below", path);
    assert_int_equal(rescue_canonical(path, found), -ENOENT);
    assert_int_equal(rescue_canonical("", found), -ENOENT);
}

static void test_too_long(void **state)
{
    char path[2 * PATH_MAX];
    char found[PATH_MAX];

    (void)state;
    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(rescue_canonical(path, found), -ENAMETOOLONG);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(test_all_ways_lead_to_one),
        IN_SCRATCH(test_relative),
        IN_SCRATCH(test_what_is_not_there),
        IN_SCRATCH(test_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
