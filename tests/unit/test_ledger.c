/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "plugin/server/ledger.h"

#define ENTRY_TEXT                                                                                 \
    "{\"version\":1,\"volume\":\"db\",\"image\":\"86e0c1a0d3f2\",\"device\":\"/dev/loop3\","       \
    "\"token\":\"00ff\",\"refs\":[{\"id\":\"aa\",\"count\":2,\"epoch\":7}]}"

static struct ledger_entry sample(void)
{
    struct ledger_entry entry = {.volume = "db", .image_id = "86e0c1a0d3f2"};

    strcpy(entry.device, "/dev/loop3");
    strcpy(entry.token, "00ff");
    return entry;
}

static void mount(struct ledger_entry *entry, const char *id, uint64_t epoch)
{
    struct error err = {0};

    if (ledger_mount(entry, id, epoch, &err) != 0)
        fail_msg("%s", err.text);
}

static void counts_within_an_epoch(void **state)
{
    cleanup_ledger_entry struct ledger_entry entry = sample();

    (void)state;
    mount(&entry, "aa", 7);
    mount(&entry, "aa", 7);
    mount(&entry, "bb", 7);
    assert_int_equal(entry.ref_count, 2);
    assert_int_equal(ledger_unmount(&entry, "aa"), 0);
    assert_int_equal(entry.ref_count, 2);
    assert_int_equal(ledger_unmount(&entry, "aa"), 0);
    assert_int_equal(entry.ref_count, 1);
    assert_int_equal(ledger_unmount(&entry, "aa"), -ENOENT);
    assert_int_equal(ledger_unmount(&entry, "bb"), 0);
    assert_int_equal(entry.ref_count, 0);
}

static void adopts_from_a_former_epoch(void **state)
{
    cleanup_ledger_entry struct ledger_entry entry = sample();

    (void)state;
    mount(&entry, "aa", 7);
    mount(&entry, "aa", 7);
    mount(&entry, "aa", 8);
    assert_int_equal(entry.refs[0].count, 1);
    assert_int_equal(entry.refs[0].epoch, 8);
    assert_int_equal(ledger_unmount(&entry, "aa"), 0);
    assert_int_equal(entry.ref_count, 0);
}

static void old_id_is_unmounted_after_a_live_restore(void **state)
{
    cleanup_ledger_entry struct ledger_entry entry = sample();

    (void)state;
    mount(&entry, "aa", 7);
    mount(&entry, "bb", 8);
    assert_int_equal(ledger_count_epoch(&entry, 8), 1);
    assert_int_equal(ledger_unmount(&entry, "aa"), 0);
    assert_int_equal(entry.ref_count, 1);
    assert_string_equal(entry.refs[0].id, "bb");
}

static void number_of_ids_is_limited(void **state)
{
    cleanup_ledger_entry struct ledger_entry entry = sample();
    struct error err = {0};
    char id[16];

    (void)state;
    for (unsigned i = 0; i < LEDGER_REFS_MAX; i++) {
        snprintf(id, sizeof(id), "%u", i);
        mount(&entry, id, 1);
    }
    assert_int_equal(ledger_mount(&entry, "one more", 1, &err), -EMFILE);
    assert_non_null(strstr(err.text, "'db'"));
    mount(&entry, "0", 1);
    assert_int_equal(entry.ref_count, LEDGER_REFS_MAX);
}

static void count_does_not_wrap(void **state)
{
    cleanup_ledger_entry struct ledger_entry entry = sample();
    struct error err = {0};

    (void)state;
    mount(&entry, "aa", 1);
    entry.refs[0].count = UINT32_MAX;
    assert_int_equal(ledger_mount(&entry, "aa", 1, &err), -EOVERFLOW);
    assert_int_equal(entry.refs[0].count, UINT32_MAX);
}

static void encodes(void **state)
{
    cleanup_ledger_entry struct ledger_entry entry = sample();
    cleanup_free char *text = NULL;

    (void)state;
    mount(&entry, "aa", 7);
    mount(&entry, "aa", 7);
    assert_int_equal(ledger_encode(&entry, &text), 0);
    assert_string_equal(text, ENTRY_TEXT);
}

static void decodes(void **state)
{
    cleanup_ledger_entry struct ledger_entry entry;
    struct error err = {0};

    (void)state;
    assert_int_equal(ledger_decode(ENTRY_TEXT, strlen(ENTRY_TEXT), &entry, &err), 0);
    assert_string_equal(entry.volume, "db");
    assert_string_equal(entry.image_id, "86e0c1a0d3f2");
    assert_string_equal(entry.device, "/dev/loop3");
    assert_string_equal(entry.token, "00ff");
    assert_int_equal(entry.ref_count, 1);
    assert_string_equal(entry.refs[0].id, "aa");
    assert_int_equal(entry.refs[0].count, 2);
    assert_int_equal(entry.refs[0].epoch, 7);
}

static void refuse(const char *text)
{
    struct ledger_entry entry;
    struct error err = {0};

    if (ledger_decode(text, strlen(text), &entry, &err) != -EBADMSG)
        fail_msg("taken: %s", text);
    assert_true(err.text[0] != '\0');
    assert_null(entry.refs);
}

#define HEAD    "{\"volume\":\"db\",\"image\":\"1a\",\"device\":\"\",\"token\":\"\""
#define REFS(x) HEAD ",\"refs\":[" x "]}"

static void refuses_broken_entries(void **state)
{
    (void)state;
    refuse("");
    refuse("[]");
    refuse("{}");
    refuse(HEAD "}");
    refuse(HEAD ",\"refs\":{}}");
    refuse(REFS("7"));
    refuse(REFS("{\"id\":\"\",\"count\":1,\"epoch\":1}"));
    refuse(REFS("{\"id\":\"a\",\"count\":0,\"epoch\":1}"));
    refuse(REFS("{\"id\":\"a\",\"count\":4294967296,\"epoch\":1}"));
    refuse(REFS("{\"id\":\"a\",\"count\":1,\"epoch\":-1}"));
    refuse(REFS("{\"id\":\"a\",\"count\":1,\"epoch\":1},{\"id\":\"a\",\"count\":1,\"epoch\":1}"));
    refuse("{\"volume\":\"../db\",\"image\":\"1a\",\"device\":\"\",\"token\":\"\",\"refs\":[]}");
    refuse("{\"volume\":\"db\",\"image\":\"../1a\",\"device\":\"\",\"token\":\"\",\"refs\":[]}");
    refuse("{\"volume\":\"db\",\"image\":\"1a\",\"device\":7,\"token\":\"\",\"refs\":[]}");
}

static void keep(void *arg, struct ledger_entry *entry)
{
    struct ledger_entry *kept = arg;

    assert_null(kept->refs);
    *kept = *entry;
    *entry = (struct ledger_entry){0};
}

static void count_bad(void *arg, const struct error *err)
{
    (void)arg;
    assert_non_null(strstr(err->text, "other.json"));
}

static void files_round_trip(void **state)
{
    cleanup_ledger_entry struct ledger_entry entry = sample();
    cleanup_ledger_entry struct ledger_entry found = {0};
    char dir[] = "/tmp/test-ledger-XXXXXX";
    char path[128];
    char moved[128];
    struct error err = {0};
    uint64_t epoch = 99;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/ledger", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    mount(&entry, "aa", 7);
    assert_int_equal(ledger_save(dir, &entry, &err), 0);
    assert_int_equal(ledger_load(dir, keep, count_bad, &found, &err), 0);
    assert_string_equal(found.volume, "db");
    assert_int_equal(found.ref_count, 1);

    /* A file under another volume's name is reported and not taken. */
    ledger_entry_free(&found);
    snprintf(path, sizeof(path), "%s/ledger/db.json", dir);
    snprintf(moved, sizeof(moved), "%s/ledger/other.json", dir);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(ledger_load(dir, keep, count_bad, &found, &err), 0);
    assert_null(found.refs);

    assert_int_equal(ledger_remove(dir, "other", &err), 0);
    assert_int_equal(ledger_remove(dir, "other", &err), 0);
    assert_int_equal(ledger_epoch_load(dir, &epoch, &err), 0);
    assert_int_equal(epoch, 0);
    assert_int_equal(ledger_epoch_save(dir, 41, &err), 0);
    assert_int_equal(ledger_epoch_load(dir, &epoch, &err), 0);
    assert_int_equal(epoch, 41);

    snprintf(path, sizeof(path), "%s/epoch", dir);
    assert_int_equal(remove(path), 0);
    snprintf(path, sizeof(path), "%s/ledger", dir);
    assert_int_equal(remove(path), 0);
    assert_int_equal(remove(dir), 0);
}

static void the_server_token_stays(void **state)
{
    char dir[] = "/tmp/ledger-test-XXXXXX";
    char path[64];
    char first[LEDGER_TOKEN_MAX];
    char second[LEDGER_TOKEN_MAX];
    struct error err = {0};
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(ledger_server_token(dir, first, &err), 0);
    assert_int_equal(strlen(first), LEDGER_TOKEN_MAX - 1);
    assert_int_equal(ledger_server_token(dir, second, &err), 0);
    assert_string_equal(first, second);

    snprintf(path, sizeof(path), "%s/token", dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("0f token=", file); /* what is no token is made new */
    fclose(file);
    assert_int_equal(ledger_server_token(dir, second, &err), 0);
    assert_int_equal(strlen(second), LEDGER_TOKEN_MAX - 1);
    assert_string_not_equal(first, second);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_within_an_epoch),
        cmocka_unit_test(the_server_token_stays),
        cmocka_unit_test(adopts_from_a_former_epoch),
        cmocka_unit_test(old_id_is_unmounted_after_a_live_restore),
        cmocka_unit_test(number_of_ids_is_limited),
        cmocka_unit_test(count_does_not_wrap),
        cmocka_unit_test(encodes),
        cmocka_unit_test(decodes),
        cmocka_unit_test(refuses_broken_entries),
        cmocka_unit_test(files_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
