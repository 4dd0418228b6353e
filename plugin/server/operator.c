/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/operator.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

#define HOLD_MS 20000 /* for other calls on the same volume */
#define LINK_MS 20000 /* for the cluster */

static int run_connected(const struct operator_call *call, struct operation *operation,
                         struct error *err)
{
    struct cluster_link *link = operation->driver->link;
    int r = cluster_link_get(link, deadline_earlier(operation->deadline, deadline_in_ms(LINK_MS)),
                             &operation->cluster, err);

    if (r < 0)
        return r;
    r = call->work(operation, err);
    /* Time may have run out on a volume's owner, or on much to do, with the cluster well. */
    cluster_link_put(link, operation->cluster, r == -ETIMEDOUT ? 0 : r);
    return r;
}

static int run_held(const struct operator_call *call, struct operation *operation,
                    struct error *err)
{
    struct mounts *mounts = operation->driver->mounts;
    int r;

    if (!call->doing)
        return run_connected(call, operation, err);
    r = mounts_hold(mounts, operation->request->name, call->doing,
                    deadline_earlier(operation->deadline, deadline_in_ms(HOLD_MS)),
                    &operation->slot, err);
    if (r < 0)
        return r;
    r = run_connected(call, operation, err);
    operator_let_go(operation);
    return r;
}

void operator_let_go(struct operation *operation)
{
    if (operation->slot)
        mounts_let_go(operation->driver->mounts, operation->slot);
    operation->slot = NULL;
}

void operator_run(const struct operator_call *call, void *service,
                  const struct json_request *request, int64_t deadline, struct reply *reply)
{
    struct operation operation = {
        .driver = service, .request = request, .deadline = deadline, .reply = json_object()};
    const char *name = request->name ? request->name : "";
    struct error err = {0};
    int r = operation.reply ? run_held(call, &operation, &err)
                            : error_errno(&err, -ENOMEM, "cannot answer");

    if (r < 0) {
        json_decref(operation.reply);
        reply_fail(reply, call->name, name, &err);
        return;
    }
    if (call->doing)
        log_info("%s of volume '%s' is done", call->name, name);
    operator_add(operation.reply, "Err", json_string(""));
    reply_json(reply, operation.reply);
}

int operator_read_volume(const struct operation *operation, struct volume_facts *ret,
                         struct error *err)
{
    const char *name = operation->request->name;
    int r = volume_read(operation->cluster, name, operation->deadline, ret, err);

    return r == -ENOENT ? error_set(err, r, "no such volume: '%s'", name) : r;
}

void operator_add(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        log_error("an answer lacks \"%s\": out of memory", key);
}

void operator_add_text(json_t *object, const char *key, const char *text)
{
    if (text[0] != '\0')
        operator_add(object, key, reply_text(text));
}

void operator_add_time(json_t *object, const char *key, int64_t seconds)
{
    time_t when = (time_t)seconds;
    char text[32];
    struct tm tm;

    if (seconds > 0 && gmtime_r(&when, &tm) &&
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        operator_add_text(object, key, text);
}
