/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void decrefp(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json __attribute__((cleanup(decrefp)))

void ledger_entry_free(struct ledger_entry *entry)
{
    free(entry->refs);
    *entry = (struct ledger_entry){0};
}

static struct ledger_ref *find_ref(const struct ledger_entry *entry, const char *id)
{
    for (size_t i = 0; i < entry->ref_count; i++) {
        if (strcmp(entry->refs[i].id, id) == 0)
            return &entry->refs[i];
    }
    return NULL;
}

static int add_ref(struct ledger_entry *entry, const struct ledger_ref *ref)
{
    struct ledger_ref *refs = realloc(entry->refs, (entry->ref_count + 1) * sizeof(*entry->refs));

    if (!refs)
        return -ENOMEM;
    entry->refs = refs;
    refs[entry->ref_count++] = *ref;
    return 0;
}

int ledger_mount(struct ledger_entry *entry, const char *id, uint64_t epoch, struct error *err)
{
    struct ledger_ref *known = find_ref(entry, id);
    struct ledger_ref ref = {.count = 1, .epoch = epoch};

    if (known) {
        if (known->epoch == epoch && known->count == UINT32_MAX)
            return error_set(err, -EOVERFLOW, "mount ID '%s' is mounted too often", id);
        known->count = known->epoch == epoch ? known->count + 1 : 1;
        known->epoch = epoch;
        return 0;
    }
    if (entry->ref_count >= LEDGER_REFS_MAX)
        return error_set(err, -EMFILE,
                         "volume '%s' already has %d mounts on this host; stop some of its "
                         "containers",
                         entry->volume, LEDGER_REFS_MAX);
    if (strlen(id) >= sizeof(ref.id))
        return error_set(err, -EINVAL, "a mount ID of %zu bytes is too long", strlen(id));
    snprintf(ref.id, sizeof(ref.id), "%s", id);
    if (add_ref(entry, &ref) < 0)
        return error_errno(err, -ENOMEM, "cannot keep the mount of volume '%s'", entry->volume);
    return 0;
}

int ledger_unmount(struct ledger_entry *entry, const char *id)
{
    struct ledger_ref *ref = find_ref(entry, id);

    if (!ref)
        return -ENOENT;
    if (--ref->count == 0)
        *ref = entry->refs[--entry->ref_count];
    return 0;
}

size_t ledger_count_epoch(const struct ledger_entry *entry, uint64_t epoch)
{
    size_t count = 0;

    for (size_t i = 0; i < entry->ref_count; i++)
        count += entry->refs[i].epoch == epoch;
    return count;
}

int ledger_encode(const struct ledger_entry *entry, char **ret)
{
    cleanup_json json_t *root =
        json_pack("{s:i, s:s, s:s, s:s, s:s, s:[]}", "version", 1, "volume", entry->volume, "image",
                  entry->image_id, "device", entry->device, "token", entry->token, "refs");

    if (!root)
        return -ENOMEM;
    for (size_t i = 0; i < entry->ref_count; i++) {
        const struct ledger_ref *ref = &entry->refs[i];

        if (json_array_append_new(json_object_get(root, "refs"),
                                  json_pack("{s:s, s:I, s:I}", "id", ref->id, "count",
                                            (json_int_t)ref->count, "epoch",
                                            (json_int_t)ref->epoch)) < 0)
            return -ENOMEM;
    }
    *ret = json_dumps(root, JSON_COMPACT);
    return *ret ? 0 : -ENOMEM;
}

static int decode_text(const json_t *root, const char *key, char *ret, size_t size,
                       struct error *err)
{
    const char *text = json_string_value(json_object_get(root, key));

    if (!text || strlen(text) >= size)
        return error_set(err, -EBADMSG, "\"%s\" is missing, no string or too long", key);
    snprintf(ret, size, "%s", text);
    return 0;
}

static int decode_ref(const json_t *json, struct ledger_entry *entry, struct error *err)
{
    json_int_t count = json_integer_value(json_object_get(json, "count"));
    json_int_t epoch = json_integer_value(json_object_get(json, "epoch"));
    struct ledger_ref ref = {0};
    int r = decode_text(json, "id", ref.id, sizeof(ref.id), err);

    if (r < 0)
        return r;
    if (ref.id[0] == '\0' || find_ref(entry, ref.id))
        return error_set(err, -EBADMSG, "mount ID '%s' is empty or there twice", ref.id);
    if (count < 1 || count > UINT32_MAX || epoch < 0)
        return error_set(err, -EBADMSG, "mount ID '%s' has no sound count and epoch", ref.id);
    ref.count = (uint32_t)count;
    ref.epoch = (uint64_t)epoch;
    if (add_ref(entry, &ref) < 0)
        return error_errno(err, -ENOMEM, "cannot keep mount ID '%s'", ref.id);
    return 0;
}

static int decode_entry(const json_t *root, struct ledger_entry *entry, struct error *err)
{
    const json_t *refs = json_object_get(root, "refs");
    int r;

    r = decode_text(root, "volume", entry->volume, sizeof(entry->volume), err);
    if (r == 0)
        r = decode_text(root, "image", entry->image_id, sizeof(entry->image_id), err);
    if (r == 0)
        r = decode_text(root, "device", entry->device, sizeof(entry->device), err);
    if (r == 0)
        r = decode_text(root, "token", entry->token, sizeof(entry->token), err);
    if (r == 0 && volume_name_check(entry->volume, err) < 0)
        r = -EBADMSG;
    if (r < 0)
        return r;
    /* The id names a socket file and a process. */
    if (strspn(entry->image_id, "0123456789abcdefghijklmnopqrstuvwxyz") != strlen(entry->image_id))
        return error_set(err, -EBADMSG, "'%s' is no image id", entry->image_id);
    if (!json_is_array(refs) || json_array_size(refs) > LEDGER_REFS_MAX)
        return error_set(err, -EBADMSG, "\"refs\" is missing, no array or too long");
    for (size_t i = 0; r == 0 && i < json_array_size(refs); i++)
        r = decode_ref(json_array_get(refs, i), entry, err);
    return r;
}

int ledger_decode(const char *text, size_t len, struct ledger_entry *ret, struct error *err)
{
    cleanup_json json_t *root = NULL;
    json_error_t json_err;
    int r;

    *ret = (struct ledger_entry){0};
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &json_err);
    if (!root)
        return error_set(err, -EBADMSG, "not JSON: %s", json_err.text);
    r = decode_entry(root, ret, err);
    if (r < 0)
        ledger_entry_free(ret);
    return r;
}
