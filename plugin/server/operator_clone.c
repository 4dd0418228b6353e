/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plugin/server/operator.h"

#include "volume/clone.h"

/* Volume.Clone, Volume.Flatten */

/* {"Name": source, "Snapshot": optional, "To": new volume, "Opts": as for VolumeDriver.Create} */
static int take_options(const struct json_request *request, struct volume_options *options,
                        struct error *err)
{
    char from[FROM_MAX];
    int r = 0;

    for (size_t i = 0; i < request->opt_count && r == 0; i++) {
        const struct json_option *opt = &request->opts[i];

        r = strcmp(opt->key, "from") == 0
                ? error_set(err, -EINVAL, "the source is \"Name\", not the option 'from'")
                : volume_options_set(options, opt->key, opt->value, err);
    }
    if (r < 0)
        return r;
    snprintf(from, sizeof(from), "%.200s%s%.255s", request->name, request->snapshot ? "@" : "",
             request->snapshot ? request->snapshot : "");
    return volume_options_set(options, "from", from, err);
}

int operator_clone(struct operation *operation, struct error *err)
{
    const struct json_request *request = operation->request;
    struct volume_driver *driver = operation->driver;
    cleanup_volume_options struct volume_options options = {0};
    cleanup_volume_facts struct volume_facts facts = {0};
    int r;

    volume_options_init(&options, driver->default_size, driver->default_fs);
    r = operator_read_volume(operation, &facts, err);
    if (r == 0)
        r = take_options(request, &options, err);
    if (r == 0)
        r = volume_clone_from(operation->cluster, request->to, &options, operation->deadline, err);
    if (r == 0)
        volume_driver_learn(driver, operation->cluster, request->to);
    return r;
}

static int flatten(struct operation *operation, struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    int r = operator_read_volume(operation, &facts, err);

    if (r < 0)
        return r;
    if (facts.lock.count > 0) /* its owner does it, and an unmount must not wait for that */
        operator_let_go(operation);
    return volume_flatten(operation->cluster, facts.name, NULL, NULL, operation->deadline, err);
}

static void handle_clone(void *service, const struct json_request *request, int64_t deadline,
                         struct reply *reply)
{
    static const struct operator_call call = {
        .name = "Volume.Clone", .doing = "it is being cloned", .work = operator_clone};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_flatten(void *service, const struct json_request *request, int64_t deadline,
                           struct reply *reply)
{
    static const struct operator_call call = {
        .name = "Volume.Flatten", .doing = "it is being flattened", .work = flatten};

    operator_run(&call, service, request, deadline, reply);
}

const struct endpoint operator_clone_endpoints[] = {
    {.path = "/Volume.Clone",
     .needs = NEED_NAME | NEED_TO,
     .handle = handle_clone,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 60000,
     .late = "whether there is a clone will be seen: if there is, it is whole"},
    {.path = "/Volume.Flatten",
     .needs = NEED_NAME,
     .handle = handle_flatten,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 24 * 3600 * 1000,
     .late = "call it again to go on where it was"},
    {0},
};
