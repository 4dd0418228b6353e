/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/server/metrics_data.h"
#include "plugin/server/metrics_text.h"

#define P METRICS_PREFIX

static void assert_text(struct metrics_text *text, const char *expected)
{
    assert_non_null(text->bytes);
    assert_string_equal(text->bytes, expected);
    assert_int_equal(text->len, strlen(expected));
    metrics_text_free(text);
    assert_null(text->bytes);
}

static void test_samples(void **state)
{
    struct metrics_text text;
    const struct metrics_label labels[] = {
        {"volume", "db"}, {"host", NULL}, {"pool", "docker"}, {0}};

    (void)state;
    metrics_text_init(&text, 4096);
    metrics_family(&text, "volume_size_bytes", "gauge", "Size of the volume.");
    metrics_count(&text, labels, UINT64_MAX);
    metrics_count(&text, NULL, 0);
    metrics_number(&text, (const struct metrics_label[]){{0}}, 0.25);
    metrics_number(&text, (const struct metrics_label[]){{"volume", NULL}, {0}}, 1795531151.5);
    metrics_number(&text, NULL, 9007199254740992.0);
    metrics_number(&text, NULL, -1);
    assert_int_equal(text.left_out, 0);
    assert_text(&text, "# HELP " P "volume_size_bytes Size of the volume.\n"
                       "# TYPE " P "volume_size_bytes gauge\n" P
                       "volume_size_bytes{volume=\"db\",pool=\"docker\"} 18446744073709551615\n" P
                       "volume_size_bytes 0\n" P "volume_size_bytes 0.25\n" P
                       "volume_size_bytes 1795531151.5\n" P "volume_size_bytes 9007199254740992\n" P
                       "volume_size_bytes -1\n");
}

static void test_values_are_escaped(void **state)
{
    struct metrics_text text;
    const struct metrics_label labels[] = {{"host", "a\"b\\c\nd\t\x7f\xff\xc3\xa4"}, {0}};

    (void)state;
    metrics_text_init(&text, 4096);
    text.family = "x";
    metrics_count(&text, labels, 1);
    assert_text(&text, P "x{host=\"a\\\"b\\\\c?d?????\"} 1\n");
}

static void test_histogram(void **state)
{
    struct metrics_text text;
    const struct metrics_label labels[] = {{"operation", "read"}, {0}};
    struct latency_counts counts = {.sum_ns = 2500000000};
    const char *at;
    unsigned lines = 0;

    (void)state;
    counts.buckets[0] = 3;
    counts.buckets[1] = 4;
    counts.buckets[LATENCY_BUCKETS - 1] = 5;
    metrics_text_init(&text, 16384);
    text.family = "x_seconds";
    metrics_histogram(&text, labels, &counts);
    at = text.bytes;
    assert_non_null(strstr(at, P "x_seconds_bucket{operation=\"read\",le=\"6.4e-05\"} 3\n"));
    assert_non_null(strstr(at, P "x_seconds_bucket{operation=\"read\",le=\"0.000128\"} 7\n"));
    assert_non_null(strstr(at, P "x_seconds_bucket{operation=\"read\",le=\"67.108864\"} 7\n"));
    assert_non_null(strstr(at, P "x_seconds_bucket{operation=\"read\",le=\"+Inf\"} 12\n"));
    assert_non_null(strstr(at, P "x_seconds_sum{operation=\"read\"} 2.5\n"));
    assert_non_null(strstr(at, P "x_seconds_count{operation=\"read\"} 12\n"));
    for (; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, LATENCY_BUCKETS + 2);
    metrics_text_free(&text);

    /* Without labels the bucket's own one stands alone. */
    metrics_text_init(&text, 16384);
    text.family = "x_seconds";
    metrics_histogram(&text, NULL, &counts);
    assert_non_null(strstr(text.bytes, P "x_seconds_bucket{le=\"+Inf\"} 12\n"));
    assert_non_null(strstr(text.bytes, P "x_seconds_count 12\n"));
    metrics_text_free(&text);
}

static void test_limit(void **state)
{
    struct metrics_text text;
    const struct metrics_label labels[] = {{"volume", "db"}, {0}};
    struct latency_counts counts = {0};
    const char *line = P "x{volume=\"db\"} 1\n";
    char expected[256];

    (void)state;
    metrics_text_init(&text, 2 * strlen(line) + 1000);
    text.family = "x";
    metrics_count(&text, labels, 1);
    metrics_histogram(&text, labels, &counts); /* whole or not at all */
    assert_int_equal(text.left_out, 1);
    metrics_count(&text, labels, 1);
    text.limit = text.len;
    metrics_count(&text, labels, 1);
    assert_int_equal(text.left_out, 2);
    snprintf(expected, sizeof(expected), "%s%s", line, line);
    assert_text(&text, expected);

    /* A line of its own that is too long is left out, too. */
    {
        char *longest = malloc(10000);
        const struct metrics_label endless[] = {{"volume", longest}, {0}};

        assert_non_null(longest);
        memset(longest, 'v', 9999);
        longest[9999] = '\0';
        metrics_text_init(&text, 1 << 20);
        text.family = "x";
        metrics_count(&text, endless, 1);
        assert_int_equal(text.left_out, 1);
        metrics_count(&text, labels, 1);
        free(longest);
    }
    assert_text(&text, line);
}

/* ---- all of it ---- */

static struct metrics_data sample(void)
{
    static const struct settings settings = {.host = "host-a", .pool = "docker", .namespace = ""};
    static struct metrics_facts facts[2];
    static struct metrics_local locals[2];
    struct metrics_data data = {.settings = &settings, .now = 100 * INT64_C(1000000000)};

    facts[0] = (struct metrics_facts){.name = "a",
                                      .read = 90 * INT64_C(1000000000),
                                      .size = 1 << 30,
                                      .used = UINT64_MAX,
                                      .held = true,
                                      .holder_host = "host-b",
                                      .holder_client = 4123};
    facts[1] = (struct metrics_facts){.name = "b", .size = 5, .used = 3, .takeovers = 2};
    locals[0] = (struct metrics_local){.name = "b",
                                       .measured = 99 * INT64_C(1000000000),
                                       .stats = {.state = BLOCKD_FENCED,
                                                 .size = 7,
                                                 .watch_age_ms = 1500,
                                                 .io = {.read_bytes = 42, .errors = 9}},
                                       .fences = 1,
                                       .has_usage = true,
                                       .used = 4};
    locals[1] = (struct metrics_local){.name = "c"};
    data.facts = facts;
    data.facts_count = 2;
    data.locals = locals;
    data.local_count = 2;
    data.volumes = 2;
    data.workers[0].name = "read";
    data.workers[1].name = "change";
    data.workers[2].name = "operate";
    data.host.processes[0].name = "server";
    data.host.processes[1].name = "supervisor";
    return data;
}

static void assert_has(const char *text, const char *line)
{
    for (const char *at = text; (at = strstr(at, line)); at++) {
        if (at == text || at[-1] == '\n')
            return;
    }
    fail_msg("there is no line '%s' in:\n%s", line, text);
}

static void test_everything(void **state)
{
    const struct metrics_data data = sample();
    struct metrics_text text;

    (void)state;
    metrics_text_init(&text, 1 << 20);
    metrics_print(&text, &data);
    assert_has(text.bytes, P "info{version=\"" VERSION
                             "\",host=\"host-a\",pool=\"docker\",namespace=\"\"} 1\n");
    /* Of one that is mounted elsewhere, mounted here, and mounted here but not heard of yet. */
    assert_has(text.bytes, P "volume_size_bytes{volume=\"a\"} 1073741824\n" P
                             "volume_size_bytes{volume=\"b\"} 7\n# HELP");
    assert_has(text.bytes, P "volume_used_bytes{volume=\"b\"} 4\n# HELP");
    assert_has(text.bytes,
               P "volume_mounted{volume=\"a\"} 0\n" P "volume_mounted{volume=\"b\"} 1\n" P
                 "volume_mounted{volume=\"c\"} 1\n# HELP");
    assert_has(text.bytes,
               P "volume_holder_info{volume=\"a\",host=\"host-b\",client=\"4123\"} 1\n# HELP");
    assert_has(text.bytes, P "volume_facts_age_seconds{volume=\"a\"} 10\n");
    assert_has(text.bytes, P "volume_stats_age_seconds{volume=\"b\"} 1\n# HELP");
    assert_has(text.bytes, P "volume_watch_age_seconds{volume=\"b\"} 2.5\n# HELP");
    assert_has(text.bytes, P "volume_fenced{volume=\"b\"} 1\n# HELP");
    assert_has(text.bytes, P "volume_fences_total{volume=\"b\"} 1\n");
    assert_has(text.bytes, P "volume_takeovers_total{volume=\"b\"} 2\n# HELP");
    assert_has(text.bytes, P "volume_read_bytes_total{volume=\"b\"} 42\n# HELP");
    assert_has(text.bytes, P "volume_request_errors_total{volume=\"b\"} 9\n# HELP");
    assert_has(text.bytes, P "cluster_reachable 0\n");
    assert_has(text.bytes, P "lines_left_out 0\n");
    assert_null(strstr(text.bytes, "pool_full"));
    assert_null(strstr(text.bytes, P "volume_created_timestamp_seconds{"));
    metrics_text_free(&text);
}

/* Whatever the limit: whole lines, and the last says how many are missing. */
static void test_everything_limited(void **state)
{
    const struct metrics_data data = sample();

    (void)state;
    for (size_t limit = 0; limit < 30000; limit += 997) {
        struct metrics_text text;

        metrics_text_init(&text, limit);
        metrics_print(&text, &data);
        assert_non_null(text.bytes);
        assert_true(text.len <= limit + METRICS_TAIL_MAX);
        assert_int_equal(text.bytes[text.len - 1], '\n');
        assert_has(text.bytes, P "lines_left_out ");
        metrics_text_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),    cmocka_unit_test(test_values_are_escaped),
        cmocka_unit_test(test_histogram),  cmocka_unit_test(test_limit),
        cmocka_unit_test(test_everything), cmocka_unit_test(test_everything_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
