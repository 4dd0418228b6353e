/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <time.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/holder.h"
#include "cli/table.h"
#include "image/takeover.h"

/* radosvol inspect VOLUME */

static json_t *feature_list(uint64_t features)
{
    static const struct {
        uint64_t bit;
        const char *name; /* as `rbd info` has it */
    } names[] = {
        {RBD_FEATURE_LAYERING, "layering"},
        {RBD_FEATURE_STRIPINGV2, "striping"},
        {RBD_FEATURE_EXCLUSIVE_LOCK, "exclusive-lock"},
        {RBD_FEATURE_OBJECT_MAP, "object-map"},
        {RBD_FEATURE_FAST_DIFF, "fast-diff"},
        {RBD_FEATURE_DEEP_FLATTEN, "deep-flatten"},
        {RBD_FEATURE_JOURNALING, "journaling"},
        {RBD_FEATURE_DATA_POOL, "data-pool"},
        {RBD_FEATURE_OPERATIONS, "operations"},
        {RBD_FEATURE_MIGRATING, "migrating"},
        {RBD_FEATURE_NON_PRIMARY, "non-primary"},
        {RBD_FEATURE_DIRTY_CACHE, "dirty-cache"},
    };
    json_t *list = json_array();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (features & names[i].bit)
            json_array_append_new(list, json_string(names[i].name));
    }
    return list;
}

static json_t *object_of(const struct rbd_pairs *pairs)
{
    json_t *object = json_object();

    for (size_t i = 0; i < pairs->count; i++)
        object_add_text(object, pairs->items[i].key, pairs->items[i].value);
    return object;
}

static void add_created(json_t *object, const struct timespec *created)
{
    char text[32];
    struct tm tm;

    if (created->tv_sec > 0 && gmtime_r(&created->tv_sec, &tm) &&
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        object_add_text(object, "created", text);
}

/* LIFE: of the holder, if there is one. FULL: why writes wait, or "". */
static json_t *facts_json(const struct volume_facts *facts, enum holder_life life,
                          const struct image_readers *readers, const char *full)
{
    json_t *object = json_object();

    object_add_text(object, "name", facts->name);
    object_add_text(object, "image", facts->id);
    object_add(object, "size", json_integer((json_int_t)facts->size));
    if (facts->used != UINT64_MAX)
        object_add(object, "used", json_integer((json_int_t)facts->used));
    if (facts->formatted)
        object_add_text(object, "fs", filesystem_name(facts->fs));
    object_add_text(object, "owner", facts->owner);
    add_created(object, &facts->created);
    if (facts->lock.count > 0)
        object_add(object, "holder", holder_json(&facts->lock, life));
    if (facts->read_only)
        object_add(object, "readers", holder_readers_json(readers));
    if (facts->unwritable[0] && !facts->read_only)
        full = facts->unwritable;
    object_add_text(object, "health", full[0] ? full : "ok");
    object_add(object, "snapshots", json_integer(facts->snapshot_count));
    object_add_text(object, "mount-options", facts->mount_options);
    object_add_text(object, "uid", facts->uid);
    object_add_text(object, "gid", facts->gid);
    object_add_text(object, "mode", facts->mode);
    object_add(object, "protect", json_boolean(facts->protect));
    object_add_text(object, "from", facts->from);
    object_add_text(object, "access", volume_access_name(facts->read_only));
    object_add_text(object, "data-pool", facts->data_pool);
    object_add(object, "object-size", json_integer((json_int_t)facts->object_size));
    object_add(object, "features", feature_list(facts->features));
    object_add(object, "labels", object_of(&facts->labels));
    object_add(object, "takeovers", object_of(&facts->takeovers));
    object_add(object, "restores", object_of(&facts->restores));
    return object;
}

int command_inspect(struct cli *cli, int argc, char *argv[])
{
    cleanup_volume_facts struct volume_facts facts = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    const char *name = cli_parse_word(cli, "VOLUME", "Show everything that is known of a volume.",
                                      cli_common, argc, argv);
    enum holder_life life = HOLDER_FOREIGN;
    struct image_readers readers = {0};
    struct error full = {0};
    struct error err;

    if (cli_connect(cli, &cluster, &err) < 0 || cli_read_volume(cluster, name, &facts, &err) < 0)
        return cli_fail(&err);
    if (facts.lock.count > 0 &&
        takeover_look(cluster, facts.id, &facts.lock, deadline_in_ms(CLI_READ_MS), &life, &err) < 0)
        return cli_fail(&err);
    if (facts.read_only &&
        image_readers_list(cluster, facts.id, deadline_in_ms(CLI_READ_MS), &readers, &err) < 0)
        return cli_fail(&err);
    volume_check_space(cluster, volume_data_pool(cluster, &facts), &full);
    object_print(cli, facts_json(&facts, life, &readers, full.text));
    image_readers_free(&readers);
    return 0;
}
