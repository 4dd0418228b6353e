/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plugin/server/operator.h"

#include "base/cleanup.h"
#include "image/ownership.h"
#include "image/takeover.h"
#include "plugin/server/status.h"
#include "volume/displace.h"
#include "volume/resize.h"
#include "volume/survey.h"
#include "volume/volume.h"

/* Volume.Inspect, Holders, Resize, Takeover, Recover */

static void add_life(const struct operation *operation, const struct volume_facts *facts,
                     json_t *status)
{
    json_t *holder = json_object_get(status, "holder");
    enum holder_life life;

    if (holder && takeover_look(operation->cluster, facts->id, &facts->lock, operation->deadline,
                                &life, NULL) == 0)
        operator_add_text(holder, "state", holder_life_word(life));
}

static const char *reader_state_word(const struct image_reader *reader)
{
    return holder_life_word(reader->answers ? HOLDER_ALIVE : HOLDER_SILENT);
}

/* What cannot be found out is left out. */
static void add_readers(const struct operation *operation, const struct volume_facts *facts,
                        json_t *status)
{
    struct image_readers readers = {0};
    json_t *list;

    if (image_readers_list(operation->cluster, facts->id, operation->deadline, &readers, NULL) < 0)
        return;
    list = json_array();
    for (size_t i = 0; i < readers.count; i++) {
        const struct image_reader *reader = &readers.items[i];
        json_t *json = json_object();

        operator_add_text(json, "host", reader->host);
        operator_add_text(json, "since", reader->since);
        operator_add(json, "client", json_integer((json_int_t)reader->client_id));
        operator_add_text(json, "address", reader->address);
        operator_add_text(json, "state", reader_state_word(reader));
        json_array_append_new(list, json);
    }
    operator_add(status, "readers", list);
    image_readers_free(&readers);
}

static int inspect(struct operation *operation, struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    cleanup_snapshots struct snapshots newest = {0};
    struct error full = {0};
    json_t *status;
    json_t *answer;
    int r = operator_read_volume(operation, &facts, err);

    if (r == 0)
        r = snapshot_list_newest(operation->cluster, facts.id, STATUS_SNAPSHOTS_MAX,
                                 operation->deadline, &newest, err);
    if (r < 0)
        return r;
    status = status_of_facts(&facts, &newest);
    if (status) {
        add_life(operation, &facts, status);
        if (facts.read_only)
            add_readers(operation, &facts, status);
        space_look(operation->driver->space, volume_data_pool(operation->cluster, &facts), &full);
        if (full.code < 0 && facts.unwritable[0] == '\0')
            operator_add_text(status, "health", full.text);
    }
    answer = volume_driver_show(operation->driver, facts.name, facts.created.tv_sec, status,
                                "reachable");
    if (!answer)
        return error_errno(err, -ENOMEM, "cannot answer");
    json_object_update(operation->reply, answer);
    json_decref(answer);
    return 0;
}

/* The host that holds a volume, or its address where its lock does not say. */
#define HOST_MAX 256
static void holder_host(const struct lock_holder *holder, char host[HOST_MAX], char since[64])
{
    ownership_parse_description(holder->description, host, HOST_MAX, since, 64);
    if (host[0] == '\0')
        snprintf(host, HOST_MAX, "%s", holder->address);
}

static json_t *holder_of(const struct volume_report *report)
{
    const struct lock_holder *holder = &report->facts.lock.holder;
    json_t *json = json_object();
    char host[HOST_MAX];
    char since[64];

    holder_host(holder, host, since);
    operator_add_text(json, "Name", report->name);
    operator_add_text(json, "Host", host);
    operator_add_text(json, "Since", since);
    operator_add(json, "Client", json_integer((json_int_t)holder->client_id));
    operator_add_text(json, "Address", holder->address);
    if (report->err.code == 0)
        operator_add_text(json, "State", holder_life_word(report->life));
    operator_add_text(json, "Access", volume_access_name(false));
    return json;
}

static json_t *reader_of(const char *name, const struct image_reader *reader)
{
    json_t *json = json_object();

    operator_add_text(json, "Name", name);
    operator_add_text(json, "Host", reader->host);
    operator_add_text(json, "Since", reader->since);
    operator_add(json, "Client", json_integer((json_int_t)reader->client_id));
    operator_add_text(json, "Address", reader->address);
    operator_add_text(json, "State", reader_state_word(reader));
    operator_add_text(json, "Access", volume_access_name(true));
    return json;
}

/* Volumes that cannot be read are named, and do not hide the others. */
static json_t *failure_of(const struct volume_report *report)
{
    json_t *json = json_object();

    operator_add_text(json, "Name", report->name);
    operator_add_text(json, "Err", report->err.text);
    return json;
}

static int holders(struct operation *operation, struct error *err)
{
    cleanup_volume_survey struct volume_survey survey = {0};
    const struct json_request *request = operation->request;
    const char *name = request->name;
    const struct volume_survey_request wanted = {
        .names = request->names ? (const char *const *)request->names
                 : name         ? &name
                                : NULL,
        .count = request->names ? request->name_count : 1,
        .look = true,
    };
    json_t *held = json_array();
    json_t *failed = json_array();
    int r = volume_survey(operation->cluster, &wanted, operation->deadline, &survey, err);

    for (size_t i = 0; i < survey.count; i++) {
        const struct volume_report *report = &survey.items[i];

        if (report->facts.lock.count > 0)
            json_array_append_new(held, holder_of(report));
        for (size_t j = 0; j < report->readers.count; j++)
            json_array_append_new(held, reader_of(report->name, &report->readers.items[j]));
        if (report->err.code < 0)
            json_array_append_new(failed, failure_of(report));
    }
    operator_add(operation->reply, "Holders", held);
    operator_add(operation->reply, "Failures", failed);
    return r;
}

static int resize(struct operation *operation, struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    const struct json_request *request = operation->request;
    uint64_t filesystem_size = 0;
    uint64_t size;
    int r = size_parse(request->size, &size);

    if (r < 0)
        return error_set(err, r, "\"Size\" is '%.64s'; it must be a size such as 20G",
                         request->size);
    r = volume_resize(operation->cluster, request->name, size, operation->driver->settings->host,
                      operation->deadline, &facts, err);
    if (r == 0)
        r = mounts_grow(operation->driver->mounts, operation->slot, &filesystem_size, err);
    if (r < 0)
        return r;
    operator_add(operation->reply, "Size", json_integer((json_int_t)size));
    if (filesystem_size > 0)
        operator_add(operation->reply, "FilesystemSize", json_integer((json_int_t)filesystem_size));
    return 0;
}

static int takeover(struct operation *operation, struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    const struct lock_holder *holder = &facts.lock.holder;
    char host[HOST_MAX];
    char since[64];
    int r = operator_read_volume(operation, &facts, err);

    if (r == 0 && facts.lock.count == 0)
        r = error_set(err, -ENOENT,
                      "nobody holds volume '%s', so there is nothing to take over: any host can "
                      "mount it",
                      facts.name);
    if (r == 0)
        r = volume_displace(operation->cluster, &facts, operation->driver->settings->host,
                            "an operator asked for it", operation->deadline, err);
    if (r < 0)
        return r;
    holder_host(holder, host, since);
    operator_add_text(operation->reply, "Host", host);
    operator_add(operation->reply, "Client", json_integer((json_int_t)holder->client_id));
    return 0;
}

/* One that fails does not keep the others. */
static json_t *recover_one(const struct operation *operation, const struct volume_report *report)
{
    json_t *json = holder_of(report);
    struct error err = {0};
    int r = volume_displace(operation->cluster, &report->facts, operation->driver->settings->host,
                            "an operator recovered all volumes of that host", operation->deadline,
                            &err);

    operator_add(json, "Err", reply_text(r < 0 && r != -ENOENT ? err.text : ""));
    return json; /* -ENOENT: it let go by itself */
}

static int recover(struct operation *operation, struct error *err)
{
    const struct volume_survey_request all = {.look = true};
    cleanup_volume_survey struct volume_survey survey = {0};
    json_t *volumes = json_array();
    json_t *failed = json_array();
    int r = volume_survey(operation->cluster, &all, operation->deadline, &survey, err);

    for (size_t i = 0; i < survey.count; i++) {
        const struct volume_report *report = &survey.items[i];
        char host[HOST_MAX] = "";
        char since[64];

        if (report->facts.lock.count > 0)
            holder_host(&report->facts.lock.holder, host, since);
        if (strcmp(host, operation->request->host) == 0)
            json_array_append_new(volumes, recover_one(operation, report));
        else if (report->err.code < 0)
            json_array_append_new(failed, failure_of(report));
    }
    operator_add(operation->reply, "Volumes", volumes);
    operator_add(operation->reply, "Failures", failed);
    return r;
}

static void handle_takeover(void *service, const struct json_request *request, int64_t deadline,
                            struct reply *reply)
{
    static const struct operator_call call = {
        .name = "Volume.Takeover", .doing = "it is being taken over", .work = takeover};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_recover(void *service, const struct json_request *request, int64_t deadline,
                           struct reply *reply)
{
    static const struct operator_call call = {.name = "Volume.Recover", .work = recover};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_resize(void *service, const struct json_request *request, int64_t deadline,
                          struct reply *reply)
{
    static const struct operator_call call = {
        .name = "Volume.Resize", .doing = "it is being resized", .work = resize};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_inspect(void *service, const struct json_request *request, int64_t deadline,
                           struct reply *reply)
{
    static const struct operator_call call = {.name = "Volume.Inspect", .work = inspect};

    operator_run(&call, service, request, deadline, reply);
}

static void handle_holders(void *service, const struct json_request *request, int64_t deadline,
                           struct reply *reply)
{
    static const struct operator_call call = {.name = "Volume.Holders", .work = holders};

    operator_run(&call, service, request, deadline, reply);
}

const struct endpoint operator_volume_endpoints[] = {
    {.path = "/Volume.Inspect",
     .needs = NEED_NAME,
     .handle = handle_inspect,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 20000,
     .late = "nothing has changed"},
    {.path = "/Volume.Holders",
     .handle = handle_holders,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 60000,
     .late = "nothing has changed"},
    {.path = "/Volume.Resize",
     .needs = NEED_NAME | NEED_SIZE,
     .handle = handle_resize,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 120000,
     .late = "it goes on in the background and may still succeed"},
    {.path = "/Volume.Takeover",
     .needs = NEED_NAME,
     .handle = handle_takeover,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 60000,
     .late = "it goes on in the background and may still succeed"},
    {.path = "/Volume.Recover",
     .needs = NEED_HOST,
     .handle = handle_recover,
     .kind = ENDPOINT_OPERATES,
     .limit_ms = 300000,
     .late = "it goes on in the background and may still succeed"},
    {0},
};
