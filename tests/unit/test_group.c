/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "volume/group.h"

static void test_labels(void **state)
{
    struct rbd_pair items[] = {
        {(char *)"app", (char *)"shop", 4},
        {(char *)"empty", (char *)"", 0},
        {(char *)"query", (char *)"a=b", 3},
    };
    const struct rbd_pairs labels = {.items = items, .count = 3};
    static const char *const has[] = {"app", "app=shop", "empty", "empty=", "query=a=b"};
    static const char *const has_not[] = {"ap",      "app=",    "app=sho", "app=shopper",
                                          "apps",    "=shop",   "shop",    "",
                                          "empty=x", "query=a", "query=b"};

    (void)state;
    for (size_t i = 0; i < sizeof(has) / sizeof(has[0]); i++)
        assert_true(volume_has_label(&labels, has[i]));
    for (size_t i = 0; i < sizeof(has_not) / sizeof(has_not[0]); i++)
        assert_false(volume_has_label(&labels, has_not[i]));
    assert_false(volume_has_label(&(struct rbd_pairs){0}, "app"));
}

/* What can be told without a cluster is told before one is asked. */
static void test_bounds(void **state)
{
    const char *names[SNAPSHOT_GROUP_MAX + 1];
    struct volume_group group = {.count = 77};
    struct error err;

    (void)state;
    for (size_t i = 0; i < SNAPSHOT_GROUP_MAX + 1; i++)
        names[i] = "db";
    assert_int_equal(volume_group_by_names(NULL, names, 0, 0, &group, &err), -EINVAL);
    assert_non_null(strstr(err.text, "no volume is named"));
    assert_int_equal(volume_group_by_names(NULL, names, SNAPSHOT_GROUP_MAX + 1, 0, &group, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "65 volumes"));
    assert_int_equal(volume_group_by_label(NULL, "", 0, &group, &err), -EINVAL);
    assert_int_equal(volume_group_by_label(NULL, "=shop", 0, &group, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'=shop'"));
    assert_int_equal(group.count, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
