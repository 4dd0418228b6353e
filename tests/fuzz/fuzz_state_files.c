/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/server/cache_table.h"
#include "plugin/server/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_ledger(const char *text, size_t len)
{
    cleanup_ledger_entry struct ledger_entry entry;
    cleanup_ledger_entry struct ledger_entry again;
    char *encoded;

    if (ledger_decode(text, len, &entry, NULL) < 0)
        return;
    assert(volume_name_check(entry.volume, NULL) == 0);
    assert(ledger_encode(&entry, &encoded) == 0);
    assert(ledger_decode(encoded, strlen(encoded), &again, NULL) == 0);
    assert(again.ref_count == entry.ref_count);
    free(encoded);
}

static void fuzz_cache(const char *text, size_t len)
{
    struct cache_table table;
    struct cache_table again;
    char *encoded;
    size_t encoded_len;

    if (cache_table_decode(text, len, &table, NULL) < 0)
        return;
    assert(cache_table_encode(&table, &encoded, &encoded_len) == 0);
    assert(cache_table_decode(encoded, encoded_len, &again, NULL) == 0);
    assert(again.count == table.count && again.filled == table.filled);
    free(encoded);
    cache_table_free(&table);
    cache_table_free(&again);
}

/* What can be read can be written and read again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_ledger((const char *)data, size);
    fuzz_cache((const char *)data, size);
    return 0;
}
