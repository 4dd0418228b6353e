/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rados/pool_usage.h"

/* What monitors of Ceph 16.2 answered, with members left out that nobody looks at. */
static const char df[] =
    "\n{\"stats\":{\"total_bytes\":64424509440,\"num_osds\":3},\"stats_by_class\":{},\"pools\":["
    "{\"name\":\"docker\",\"id\":1,\"stats\":{\"stored\":41943040,\"stored_omap\":0,\"objects\":12,"
    "\"kb_used\":81920,\"percent_used\":0.0014,\"max_avail\":30144968704,\"quota_objects\":0}},"
    "{\"name\":\"docker-data\",\"id\":2,\"stats\":{\"stored\":0,\"max_avail\":30144968704}}]}\n";
static const char pools[] =
    "\n[{\"pool_id\":1,\"pool_name\":\"docker\",\"flags\":1,\"flags_names\":\"hashpspool\","
    "\"type\":"
    "1,\"size\":2,\"options\":{},\"application_metadata\":{\"rbd\":{}}},"
    "{\"pool_id\":2,\"pool_name\":\"docker-data\",\"flags\":1027,\"flags_names\":"
    "\"hashpspool,full,full_quota\"},"
    "{\"pool_id\":3,\"pool_name\":\"near\",\"flags_names\":\"hashpspool,nearfull\"}]\n";

static int decode(const char *pool, const char *usage, const char *details, struct pool_usage *ret)
{
    return pool_usage_decode(pool, usage, strlen(usage), details, strlen(details), ret);
}

static void test_answers(void **state)
{
    struct pool_usage usage;

    (void)state;
    assert_int_equal(decode("docker", df, pools, &usage), 0);
    assert_int_equal(usage.stored, 41943040);
    assert_int_equal(usage.available, 30144968704);
    assert_false(usage.full);
    assert_int_equal(decode("docker-data", df, pools, &usage), 0);
    assert_true(usage.full);
    assert_int_equal(decode("other", df, pools, &usage), -ENOENT);
    assert_int_equal(decode("near", df, pools, &usage), -ENOENT); /* only one of them knows it */
}

/* A flag that only contains the word is another flag. */
static void test_flags(void **state)
{
    static const struct {
        const char *flags;
        bool full;
    } cases[] = {
        {"full", true},          {"nearfull", false},          {"backfillfull,full", true},
        {"full_quota", false},   {"hashpspool,fuller", false}, {"", false},
        {"nearfull,full", true}, {"full,nearfull", true},
    };
    static const char some[] =
        "{\"pools\":[{\"name\":\"p\",\"stats\":{\"stored\":1,\"max_avail\":0}}]}";

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pool_usage usage;
        char text[128];

        snprintf(text, sizeof(text), "[{\"pool_name\":\"p\",\"flags_names\":\"%s\"}]",
                 cases[i].flags);
        assert_int_equal(decode("p", some, text, &usage), 0);
        assert_int_equal(usage.full, cases[i].full);
    }
}

static int space(const char *pool, const char *details)
{
    return pool_check_space_decode(pool, details, strlen(details));
}

static void test_space(void **state)
{
    (void)state;
    assert_int_equal(space("docker", pools), 0);
    assert_int_equal(space("docker-data", pools), -EDQUOT);
    assert_int_equal(space("near", pools), 0);
    assert_int_equal(space("other", pools), -ENOENT);
    assert_int_equal(space("p", "[{\"pool_name\":\"p\",\"flags_names\":\"full\"}]"), -ENOSPC);
    assert_int_equal(space("p", "[{\"pool_name\":\"p\"}]"), -EBADMSG);
    assert_int_equal(space("p", "{}"), -EBADMSG);
    assert_int_equal(space("p", "["), -EBADMSG);
}

static int copies(const char *pool, const char *details, unsigned *ret)
{
    return pool_copies_decode(pool, details, strlen(details), ret);
}

static void test_copies(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[{\"pool_name\":\"p\"}]",
        "[{\"pool_name\":\"p\",\"size\":\"3\"}]",
        "[{\"pool_name\":\"p\",\"size\":0}]",
        "[{\"pool_name\":\"p\",\"size\":4294967297}]",
    };
    unsigned n = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(copies("p", bad[i], &n), -EBADMSG);
    assert_int_equal(copies("other", pools, &n), -ENOENT);
    assert_int_equal(n, 7);
    assert_int_equal(copies("docker", pools, &n), 0);
    assert_int_equal(n, 2);
}

static void test_nonsense(void **state)
{
    static const char good_pools[] = "[{\"pool_name\":\"p\",\"flags_names\":\"\"}]";
    static const char *const bad_df[] = {
        "",
        "{",
        "[]",
        "{\"pools\":{}}",
        "{\"pools\":[{\"name\":\"p\"}]}",
        "{\"pools\":[{\"name\":\"p\",\"stats\":{\"stored\":-1,\"max_avail\":0}}]}",
        "{\"pools\":[{\"name\":\"p\",\"stats\":{\"stored\":1.5,\"max_avail\":0}}]}",
        "{\"pools\":[{\"name\":\"p\",\"stats\":{\"stored\":1}}]}",
        "{\"pools\":[{\"name\":\"p\",\"stats\":{\"stored\":1,\"max_avail\":\"2\"}}]}",
    };
    static const char good_df[] =
        "{\"pools\":[{\"name\":\"p\",\"stats\":{\"stored\":1,\"max_avail\":2}}]}";
    struct pool_usage usage = {.stored = 7};

    (void)state;
    for (size_t i = 0; i < sizeof(bad_df) / sizeof(bad_df[0]); i++)
        assert_int_equal(decode("p", bad_df[i], good_pools, &usage), -EBADMSG);
    assert_int_equal(decode("p", good_df, "{}", &usage), -EBADMSG);
    assert_int_equal(decode("p", good_df, "[{\"pool_name\":\"p\"}]", &usage), -EBADMSG);
    assert_int_equal(decode("p", good_df, "[7, {\"pool_name\":8}]", &usage), -ENOENT);
    assert_int_equal(usage.stored, 7);
    assert_int_equal(decode("p", good_df, good_pools, &usage), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),  cmocka_unit_test(test_flags),
        cmocka_unit_test(test_space),    cmocka_unit_test(test_copies),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
