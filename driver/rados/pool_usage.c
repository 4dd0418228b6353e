/* SPDX-License-Identifier: Apache-2.0 */
#include "rados/pool_usage.h"

#include <errno.h>
#include <jansson.h>
#include <rados/librados.h>
#include <string.h>

#define ANSWER_MAX ((size_t)4 * 1024 * 1024) /* bytes: thousands of pools */
#define COPIES_MAX 255                       /* what a pool's size can be set to */

static void cleanup_jsonp(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json __attribute__((cleanup(cleanup_jsonp)))

/* The element of ARRAY whose member KEY is POOL. Borrowed; NULL when there is none. */
static const json_t *find_pool(const json_t *array, const char *key, const char *pool)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        const char *name = json_string_value(json_object_get(item, key));

        if (name && strcmp(name, pool) == 0)
            return item;
    }
    return NULL;
}

/* A member that is a count of bytes. */
static int get_bytes(const json_t *object, const char *key, uint64_t *ret)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return -EBADMSG;
    *ret = (uint64_t)json_integer_value(value);
    return 0;
}

/* "hashpspool,full,full_quota": with a quota that is used up there are both. */
static bool has_flag(const char *flags, const char *flag)
{
    const size_t len = strlen(flag);

    for (const char *at = flags; (at = strstr(at, flag)); at += len) {
        if ((at == flags || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

int pool_check_space_decode(const char *pool, const char *pools, size_t pools_len)
{
    cleanup_json json_t *details = json_loadb(pools, pools_len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *detail = find_pool(details, "pool_name", pool);
    const char *flags = json_string_value(json_object_get(detail, "flags_names"));

    if (!json_is_array(details) || (detail && !flags))
        return -EBADMSG;
    if (!detail)
        return -ENOENT;
    if (has_flag(flags, "full_quota"))
        return -EDQUOT;
    return has_flag(flags, "full") ? -ENOSPC : 0;
}

int pool_copies_decode(const char *pool, const char *pools, size_t pools_len, unsigned *ret)
{
    cleanup_json json_t *details = json_loadb(pools, pools_len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *detail = find_pool(details, "pool_name", pool);
    const json_t *size = json_object_get(detail, "size");

    if (!json_is_array(details) || (detail && !json_is_integer(size)))
        return -EBADMSG;
    if (!detail)
        return -ENOENT;
    if (json_integer_value(size) < 1 || json_integer_value(size) > COPIES_MAX)
        return -EBADMSG;
    *ret = (unsigned)json_integer_value(size);
    return 0;
}

int pool_usage_decode(const char *pool, const char *df, size_t df_len, const char *pools,
                      size_t pools_len, struct pool_usage *ret)
{
    cleanup_json json_t *usage = json_loadb(df, df_len, JSON_REJECT_DUPLICATES, NULL);
    cleanup_json json_t *details = json_loadb(pools, pools_len, JSON_REJECT_DUPLICATES, NULL);
    struct pool_usage result = {0};
    const json_t *stats;
    const json_t *detail;
    const char *flags;

    if (!json_is_array(json_object_get(usage, "pools")) || !json_is_array(details))
        return -EBADMSG;
    stats = find_pool(json_object_get(usage, "pools"), "name", pool);
    detail = find_pool(details, "pool_name", pool);
    if (!stats || !detail)
        return -ENOENT;
    stats = json_object_get(stats, "stats");
    flags = json_string_value(json_object_get(detail, "flags_names"));
    if (!flags || get_bytes(stats, "stored", &result.stored) < 0 ||
        get_bytes(stats, "max_avail", &result.available) < 0)
        return -EBADMSG;
    result.full = has_flag(flags, "full");
    *ret = result;
    return 0;
}

struct answer {
    char *bytes;
    size_t len;
};

static void cleanup_answerp(struct answer *answer)
{
    rados_buffer_free(answer->bytes);
}

static int ask(struct cluster *cluster, const char *command, struct answer *ret)
{
    int r = rados_mon_command(cluster_rados(cluster), &command, 1, NULL, 0, &ret->bytes, &ret->len,
                              NULL, NULL);

    return r == 0 && ret->len > ANSWER_MAX ? -EMSGSIZE : r;
}

static const char ask_pools[] =
    "{\"prefix\": \"osd pool ls\", \"detail\": \"detail\", \"format\": \"json\"}";

int pool_check_space(struct cluster *cluster, const char *pool, struct error *err)
{
    __attribute__((cleanup(cleanup_answerp))) struct answer pools = {0};
    int r = ask(cluster, ask_pools, &pools);

    if (r == 0)
        r = pool_check_space_decode(pool, pools.bytes, pools.len);
    return r < 0 ? error_errno(err, r, "pool '%s'", pool) : 0;
}

int pool_copies_read(struct cluster *cluster, const char *pool, unsigned *ret, struct error *err)
{
    __attribute__((cleanup(cleanup_answerp))) struct answer pools = {0};
    int r = ask(cluster, ask_pools, &pools);

    if (r == 0)
        r = pool_copies_decode(pool, pools.bytes, pools.len, ret);
    return r < 0
               ? error_errno(err, r, "the monitors do not say how many copies pool '%s' has", pool)
               : 0;
}

int pool_usage_read(struct cluster *cluster, struct pool_usage *ret, struct error *err)
{
    __attribute__((cleanup(cleanup_answerp))) struct answer df = {0};
    __attribute__((cleanup(cleanup_answerp))) struct answer pools = {0};
    const char *pool = cluster_pool(cluster);
    int r = ask(cluster, "{\"prefix\": \"df\", \"format\": \"json\"}", &df);

    if (r == 0)
        r = ask(cluster, ask_pools, &pools);
    if (r == 0)
        r = pool_usage_decode(pool, df.bytes, df.len, pools.bytes, pools.len, ret);
    return r < 0 ? error_errno(err, r, "the monitors do not say how full pool '%s' is", pool) : 0;
}
