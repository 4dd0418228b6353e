/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "plugin/server/cache.h"
#include "plugin/server/cache_table.h"

static void put(struct cache_table *table, const char *name, const char *status, int64_t now)
{
    bool changed;

    assert_int_equal(cache_table_put(table, name, 1000, status, now, &changed), 0);
}

static void stays_sorted(void **state)
{
    struct cache_table table = {0};
    char name[16];

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "v%u", i * 7919 % 1000);
        put(&table, name, NULL, 1);
    }
    assert_int_equal(table.count, 1000);
    for (size_t i = 1; i < table.count; i++)
        assert_true(strcmp(table.volumes[i - 1]->name, table.volumes[i]->name) < 0);
    assert_non_null(cache_table_find(&table, "v999"));
    assert_true(cache_table_drop(&table, "v999"));
    assert_false(cache_table_drop(&table, "v999"));
    assert_null(cache_table_find(&table, "v999"));
    cache_table_free(&table);
}

static void tells_what_changed(void **state)
{
    struct cache_table table = {0};
    bool changed;

    (void)state;
    assert_int_equal(cache_table_put(&table, "db", 1, "{}", 1, &changed), 0);
    assert_true(changed);
    assert_int_equal(cache_table_put(&table, "db", 1, "{}", 2, &changed), 0);
    assert_false(changed);
    assert_int_equal(cache_table_put(&table, "db", 0, NULL, 3, &changed), 0);
    assert_false(changed);
    assert_string_equal(cache_table_find(&table, "db")->status, "{}");
    assert_int_equal(cache_table_put(&table, "db", 1, "{\"a\":1}", 4, &changed), 0);
    assert_true(changed);
    cache_table_free(&table);
}

static void a_list_drops_what_is_gone_and_keeps_what_is_newer(void **state)
{
    static const char *const names[] = {"b", "c"};
    struct cache_table table = {0};

    (void)state;
    put(&table, "a", "{}", 10);
    put(&table, "b", "{\"size\":\"1G\"}", 10);
    put(&table, "made-meanwhile", "{}", 30);
    assert_false(table.filled);
    assert_true(cache_table_take_names(&table, names, 2, 20, 40));
    assert_true(table.filled);
    assert_int_equal(table.count, 3);
    assert_null(cache_table_find(&table, "a"));
    assert_string_equal(cache_table_find(&table, "b")->status, "{\"size\":\"1G\"}");
    assert_null(cache_table_find(&table, "c")->status);
    assert_non_null(cache_table_find(&table, "made-meanwhile"));
    put(&table, "made-meanwhile", NULL, 15);
    assert_true(cache_table_take_names(&table, names, 2, 45, 46));
    assert_false(cache_table_take_names(&table, names, 2, 45, 46));
    cache_table_free(&table);
}

static void file_round_trip(void **state)
{
    struct cache_table table = {0};
    struct cache_table back;
    cleanup_free char *text = NULL;
    struct error err = {0};
    size_t len;

    (void)state;
    put(&table, "db", "{\"size\":\"10G\",\"labels\":{\"a\":\"\\\"\"}}", 5);
    put(&table, "only-a-name", NULL, 5);
    table.filled = true;
    assert_int_equal(cache_table_encode(&table, &text, &len), 0);
    assert_int_equal(len, strlen(text));
    assert_int_equal(cache_table_decode(text, len, &back, &err), 0);
    assert_true(back.filled);
    assert_int_equal(back.count, 2);
    assert_string_equal(cache_table_find(&back, "db")->status, table.volumes[0]->status);
    assert_int_equal(cache_table_find(&back, "db")->created, 1000);
    assert_int_equal(cache_table_find(&back, "db")->touched, 0);
    assert_null(cache_table_find(&back, "only-a-name")->status);
    cache_table_free(&table);
    cache_table_free(&back);
}

static void hostile_files(void **state)
{
    static const char *const refused[] = {
        "", "x", "[]", "{}", "{\"version\":2,\"volumes\":[]}", "{\"version\":1,\"volumes\":{}}",
    };
    static const char odd[] =
        "{\"version\":1,\"filled\":7,\"volumes\":[7,{},{\"name\":7},{\"name\":\"../x\"},"
        "{\"name\":\"a\",\"status\":[],\"created\":1},{\"name\":\"b\",\"status\":{}},"
        "{\"name\":\"a\",\"status\":{},\"created\":2}]}";
    struct cache_table table;
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_int_equal(cache_table_decode(refused[i], strlen(refused[i]), &table, &err),
                         -EBADMSG);
    assert_int_equal(cache_table_decode(odd, strlen(odd), &table, &err), 0);
    assert_false(table.filled);
    assert_int_equal(table.count, 2);
    assert_string_equal(cache_table_find(&table, "a")->status, "{}");
    assert_null(cache_table_find(&table, "b")->status);
    cache_table_free(&table);
}

static void survives_on_disk(void **state)
{
    static const char *const names[] = {"db", "web"};
    char dir[] = "/tmp/test-cache-XXXXXX";
    char file[64];
    struct cache *cache;
    struct error err = {0};
    cleanup_free char *status = NULL;
    cleanup_free char **found = NULL;
    size_t count;
    int64_t created;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof(file), "%s/cache.json", dir);
    assert_int_equal(cache_open(file, &cache, &err), 0);
    assert_int_equal(cache_names(cache, &found, &count), -ENODATA);
    cache_take_names(cache, names, 2, clock_now());
    cache_put(cache, "db", 1234, "{\"fs\":\"xfs\"}");
    cache_drop(cache, "web");
    cache_close(cache);

    assert_int_equal(cache_open(file, &cache, &err), 0);
    assert_int_equal(cache_get(cache, "web", &created, &status), -ENOENT);
    assert_int_equal(cache_get(cache, "db", &created, &status), 0);
    assert_int_equal(created, 1234);
    assert_string_equal(status, "{\"fs\":\"xfs\"}");
    assert_int_equal(cache_names(cache, &found, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(found[0], "db");
    cache_close(cache);

    /* A broken file is an empty cache, not a failure. */
    assert_int_equal(file_replace(file, "\xff{", 2, &err), 0);
    assert_int_equal(cache_open(file, &cache, &err), 0);
    assert_int_equal(cache_get(cache, "db", &created, &status), -ENOENT);
    cache_close(cache);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stays_sorted),
        cmocka_unit_test(tells_what_changed),
        cmocka_unit_test(a_list_drops_what_is_gone_and_keeps_what_is_newer),
        cmocka_unit_test(file_round_trip),
        cmocka_unit_test(hostile_files),
        cmocka_unit_test(survives_on_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
