/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/endpoint.h"

#include <errno.h>
#include <string.h>

#include "plugin/server/ledger.h"
#include "volume/options.h"

const struct endpoint *endpoint_find(const struct endpoint table[], const char *path)
{
    for (; table->path; table++) {
        if (strcmp(table->path, path) == 0)
            return table;
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

static int check(const struct endpoint *endpoint, const struct json_request *request,
                 struct error *err)
{
    int r = 0;

    if ((endpoint->needs & NEED_NAME) && !request->name)
        return error_set(err, -EINVAL, "\"Name\", the volume's name, is missing");
    if (endpoint->needs & NEED_NAME)
        r = volume_name_check(request->name, err);
    if (r == 0 && (endpoint->needs & NEED_ID))
        r = check_id(request->id, err);
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
