/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/cache_table.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void decrefp(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json __attribute__((cleanup(decrefp)))

static void volume_free(struct cache_volume *volume)
{
    if (volume)
        free(volume->status);
    free(volume);
}

void cache_table_free(struct cache_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        volume_free(table->volumes[i]);
    free(table->volumes);
    *table = (struct cache_table){0};
}

/* Where NAME is, or where it belongs. */
static size_t position(const struct cache_table *table, const char *name, bool *ret_found)
{
    size_t low = 0;
    size_t high = table->count;

    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(table->volumes[middle]->name, name);

        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct cache_volume *cache_table_find(const struct cache_table *table, const char *name)
{
    bool found;
    size_t at = position(table, name, &found);

    return found ? table->volumes[at] : NULL;
}

static int insert(struct cache_table *table, size_t at, const char *name)
{
    struct cache_volume *volume;

    if (table->count >= CACHE_VOLUMES_MAX)
        return -ENOSPC;
    if (table->count == table->cap) {
        size_t cap = table->cap * 2 + 64;
        struct cache_volume **volumes =
            realloc(table->volumes, cap * sizeof(struct cache_volume *));

        if (!volumes)
            return -ENOMEM;
        table->volumes = volumes;
        table->cap = cap;
    }
    volume = calloc(1, sizeof(*volume));
    if (!volume)
        return -ENOMEM;
    snprintf(volume->name, sizeof(volume->name), "%s", name);
    memmove(&table->volumes[at + 1], &table->volumes[at],
            (table->count - at) * sizeof(struct cache_volume *));
    table->volumes[at] = volume;
    table->count++;
    return 0;
}

int cache_table_put(struct cache_table *table, const char *name, int64_t created,
                    const char *status, int64_t now, bool *ret_changed)
{
    struct cache_volume *volume;
    bool found;
    size_t at = position(table, name, &found);

    *ret_changed = !found;
    if (!found) {
        int r = insert(table, at, name);

        if (r < 0)
            return r;
    }
    volume = table->volumes[at];
    volume->touched = now;
    if (!status || strlen(status) > CACHE_STATUS_MAX ||
        (volume->created == created && volume->status && strcmp(volume->status, status) == 0))
        return 0;
    status = strdup(status);
    if (!status)
        return -ENOMEM;
    free(volume->status);
    volume->status = (char *)status;
    volume->created = created;
    *ret_changed = true;
    return 0;
}

bool cache_table_drop(struct cache_table *table, const char *name)
{
    bool found;
    size_t at = position(table, name, &found);

    if (!found)
        return false;
    volume_free(table->volumes[at]);
    table->count--;
    memmove(&table->volumes[at], &table->volumes[at + 1],
            (table->count - at) * sizeof(struct cache_volume *));
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool cache_table_take_names(struct cache_table *table, const char *const names[], size_t count,
                            int64_t started, int64_t now)
{
    bool changed = !table->filled;
    size_t kept = 0;

    for (size_t i = 0; i < table->count; i++) {
        struct cache_volume *volume = table->volumes[i];
        const char *name = volume->name;

        if (volume->touched > started ||
            bsearch(&name, names, count, sizeof(names[0]), compare_names)) {
            table->volumes[kept++] = volume;
        } else {
            volume_free(volume);
            changed = true;
        }
    }
    table->count = kept;
    for (size_t i = 0; i < count; i++) {
        bool added;

        if (!cache_table_find(table, names[i]) &&
            cache_table_put(table, names[i], 0, NULL, now, &added) == 0)
            changed = true;
    }
    table->filled = true;
    return changed;
}

int cache_table_encode(const struct cache_table *table, char **ret, size_t *ret_len)
{
    FILE *stream = open_memstream(ret, ret_len);
    int r;

    if (!stream)
        return -ENOMEM;
    /* Names are checked ones and a status is JSON already: nothing here needs escaping. */
    fprintf(stream, "{\"version\":1,\"filled\":%s,\"volumes\":[", table->filled ? "true" : "false");
    for (size_t i = 0; i < table->count; i++) {
        const struct cache_volume *volume = table->volumes[i];

        fprintf(stream, "%s\n{\"name\":\"%s\"", i > 0 ? "," : "", volume->name);
        if (volume->status)
            fprintf(stream, ",\"created\":%" PRId64 ",\"status\":%s", volume->created,
                    volume->status);
        fputc('}', stream);
    }
    fputs("\n]}\n", stream);
    r = ferror(stream) ? -ENOMEM : 0;
    if (fclose(stream) != 0)
        r = -ENOMEM;
    if (r < 0) {
        free(*ret);
        *ret = NULL;
    }
    return r;
}

static int decode_volume(const json_t *json, struct cache_table *table)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    const json_t *created = json_object_get(json, "created");
    const json_t *status = json_object_get(json, "status");
    cleanup_free char *text = NULL;
    bool changed;

    if (!name || volume_name_check(name, NULL) < 0)
        return 0;
    if (json_is_object(status) && json_is_integer(created))
        text = json_dumps(status, JSON_COMPACT);
    return cache_table_put(table, name, json_integer_value(created), text, 0, &changed);
}

int cache_table_decode(const char *text, size_t len, struct cache_table *ret, struct error *err)
{
    cleanup_json json_t *root = NULL;
    const json_t *volumes;
    json_error_t json_err;

    *ret = (struct cache_table){0};
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &json_err);
    if (!root)
        return error_set(err, -EBADMSG, "not JSON: %s", json_err.text);
    volumes = json_object_get(root, "volumes");
    if (json_integer_value(json_object_get(root, "version")) != 1 || !json_is_array(volumes))
        return error_set(err, -EBADMSG, "no list of volumes of version 1");
    for (size_t i = 0; i < json_array_size(volumes); i++) {
        if (decode_volume(json_array_get(volumes, i), ret) < 0) {
            cache_table_free(ret);
            return error_set(err, -ENOMEM, "too many volumes or out of memory");
        }
    }
    ret->filled = json_is_true(json_object_get(root, "filled"));
    return 0;
}
