/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/operator.h"

#include <errno.h>

#include "base/log.h"
#include "volume/trash.h"

/* Trash.List, Restore, Purge. A removed volume is named by its "ID", or by the "Name" it had. */

static json_t *volume_json(const struct trashed_volume *volume)
{
    json_t *json = json_object();

    operator_add_text(json, "Name", volume->name);
    operator_add_text(json, "ID", volume->id);
    operator_add(json, "Size", json_integer((json_int_t)volume->size));
    operator_add(json, "Snapshots", json_integer(volume->snapshot_count));
    operator_add_time(json, "DeletedAt", volume->deleted.tv_sec);
    operator_add_time(json, "ExpiresAt", volume->expires.tv_sec);
    operator_add(json, "Swept", json_boolean(volume->swept));
    operator_add_text(json, "State", volume->state);
    return json;
}

static int list(struct operation *operation, struct error *err)
{
    cleanup_trashed_volumes struct trashed_volumes trash = {0};
    json_t *array = json_array();
    int r = volume_trash_list(operation->cluster, operation->deadline, &trash, err);

    for (size_t i = 0; i < trash.count; i++)
        json_array_append_new(array, volume_json(&trash.items[i]));
    operator_add(operation->reply, "Volumes", array);
    return r;
}

/* The one removed volume that the request names. DESTROY: not one of several with that name. */
static int find(const struct operation *operation, const struct trashed_volumes *trash,
                bool destroy, const struct trashed_volume **ret, struct error *err)
{
    const struct json_request *request = operation->request;
    const char *word = request->id ? request->id : request->name;
    size_t same;

    if (!word)
        return error_set(err, -EINVAL, "\"Name\" or \"ID\" of the removed volume is missing");
    *ret = volume_trash_find(trash, word, &same);
    if (!*ret)
        return error_set(err, -ENOENT,
                         "no removed volume '%.128s' is in the trash: Trash.List lists them", word);
    if (destroy && same > 1)
        return error_set(err, -EINVAL,
                         "%zu removed volumes were called '%.128s': say which by its \"ID\"", same,
                         word);
    return 0;
}

static int restore(struct operation *operation, struct error *err)
{
    cleanup_trashed_volumes struct trashed_volumes trash = {0};
    const struct trashed_volume *volume = NULL;
    const char *as;
    int r = volume_trash_list(operation->cluster, operation->deadline, &trash, err);

    if (r == 0)
        r = find(operation, &trash, false, &volume, err);
    if (r < 0)
        return r;
    as = operation->request->to ? operation->request->to : volume->name;
    r = volume_trash_restore(operation->cluster, volume->id, as, operation->deadline, err);
    if (r < 0)
        return r;
    volume_driver_learn(operation->driver, operation->cluster, as);
    log_info("volume '%s' is back from the trash", as);
    operator_add_text(operation->reply, "Name", as);
    operator_add_text(operation->reply, "ID", volume->id);
    return 0;
}

struct purge {
    json_t *purged;
    json_t *failures;
};

static void report(void *arg, const struct trashed_volume *volume, const struct error *err)
{
    struct purge *purge = arg;
    json_t *json = volume_json(volume);

    if (err->code < 0) {
        log_error("Trash.Purge: volume '%s' (%s): %s", volume->name, volume->id, err->text);
        operator_add_text(json, "Err", err->text);
    } else {
        log_info("removed volume '%s' (%s) is deleted for good", volume->name, volume->id);
    }
    json_array_append_new(err->code < 0 ? purge->failures : purge->purged, json);
}

static int purge_one(const struct operation *operation, const struct trashed_volumes *trash,
                     struct purge *purge, struct error *err)
{
    const struct trashed_volume *volume = NULL;
    int r = find(operation, trash, true, &volume, err);

    if (r == 0)
        r = volume_trash_purge(operation->cluster, volume->id, false, operation->deadline, err);
    if (r == 0)
        report(purge, volume, &(struct error){0});
    return r;
}

static int purge(struct operation *operation, struct error *err)
{
    cleanup_trashed_volumes struct trashed_volumes trash = {0};
    const struct json_request *request = operation->request;
    struct purge purge = {.purged = json_array(), .failures = json_array()};
    bool named = request->name || request->id;
    int r = 0;

    operator_add(operation->reply, "Purged", purge.purged);
    operator_add(operation->reply, "Failures", purge.failures);
    if (named + request->expired + request->all != 1)
        return error_set(err, -EINVAL,
                         "what to delete: one of \"Name\" or \"ID\", \"Expired\": true, and "
                         "\"All\": true");
    r = volume_trash_list(operation->cluster, operation->deadline, &trash, err);
    if (r < 0)
        return r;
    if (named)
        return purge_one(operation, &trash, &purge, err);
    return volume_trash_purge_all(operation->cluster, &trash, request->expired, operation->deadline,
                                  report, &purge, err);
}

static void handle_list(void *service, const struct json_request *request, int64_t deadline,
                        struct reply *reply)
{
    static const struct operator_call call = {.name = "Trash.List", .work = list};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_restore(void *service, const struct json_request *request, int64_t deadline,
                           struct reply *reply)
{
    static const struct operator_call call = {.name = "Trash.Restore", .work = restore};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_purge(void *service, const struct json_request *request, int64_t deadline,
                         struct reply *reply)
{
    static const struct operator_call call = {.name = "Trash.Purge", .work = purge};

    operator_run(&call, service, request, deadline, reply);
}

const struct endpoint operator_trash_endpoints[] = {
    {.path = "/Trash.List",
     .handle = handle_list,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 60000,
     .late = "nothing has changed"},
    {.path = "/Trash.Restore",
     .handle = handle_restore,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 60000,
     .late = "it goes on in the background and may still succeed"},
    {.path = "/Trash.Purge",
     .handle = handle_purge,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 3600 * 1000,
     .late = "it goes on in the background"},
    {0},
};
