/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/endpoint.h"

#include <errno.h>
#include <string.h>

#include "image/snapshot.h"
#include "plugin/server/ledger.h"
#include "volume/options.h"

const struct endpoint *endpoint_find(const struct endpoint *const tables[], const char *path)
{
    for (; *tables; tables++) {
        for (const struct endpoint *endpoint = *tables; endpoint->path; endpoint++) {
            if (strcmp(endpoint->path, path) == 0)
                return endpoint;
        }
    }
    return NULL;
}

void endpoint_fail(const struct endpoint *endpoint, const char *words, struct reply *reply)
{
    if (endpoint->err_forgets)
        reply_drop(reply);
    else
        reply_err(reply, words);
}

static int check_id(const char *id, struct error *err)
{
    if (!id || id[0] == '\0')
        return error_set(err, -EINVAL, "\"ID\", the mount ID, is missing");
    if (strlen(id) >= LEDGER_ID_MAX)
        return error_set(err, -EINVAL, "\"ID\" has %zu bytes; at most %d are allowed", strlen(id),
                         LEDGER_ID_MAX - 1);
    return 0;
}

static int check_missing(const struct endpoint *endpoint, const struct json_request *request,
                         struct error *err)
{
    const struct {
        enum endpoint_need need;
        const char *text;
        const char *words;
    } needs[] = {
        {NEED_NAME, request->name, "\"Name\", the volume's name,"},
        {NEED_SNAPSHOT, request->snapshot, "\"Snapshot\", the snapshot's name,"},
        {NEED_TO, request->to, "\"To\", the new volume's name,"},
        {NEED_TO_SNAPSHOT, request->to, "\"To\", the snapshot's new name,"},
        {NEED_SIZE, request->size, "\"Size\", such as \"20G\","},
        {NEED_HOST, request->host, "\"Host\", the lost host's name,"},
    };

    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        if ((endpoint->needs & needs[i].need) && !needs[i].text)
            return error_set(err, -EINVAL, "%s is missing", needs[i].words);
    }
    return 0;
}

static int check(const struct endpoint *endpoint, const struct json_request *request,
                 struct error *err)
{
    int r = check_missing(endpoint, request, err);

    if (r == 0 && request->name)
        r = volume_name_check(request->name, err);
    if (r == 0 && (endpoint->needs & NEED_ID))
        r = check_id(request->id, err);
    if (r == 0 && request->snapshot)
        r = snapshot_check_name(request->snapshot, err);
    if (r == 0 && request->to)
        r = endpoint->needs & NEED_TO_SNAPSHOT ? snapshot_check_name(request->to, err)
                                               : volume_name_check(request->to, err);
    for (size_t i = 0; r == 0 && i < request->name_count; i++)
        r = volume_name_check(request->names[i], err);
    return r;
}

int endpoint_read_request(const struct endpoint *endpoint, const char *body, size_t len,
                          struct json_request *ret, struct error *err)
{
    cleanup_json_request struct json_request request = {0};
    int r = json_request_decode(body, len, &request, err);

    *ret = (struct json_request){0};
    if (r == -ENODATA && endpoint->needs == 0)
        return 0;
    if (r == 0)
        r = check(endpoint, &request, err);
    if (r < 0)
        return r;
    *ret = request;
    request = (struct json_request){0};
    return 0;
}
