/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "volume/options.h"

void reply_free(struct reply *reply)
{
    free(reply->body);
    free(reply->undo_arg);
    *reply = (struct reply){0};
}

void reply_undo(struct reply *reply)
{
    if (reply->undo)
        reply->undo(reply->undo_arg);
    reply->undo = NULL;
}

void reply_json(struct reply *reply, json_t *json)
{
    free(reply->body);
    reply->body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
}

void reply_err(struct reply *reply, const char *words)
{
    json_t *json = json_object();

    if (json && json_object_set_new(json, "Err", reply_text(words)) < 0) {
        json_decref(json);
        json = NULL;
    }
    reply_json(reply, json);
}

void reply_fail(struct reply *reply, const char *call, const char *volume, struct error *err)
{
    char quoted[VOLUME_NAME_MAX + 2];
    size_t len;

    snprintf(quoted, sizeof(quoted), "'%s'", volume);
    if (volume[0] != '\0' && !strstr(err->text, quoted))
        error_wrap(err, "volume %s", quoted);
    len = strlen(err->text);
    if (err->code == -ETIMEDOUT && !strstr(err->text, "ceph -s"))
        snprintf(err->text + len, sizeof(err->text) - len, "; see \"ceph -s\"");
    log_error("%s: %s", call, err->text);
    reply_err(reply, err->text);
}

void reply_drop(struct reply *reply)
{
    free(reply->body);
    reply->body = NULL;
    reply->drop = true;
}

json_t *reply_text(const char *text)
{
    json_t *json = json_string(text);
    cleanup_free char *clean = NULL;

    if (json)
        return json;
    clean = strdup(text);
    if (!clean)
        return NULL;
    for (char *at = clean; *at; at++) {
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    }
    return json_string(clean);
}
