/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/create_line.h"

static struct volume_facts new_facts(void)
{
    return (struct volume_facts){
        .name = "db",
        .size = UINT64_C(10) << 30,
        .object_size = UINT64_C(4) << 20,
        .formatted = true,
        .fs = FILESYSTEM_EXT4,
        .uid = "0",
        .gid = "0",
        .mode = "0755",
    };
}

static void expect(const struct volume_facts *facts, const char *line)
{
    struct create_line words;
    char *text;

    assert_int_equal(create_line_make("rados", facts, &words), 0);
    text = create_line_text(&words);
    assert_string_equal(text, line);
    free(text);
    create_line_free(&words);
}

static void test_defaults_are_left_out(void **state)
{
    struct volume_facts facts = new_facts();

    (void)state;
    expect(&facts, "docker volume create -d rados -o size=10G -o fs=ext4 db");
}

static void test_all_options(void **state)
{
    struct rbd_pair labels[] = {{.key = "env", .value = "prod"}, {.key = "tier", .value = "1"}};
    struct volume_facts facts = new_facts();

    (void)state;
    facts.fs = FILESYSTEM_XFS;
    facts.object_size = UINT64_C(1) << 20;
    facts.protect = true;
    facts.labels = (struct rbd_pairs){.items = labels, .count = 2};
    strcpy(facts.mount_options, "noatime,logbsize=64k");
    strcpy(facts.uid, "999");
    strcpy(facts.gid, "998");
    strcpy(facts.mode, "1777");
    strcpy(facts.owner, "shop-team");
    strcpy(facts.data_pool, "docker-data");
    expect(&facts, "docker volume create -d rados -o size=10G -o fs=xfs -o object-size=1M "
                   "-o mount-options=noatime,logbsize=64k -o uid=999 -o gid=998 -o mode=1777 "
                   "-o owner=shop-team -o data-pool=docker-data -o protect=true "
                   "-o label.env=prod -o label.tier=1 db");
}

/* Of one that shows a snapshot, what is in it cannot be asked for. */
static void test_read_only(void **state)
{
    struct volume_facts facts = new_facts();

    (void)state;
    facts.read_only = true;
    strcpy(facts.from, "db@monday");
    strcpy(facts.uid, "999");
    strcpy(facts.mode, "1777");
    expect(&facts, "docker volume create -d rados -o size=10G -o fs=ext4 -o from=db@monday "
                   "-o access=ro db");
}

/* Of an image of another tool nothing can be asked for but that it be there. */
static void test_not_ours(void **state)
{
    struct volume_facts facts = {.name = "theirs", .size = 12345, .object_size = 8192};

    (void)state;
    expect(&facts, "docker volume create -d rados theirs");
}

static void test_a_size_that_cannot_be_asked_for(void **state)
{
    struct volume_facts facts = new_facts();

    (void)state;
    facts.size = 4097;
    expect(&facts, "docker volume create -d rados -o fs=ext4 db");
}

static void test_what_is_no_text_is_left_out(void **state)
{
    struct rbd_pair labels[] = {{.key = "a\nb", .value = "1"}, {.key = "c", .value = "\033[2J"}};
    struct volume_facts facts = new_facts();

    (void)state;
    strcpy(facts.owner, "\xff");
    facts.labels = (struct rbd_pairs){.items = labels, .count = 2};
    expect(&facts, "docker volume create -d rados -o size=10G -o fs=ext4 db");
}

static void test_more_labels_than_fit(void **state)
{
    struct rbd_pair *labels = calloc(CREATE_WORDS_MAX, sizeof(*labels));
    struct volume_facts facts = new_facts();
    struct create_line line;

    (void)state;
    assert_non_null(labels);
    for (size_t i = 0; i < CREATE_WORDS_MAX; i++)
        labels[i] = (struct rbd_pair){.key = (char *)"k", .value = (char *)"v"};
    facts.labels = (struct rbd_pairs){.items = labels, .count = CREATE_WORDS_MAX};
    assert_int_equal(create_line_make("rados", &facts, &line), 0);
    assert_true(line.count < CREATE_WORDS_MAX);
    assert_null(line.words[line.count]);
    assert_string_equal(line.words[line.count - 1], "db");
    create_line_free(&line);
    free(labels);
}

static const char *const nasty[] = {
    "it's",    "a b", "$HOME", "`id`", "$(id)", "\\",      "\"",
    "';true'", "*",   "~",     "#",    "!",     "a&b|c;d", "sh\xc3\xb6p",
    "'",       "''",  "{a,b}", "-n",   "[a]",   "<in>out", "\\'",
};

/* A shell takes the line apart into the very words it was made of. */
static void test_a_shell_reads_it_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(nasty) / sizeof(nasty[0]); i++) {
        struct create_line line = {.words = {(char *)"printf", (char *)"%s\\n", (char *)nasty[i]},
                                   .count = 3};
        char *text = create_line_text(&line);
        char read_back[256] = "";
        FILE *shell = popen(text, "r");

        assert_non_null(shell);
        assert_non_null(fgets(read_back, sizeof(read_back), shell));
        assert_int_equal(pclose(shell), 0);
        read_back[strcspn(read_back, "\n")] = '\0';
        assert_string_equal(read_back, nasty[i]);
        free(text);
    }
}

static void test_an_empty_word_stays_one(void **state)
{
    struct create_line line = {.words = {(char *)"a", (char *)"", (char *)"b"}, .count = 3};
    char *text = create_line_text(&line);

    (void)state;
    assert_string_equal(text, "a '' b");
    free(text);
}

static void test_driver(void **state)
{
    static const struct {
        const char *socket;
        const char *driver;
    } cases[] = {
        {"/run/docker/plugins/rados.sock", "rados"},
        {"/run/docker/plugins/rados-2.sock", "rados-2"},
        {"/somewhere/plain", "plain"},
        {"relative.sock", "relative"},
        {"/x/.sock", ".sock"},
    };
    char driver[DRIVER_NAME_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        create_line_driver(cases[i].socket, driver);
        assert_string_equal(driver, cases[i].driver);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_left_out),
        cmocka_unit_test(test_all_options),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_a_size_that_cannot_be_asked_for),
        cmocka_unit_test(test_what_is_no_text_is_left_out),
        cmocka_unit_test(test_more_labels_than_fit),
        cmocka_unit_test(test_a_shell_reads_it_back),
        cmocka_unit_test(test_an_empty_word_stays_one),
        cmocka_unit_test(test_driver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
