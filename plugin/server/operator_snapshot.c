/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/operator.h"

#include <errno.h>

#include "base/cleanup.h"
#include "volume/snapshots.h"

/* Snapshot.Create, List, Remove, Rename, Protect, Unprotect, Restore */

json_t *operator_snapshot_json(const struct snapshot *snapshot)
{
    json_t *json = json_object();

    operator_add_text(json, "Name", snapshot->name);
    operator_add(json, "ID", json_integer((json_int_t)snapshot->id));
    operator_add(json, "Size", json_integer((json_int_t)snapshot->size));
    operator_add_time(json, "CreatedAt", snapshot->created.tv_sec);
    operator_add(json, "Protected", json_boolean(snapshot->protected));
    operator_add(json, "Children", json_integer(snapshot->child_count));
    return json;
}

static const char *host_of(const struct operation *operation)
{
    return operation->driver->settings->host;
}

static int create(struct operation *operation, struct error *err)
{
    const struct json_request *request = operation->request;
    struct snapshot snapshot;
    int r = volume_snapshot_create(operation->cluster, request->name, request->snapshot,
                                   host_of(operation), operation->deadline, &snapshot, err);

    if (r == 0)
        operator_add(operation->reply, "Snapshot", operator_snapshot_json(&snapshot));
    return r;
}

static int list(struct operation *operation, struct error *err)
{
    const struct json_request *request = operation->request;
    const struct snapshot_usage usage = {0};
    cleanup_snapshots struct snapshots snapshots = {0};
    cleanup_free uint64_t *used = NULL;
    json_t *array = json_array();
    int r = request->used ? volume_snapshot_usage(operation->cluster, request->name, &usage,
                                                  operation->deadline, &snapshots, &used, err)
                          : volume_snapshot_list(operation->cluster, request->name, false,
                                                 operation->deadline, &snapshots, err);

    for (size_t i = 0; i < snapshots.count; i++) {
        json_t *json;

        if (snapshots.items[i].trashed)
            continue;
        json = operator_snapshot_json(&snapshots.items[i]);
        if (used)
            operator_add(json, "Used", json_integer((json_int_t)used[i]));
        json_array_append_new(array, json);
    }
    operator_add(operation->reply, "Snapshots", array);
    return r;
}

static int remove_snapshot(struct operation *operation, struct error *err)
{
    const struct json_request *request = operation->request;
    bool trashed = false;
    int r = volume_snapshot_remove(operation->cluster, request->name, request->snapshot,
                                   host_of(operation), operation->deadline, &trashed, err);

    if (r == 0)
        operator_add(operation->reply, "KeptForClones", json_boolean(trashed));
    return r;
}

static int protect(struct operation *operation, struct error *err)
{
    const struct json_request *request = operation->request;

    return volume_snapshot_protect(operation->cluster, request->name, request->snapshot, true,
                                   operation->deadline, err);
}

static int unprotect(struct operation *operation, struct error *err)
{
    const struct json_request *request = operation->request;

    return volume_snapshot_protect(operation->cluster, request->name, request->snapshot, false,
                                   operation->deadline, err);
}

static int rename_snapshot(struct operation *operation, struct error *err)
{
    const struct json_request *request = operation->request;

    return volume_snapshot_rename(operation->cluster, request->name, request->snapshot, request->to,
                                  operation->deadline, err);
}

static int restore(struct operation *operation, struct error *err)
{
    const struct json_request *request = operation->request;
    const struct rollback rollback = {.snapshot = request->snapshot, .host = host_of(operation)};
    struct rollback_result result = {0};
    int r;

    if (request->to)
        return operator_clone(operation, err);
    r = mounts_check_unused(operation->driver->mounts, operation->slot, operation->deadline, err);
    if (r == 0)
        r = volume_restore(operation->cluster, request->name, &rollback, operation->deadline,
                           &result, err);
    if (r < 0)
        return r;
    operator_add_text(operation->reply, "Before", result.safety);
    operator_add(operation->reply, "Resumed", json_boolean(result.resumed));
    operator_add(operation->reply, "Objects", json_integer((json_int_t)result.objects.total));
    operator_add(operation->reply, "Changed", json_integer((json_int_t)result.objects.changed));
    return 0;
}

static void handle_restore(void *service, const struct json_request *request, int64_t deadline,
                           struct reply *reply)
{
    static const struct operator_call call = {
        .name = "Snapshot.Restore", .doing = "it is being restored", .work = restore};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_create(void *service, const struct json_request *request, int64_t deadline,
                          struct reply *reply)
{
    static const struct operator_call one = {
        .name = "Snapshot.Create", .doing = OPERATOR_SNAPSHOT_DOING, .work = create};
    static const struct operator_call group = {.name = "Snapshot.Create",
                                               .work = operator_snapshot_group};
    const bool is_one = request->name && !request->names && !request->label;

    operator_run(is_one ? &one : &group, service, request, deadline, reply);
}

static void handle_list(void *service, const struct json_request *request, int64_t deadline,
                        struct reply *reply)
{
    static const struct operator_call call = {.name = "Snapshot.List", .work = list};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_remove(void *service, const struct json_request *request, int64_t deadline,
                          struct reply *reply)
{
    static const struct operator_call call = {
        .name = "Snapshot.Remove", .doing = "a snapshot is being removed", .work = remove_snapshot};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_protect(void *service, const struct json_request *request, int64_t deadline,
                           struct reply *reply)
{
    static const struct operator_call call = {
        .name = "Snapshot.Protect", .doing = "a snapshot is being protected", .work = protect};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_unprotect(void *service, const struct json_request *request, int64_t deadline,
                             struct reply *reply)
{
    static const struct operator_call call = {.name = "Snapshot.Unprotect",
                                              .doing = "a snapshot is being unprotected",
                                              .work = unprotect};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_rename(void *service, const struct json_request *request, int64_t deadline,
                          struct reply *reply)
{
    static const struct operator_call call = {
        .name = "Snapshot.Rename", .doing = "a snapshot is being renamed", .work = rename_snapshot};

    operator_run(&call, service, request, deadline, reply);
}

#define LATE "it goes on in the background and may still succeed"

const struct endpoint operator_snapshot_endpoints[] = {
    {.path = "/Snapshot.Create",
     .handle = handle_create,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 60000,
     .late = LATE},
    {.path = "/Snapshot.List",
     .needs = NEED_NAME,
     .handle = handle_list,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 30000,
     .late = "nothing has changed"},
    {.path = "/Snapshot.Remove",
     .needs = NEED_NAME | NEED_SNAPSHOT,
     .handle = handle_remove,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 60000,
     .late = LATE},
    {.path = "/Snapshot.Rename",
     .needs = NEED_NAME | NEED_SNAPSHOT | NEED_TO_SNAPSHOT,
     .handle = handle_rename,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 30000,
     .late = LATE},
    {.path = "/Snapshot.Protect",
     .needs = NEED_NAME | NEED_SNAPSHOT,
     .handle = handle_protect,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 30000,
     .late = LATE},
    {.path = "/Snapshot.Unprotect",
     .needs = NEED_NAME | NEED_SNAPSHOT,
     .handle = handle_unprotect,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 30000,
     .late = LATE},
    {.path = "/Snapshot.Restore",
     .needs = NEED_NAME | NEED_SNAPSHOT,
     .handle = handle_restore,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 3600000,
     .late = "it goes on in the background; ask again, which goes on where it was"},
    {0},
};
