/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/rollback.h"
#include "image/takeover.h"

static int pairs_add(struct rbd_pairs *pairs, const char *key, const char *value)
{
    struct rbd_pair *items = reallocarray(pairs->items, pairs->count + 1, sizeof(*items));

    if (!items)
        return -ENOMEM;
    pairs->items = items;
    items[pairs->count] =
        (struct rbd_pair){.key = strdup(key), .value = strdup(value), .value_len = strlen(value)};
    pairs->count++;
    return items[pairs->count - 1].key && items[pairs->count - 1].value ? 0 : -ENOMEM;
}

static int add_labels(struct rbd_pairs *pairs, const struct rbd_pairs *labels)
{
    char key[256];
    int r = 0;

    for (size_t i = 0; i < labels->count && r == 0; i++) {
        snprintf(key, sizeof(key), META_LABEL "%s", labels->items[i].key);
        r = pairs_add(pairs, key, labels->items[i].value);
    }
    return r;
}

struct fact {
    const char *key;
    const char *value; /* "": none */
};

static int make_pairs(const struct fact *facts, size_t count, const struct rbd_pairs *labels,
                      struct rbd_pairs *ret)
{
    struct rbd_pairs pairs = {0};
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++) {
        if (facts[i].value[0])
            r = pairs_add(&pairs, facts[i].key, facts[i].value);
    }
    if (r == 0)
        r = add_labels(&pairs, labels);
    if (r < 0) {
        rbd_pairs_free(&pairs);
        return r;
    }
    *ret = pairs;
    return 0;
}

int metadata_from_options(const struct volume_options *options, struct rbd_pairs *ret)
{
    char uid[16];
    char gid[16];
    char mode[16];
    const struct fact facts[] = {
        {META_FS, filesystem_name(options->fs)},
        {META_UID, uid},
        {META_GID, gid},
        {META_MODE, mode},
        {META_MOUNT_OPTIONS, options->mount_options},
        {META_OWNER, options->owner},
        {META_DATA_POOL, options->data_pool},
        {META_PROTECT, options->protect ? "true" : ""},
    };

    snprintf(uid, sizeof(uid), "%u", (unsigned)options->uid);
    snprintf(gid, sizeof(gid), "%u", (unsigned)options->gid);
    snprintf(mode, sizeof(mode), "%04o", (unsigned)options->mode);
    return make_pairs(facts, sizeof(facts) / sizeof(facts[0]), &options->labels, ret);
}

int metadata_for_clone(const struct volume_options *options, const struct volume_facts *source,
                       struct rbd_pairs *ret)
{
    const struct fact facts[] = {
        {META_FS, source->formatted ? filesystem_name(source->fs) : ""},
        {META_UID, source->uid},
        {META_GID, source->gid},
        {META_MODE, source->mode},
        {META_MOUNT_OPTIONS, options->mount_options},
        {META_OWNER, options->owner},
        {META_DATA_POOL, options->data_pool},
        {META_PROTECT, options->protect ? "true" : ""},
        /* At least this, so that the sweep knows the image as ours (lifecycle.h). */
        {META_FROM, options->from[0] ? options->from : source->name},
        {META_ACCESS, options->read_only ? volume_access_name(true) : ""},
    };

    return make_pairs(facts, sizeof(facts) / sizeof(facts[0]), &options->labels, ret);
}

static void copy_fact(const struct image_header *header, const char *key, char *text, size_t size)
{
    const char *value = image_header_metadata(header, key);

    text[0] = '\0';
    if (value && strlen(value) < size)
        memcpy(text, value, strlen(value) + 1);
}

static uint64_t used_fact(const struct image_header *header)
{
    const char *value = image_header_metadata(header, META_USED);
    char *end;
    unsigned long long used;

    if (!value || *value < '0' || *value > '9')
        return UINT64_MAX;
    errno = 0;
    used = strtoull(value, &end, 10);
    return errno == 0 && *end == '\0' ? used : UINT64_MAX;
}

/* The metadata whose keys begin with PREFIX, without it. */
static int copy_pairs(const struct image_header *header, const char *prefix,
                      struct rbd_pairs *pairs)
{
    int r = 0;

    for (size_t i = 0; i < header->metadata.count && r == 0; i++) {
        const struct rbd_pair *pair = &header->metadata.items[i];

        if (strncmp(pair->key, prefix, strlen(prefix)) == 0)
            r = pairs_add(pairs, pair->key + strlen(prefix), pair->value);
    }
    return r;
}

int metadata_to_facts(const struct image_header *header, const char *name, struct volume_facts *ret)
{
    struct volume_facts facts = {
        .size = header->size,
        .used = used_fact(header),
        .object_size = UINT64_C(1) << header->order,
        .features = header->features,
        .snapshot_count = (uint32_t)header->snapc.count,
        .created = header->created,
        .lock = header->lock,
    };
    char text[OWNER_MAX];
    struct error why;
    int r;

    snprintf(facts.name, sizeof(facts.name), "%s", name);
    snprintf(facts.id, sizeof(facts.id), "%s", header->id);
    copy_fact(header, META_FS, text, sizeof(text));
    facts.formatted = filesystem_parse(text, &facts.fs) == 0;
    copy_fact(header, META_MOUNT_OPTIONS, facts.mount_options, sizeof(facts.mount_options));
    copy_fact(header, META_OWNER, facts.owner, sizeof(facts.owner));
    copy_fact(header, META_DATA_POOL, facts.data_pool, sizeof(facts.data_pool));
    copy_fact(header, META_FROM, facts.from, sizeof(facts.from));
    copy_fact(header, META_UID, facts.uid, sizeof(facts.uid));
    copy_fact(header, META_GID, facts.gid, sizeof(facts.gid));
    copy_fact(header, META_MODE, facts.mode, sizeof(facts.mode));
    copy_fact(header, META_PROTECT, text, sizeof(text));
    facts.protect = strcmp(text, "true") == 0;
    copy_fact(header, META_ACCESS, text, sizeof(text));
    facts.read_only = strcmp(text, volume_access_name(true)) == 0;
    if (image_check_writable(header, &why) < 0 || rollback_check(header, &why) < 0)
        snprintf(facts.unwritable, sizeof(facts.unwritable), "%.255s", why.text);
    r = copy_pairs(header, META_LABEL, &facts.labels);
    if (r == 0)
        r = copy_pairs(header, TAKEOVER_KEY, &facts.takeovers);
    if (r == 0)
        r = copy_pairs(header, ROLLBACK_RECORD_KEY, &facts.restores);
    if (r < 0) {
        volume_facts_free(&facts);
        return r;
    }
    *ret = facts;
    return 0;
}
