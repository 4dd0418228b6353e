/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/cache_table.h"
#include "plugin/server/ledger.h"
#include "tests/fuzz/fuzz.h"

#define LEDGER                                                                                     \
    "{\"volume\":\"db\",\"image\":\"86e0\",\"device\":\"/dev/loop3\",\"token\":\"0f\","            \
    "\"refs\":[{\"id\":\"aa\",\"count\":2,\"epoch\":7},{\"id\":\"b\",\"count\":1,\"epoch\":7}]}"
#define CACHE                                                                                      \
    "{\"version\":1,\"filled\":true,\"volumes\":[{\"name\":\"b\"},{\"name\":\"a\",\"created\":1,"  \
    "\"status\":{\"fs\":\"xfs\",\"x\":[1]}}]}"

/* What can be read can be written, and then reads the same. */
static void ledger(const char *text, size_t len)
{
    cleanup_ledger_entry struct ledger_entry entry = {0};
    cleanup_ledger_entry struct ledger_entry again = {0};
    struct error err = {0};
    char *encoded;

    if (ledger_decode(text, len, &entry, &err) < 0) {
        CHECK(err.text[0] != '\0' && !entry.refs && entry.ref_count == 0);
        return;
    }
    CHECK(volume_name_check(entry.volume, NULL) == 0);
    CHECK(ledger_encode(&entry, &encoded) == 0);
    CHECK(ledger_decode(encoded, strlen(encoded), &again, NULL) == 0);
    CHECK(again.ref_count == entry.ref_count);
    for (size_t i = 0; i < entry.ref_count; i++) {
        CHECK(strcmp(again.refs[i].id, entry.refs[i].id) == 0);
        CHECK(again.refs[i].count == entry.refs[i].count && entry.refs[i].count > 0);
        CHECK(again.refs[i].epoch == entry.refs[i].epoch);
    }
    free(encoded);
}

static void cache(const char *text, size_t len)
{
    struct cache_table table;
    struct cache_table again;
    char *encoded;
    size_t encoded_len;

    if (cache_table_decode(text, len, &table, NULL) < 0) {
        CHECK(table.count == 0 && !table.volumes);
        return;
    }
    CHECK(cache_table_encode(&table, &encoded, &encoded_len) == 0);
    CHECK(cache_table_decode(encoded, encoded_len, &again, NULL) == 0);
    CHECK(again.count == table.count && again.filled == table.filled);
    for (size_t i = 0; i < table.count; i++) {
        CHECK(i == 0 || strcmp(table.volumes[i - 1]->name, table.volumes[i]->name) < 0);
        CHECK(strcmp(again.volumes[i]->name, table.volumes[i]->name) == 0);
    }
    free(encoded);
    cache_table_free(&table);
    cache_table_free(&again);
}

static void edited(const char *sample, void (*decode)(const char *text, size_t len),
                   const uint8_t *data, size_t size)
{
    size_t len;
    char *text = (char *)fuzz_edit(sample, strlen(sample), data, size, &len);

    decode(text, len);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    edited(LEDGER, ledger, data, size);
    edited(CACHE, cache, data, size);
    ledger((const char *)data, size);
    cache((const char *)data, size);
    return 0;
}
