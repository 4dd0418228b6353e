/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/volume_driver.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "volume/volume.h"

#define UNDO_MS 20000

static bool activate(void *service, const struct json_request *request, struct reply *reply)
{
    struct volume_driver *driver = service;

    (void)request;
    mounts_new_epoch(driver->mounts);
    log_info("activated by dockerd");
    reply_json(reply, json_pack("{s:[s]}", "Implements", "VolumeDriver"));
    return true;
}

static bool capabilities(void *service, const struct json_request *request, struct reply *reply)
{
    (void)service;
    (void)request;
    reply_json(reply, json_pack("{s:{s:s}, s:s}", "Capabilities", "Scope", "global", "Err", ""));
    return true;
}

static int read_options(const struct volume_driver *driver, const struct json_request *request,
                        struct volume_options *ret, struct error *err)
{
    volume_options_init(ret, driver->default_size, driver->default_fs);
    for (size_t i = 0; i < request->opt_count; i++) {
        int r = volume_options_set(ret, request->opts[i].key, request->opts[i].value, err);

        if (r < 0)
            return r;
    }
    return volume_options_check(ret, err);
}

static int create_held(struct volume_driver *driver, const char *name,
                       const struct volume_options *options, int64_t deadline, struct error *err)
{
    struct cluster *cluster;
    int r = cluster_link_get(driver->link, deadline, &cluster, err);

    if (r < 0)
        return r;
    r = volume_create(cluster, name, options, driver->scratch_dir, deadline, err);
    if (r == 0)
        volume_driver_learn(driver, cluster, name);
    cluster_link_put(driver->link, cluster, r);
    return r;
}

static void create(void *service, const struct json_request *request, int64_t deadline,
                   struct reply *reply)
{
    cleanup_volume_options struct volume_options options = {0};
    struct volume_driver *driver = service;
    struct slot *slot;
    struct error err = {0};
    int r = read_options(driver, request, &options, &err);

    if (r == 0)
        r = mounts_hold(driver->mounts, request->name, NULL, deadline, &slot, &err);
    if (r == 0) {
        r = create_held(driver, request->name, &options, deadline, &err);
        mounts_let_go(driver->mounts, slot);
    }
    if (r < 0) {
        reply_fail(reply, "Create", request->name, &err);
        return;
    }
    log_info("volume '%s' is created", request->name);
    reply_err(reply, "");
}

static int remove_held(struct volume_driver *driver, struct slot *slot, const char *name,
                       int64_t deadline, struct error *err)
{
    struct cluster *cluster;
    bool more = false;
    int r = mounts_check_unused(driver->mounts, slot, deadline, err);

    if (r < 0)
        return r;
    r = cluster_link_get(driver->link, deadline, &cluster, err);
    if (r < 0)
        return r;
    r = volume_remove(cluster, name, driver->settings->trash_expiry_s, deadline, &more, err);
    cluster_link_put(driver->link, cluster, r);
    if (r < 0 && r != -ENOENT)
        return r;
    cache_drop(driver->cache, name);
    mounts_forget(driver->mounts, slot);
    if (more)
        sweeper_wake(driver->sweeper);
    return r == 0 ? 0 : error_set(err, r, "no such volume: '%s'", name);
}

static void remove_volume(void *service, const struct json_request *request, int64_t deadline,
                          struct reply *reply)
{
    struct volume_driver *driver = service;
    struct slot *slot;
    struct error err = {0};
    int r = mounts_hold(driver->mounts, request->name, NULL, deadline, &slot, &err);

    if (r == 0) {
        r = remove_held(driver, slot, request->name, deadline, &err);
        mounts_let_go(driver->mounts, slot);
    }
    if (r < 0) {
        reply_fail(reply, "Remove", request->name, &err);
        return;
    }
    log_info("volume '%s' is removed%s", request->name,
             driver->settings->trash_expiry_s > 0 ? ": it is in the trash, until it expires" : "");
    reply_err(reply, "");
}

struct mount_undo {
    struct volume_driver *driver;
    char volume[VOLUME_NAME_MAX];
    char id[LEDGER_ID_MAX];
};

static void undo_mount(void *arg)
{
    struct mount_undo *undo = arg;
    struct error err = {0};

    if (mounts_unmount(undo->driver->mounts, undo->volume, undo->id, deadline_in_ms(UNDO_MS),
                       &err) < 0)
        log_error("undoing Mount: %s", err.text);
}

static void mount_volume(void *service, const struct json_request *request, int64_t deadline,
                         struct reply *reply)
{
    struct volume_driver *driver = service;
    struct mount_undo *undo = calloc(1, sizeof(*undo));
    char target[PATH_MAX];
    struct error err = {0};

    if (!undo) {
        error_errno(&err, -ENOMEM, "cannot mount volume '%s'", request->name);
        reply_fail(reply, "Mount", request->name, &err);
        return;
    }
    if (mounts_mount(driver->mounts, request->name, request->id, deadline, target, &err) < 0) {
        free(undo);
        reply_fail(reply, "Mount", request->name, &err);
        return;
    }
    *undo = (struct mount_undo){.driver = driver};
    snprintf(undo->volume, sizeof(undo->volume), "%s", request->name);
    snprintf(undo->id, sizeof(undo->id), "%s", request->id);
    reply->undo = undo_mount;
    reply->undo_arg = undo;
    reply_json(reply, json_pack("{s:o, s:s}", "Mountpoint", reply_text(target), "Err", ""));
}

static void unmount_volume(void *service, const struct json_request *request, int64_t deadline,
                           struct reply *reply)
{
    struct volume_driver *driver = service;
    struct error err = {0};

    if (mounts_unmount(driver->mounts, request->name, request->id, deadline, &err) < 0)
        reply_fail(reply, "Unmount", request->name, &err);
    else
        reply_err(reply, "");
}

const struct endpoint volume_driver_endpoints[] = {
    {.path = "/Plugin.Activate", .quick = activate},
    {.path = "/VolumeDriver.Capabilities", .quick = capabilities},
    {.path = "/VolumeDriver.Create",
     .needs = NEED_NAME,
     .handle = create,
     .kind = ENDPOINT_CHANGES,
     .limit_ms = 25000,
     .late = "it goes on in the background and may still succeed"},
    {.path = "/VolumeDriver.Remove",
     .needs = NEED_NAME,
     .handle = remove_volume,
     .kind = ENDPOINT_CHANGES,
     .limit_ms = 20000,
     .late = "it goes on in the background and may still succeed"},
    {.path = "/VolumeDriver.Mount",
     .needs = NEED_NAME | NEED_ID,
     .handle = mount_volume,
     .kind = ENDPOINT_CHANGES,
     .limit_ms = 25000,
     .late = "the mount will be undone when it ends"},
    {.path = "/VolumeDriver.Unmount",
     .needs = NEED_NAME | NEED_ID,
     .handle = unmount_volume,
     .kind = ENDPOINT_CHANGES,
     .limit_ms = 20000,
     .late = "it goes on in the background until its data is written"},
    {.path = "/VolumeDriver.Path", .needs = NEED_NAME, .quick = volume_driver_path},
    {.path = "/VolumeDriver.Get",
     .needs = NEED_NAME,
     .quick = volume_driver_quick_get,
     .handle = volume_driver_get,
     .err_forgets = true,
     .limit_ms = 10000,
     .late = "nothing has changed"},
    {.path = "/VolumeDriver.List",
     .quick = volume_driver_quick_list,
     .handle = volume_driver_list,
     .limit_ms = 10000,
     .late = "nothing has changed"},
    {0},
};
