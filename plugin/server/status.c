/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/status.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "image/ownership.h"
#include "plugin/server/reply.h"
#include "volume/filesystem.h"

/* Each adds a member, takes VALUE over, and returns 0 or -1, so that results can be or-ed. */

static int add_text(json_t *json, const char *key, const char *text)
{
    return json_object_set_new(json, key, reply_text(text));
}

/* Nothing for "". */
static int add_if_set(json_t *json, const char *key, const char *text)
{
    return text[0] == '\0' ? 0 : add_text(json, key, text);
}

static int add_size(json_t *json, const char *key, uint64_t bytes)
{
    char text[32];

    size_format(bytes, text, sizeof(text));
    return add_text(json, key, text);
}

static json_t *options_of(const struct volume_facts *facts)
{
    json_t *options = json_object();
    int bad;

    if (!options)
        return NULL;
    bad = add_size(options, "object-size", facts->object_size);
    bad |= add_if_set(options, "mount-options", facts->mount_options);
    bad |= add_if_set(options, "uid", facts->uid);
    bad |= add_if_set(options, "gid", facts->gid);
    bad |= add_if_set(options, "mode", facts->mode);
    bad |= add_if_set(options, "data-pool", facts->data_pool);
    bad |= add_text(options, "protect", facts->protect ? "true" : "false");
    bad |= add_if_set(options, "from", facts->from);
    bad |= add_text(options, "access", volume_access_name(facts->read_only));
    if (bad == 0)
        return options;
    json_decref(options);
    return NULL;
}

static json_t *object_of(const struct rbd_pairs *pairs)
{
    json_t *object = json_object();

    for (size_t i = 0; object && i < pairs->count; i++) {
        const struct rbd_pair *pair = &pairs->items[i];

        /* Somebody's rbd tool may have made a key that is no text; it is left out. */
        json_object_set_new(object, pair->key, reply_text(pair->value));
    }
    return object;
}

static json_t *holder_of(const struct lock_info *lock)
{
    json_t *holder = json_object();
    char host[256];
    char since[64];
    int bad;

    if (!holder)
        return NULL;
    ownership_parse_description(lock->holder.description, host, sizeof(host), since, sizeof(since));
    bad = add_text(holder, "host", host[0] != '\0' ? host : lock->holder.address);
    bad |= add_if_set(holder, "since", since);
    bad |= json_object_set_new(holder, "client", json_integer((json_int_t)lock->holder.client_id));
    bad |= add_text(holder, "address", lock->holder.address);
    if (bad == 0)
        return holder;
    json_decref(holder);
    return NULL;
}

static int add_time(json_t *json, const char *key, const struct timespec *when)
{
    char text[32];
    struct tm tm;

    if (!gmtime_r(&when->tv_sec, &tm) ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return 0;
    return add_text(json, key, text);
}

/* Newest first. */
static json_t *snapshots_of(const struct snapshots *newest)
{
    json_t *list = json_array();
    int bad = list ? 0 : -1;

    for (size_t i = newest->count; bad == 0 && i > 0; i--) {
        const struct snapshot *snapshot = &newest->items[i - 1];
        json_t *json = json_object();

        if (!json)
            break;
        bad |= add_text(json, "name", snapshot->name);
        bad |= add_time(json, "created", &snapshot->created);
        bad |= add_size(json, "size", snapshot->size);
        bad |= json_array_append_new(list, json);
    }
    return list;
}

json_t *status_of_facts(const struct volume_facts *facts, const struct snapshots *newest)
{
    json_t *status = json_object();
    int bad;

    if (!status)
        return NULL;
    bad = add_size(status, "size", facts->size);
    if (facts->used != UINT64_MAX)
        bad |= add_size(status, "used", facts->used);
    if (facts->formatted)
        bad |= add_text(status, "fs", filesystem_name(facts->fs));
    bad |= add_if_set(status, "owner", facts->owner);
    if (facts->lock.count > 0)
        bad |= json_object_set_new(status, "holder", holder_of(&facts->lock));
    bad |= json_object_set_new(status, "snapshot-count", json_integer(facts->snapshot_count));
    if (newest)
        bad |= json_object_set_new(status, "snapshots", snapshots_of(newest));
    bad |= add_text(status, "health",
                    facts->unwritable[0] != '\0' && !facts->read_only ? facts->unwritable : "ok");
    bad |= json_object_set_new(status, "options", options_of(facts));
    bad |= json_object_set_new(status, "labels", object_of(&facts->labels));
    if (facts->takeovers.count > 0)
        bad |= json_object_set_new(status, "takeovers", object_of(&facts->takeovers));
    if (facts->restores.count > 0)
        bad |= json_object_set_new(status, "restores", object_of(&facts->restores));
    bad |= add_text(status, "image", facts->id);
    if (bad == 0)
        return status;
    json_decref(status);
    return NULL;
}

static int add_blockd(json_t *status, const struct blockd_reply *blockd)
{
    int bad = 0;

    if (blockd->result == -ENODEV)
        return add_text(status, "health",
                        "its process died too often and was given up: all I/O to it fails; stop "
                        "its containers and start them again");
    bad |= add_text(status, "backend", blockd->backend);
    if (blockd->state == BLOCKD_FENCED)
        bad |= add_text(status, "health",
                        blockd->read_only
                            ? "its image is gone: all I/O to it fails; stop its containers"
                            : "fenced: another host took this volume over; stop its containers "
                              "here");
    else if (blockd->errors > 0)
        bad |= json_object_set_new(
            status, "health",
            json_sprintf("%llu requests to the device failed; see the plugin's log",
                         (unsigned long long)blockd->errors));
    return bad;
}

int status_add_host(json_t *status, const struct mounts_view *view,
                    const struct blockd_reply *blockd)
{
    json_t *ids = json_array();
    uint64_t used;
    uint64_t size;
    int bad = ids ? 0 : -1;

    for (size_t i = 0; ids && i < view->id_count; i++)
        bad |= json_array_append_new(ids, reply_text(view->ids[i]));
    if (view->mounted) {
        bad |= add_text(status, "mountpoint", view->target);
        bad |= json_object_set(status, "mounts", ids);
        if (filesystem_usage(view->target, &used, &size) == 0)
            bad |= add_size(status, "used", used);
    }
    json_decref(ids);
    if (view->mounted || view->lingering)
        bad |= add_text(status, "device", view->device);
    if (view->lingering)
        bad |= add_text(status, "health",
                        "ok; unmounted, but a process or container of this host "
                        "still uses it");
    if (blockd)
        bad |= add_blockd(status, blockd);
    return bad == 0 ? 0 : -ENOMEM;
}

json_t *status_volume_reply(const char *name, const char *mountpoint, int64_t created,
                            json_t *status)
{
    json_t *root = json_object();
    json_t *volume = json_object();
    time_t when = (time_t)created;
    char text[32];
    struct tm tm;
    int bad = root && volume && status ? 0 : -1;

    if (bad == 0) {
        bad |= add_text(volume, "Name", name);
        bad |= add_text(volume, "Mountpoint", mountpoint);
        /* Left out when unknown: dockerd cannot decode an empty one. */
        if (created > 0 && gmtime_r(&when, &tm) &&
            strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
            bad |= add_text(volume, "CreatedAt", text);
        bad |= json_object_set(volume, "Status", status);
        bad |= json_object_set(root, "Volume", volume);
        bad |= add_text(root, "Err", "");
    }
    json_decref(status);
    json_decref(volume);
    if (bad == 0)
        return root;
    json_decref(root);
    return NULL;
}
