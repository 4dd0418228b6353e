/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/json_request.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* jansson's tree needs some forty times the body's bytes, so it lives only as long as the decoding
 * and what the caller gets is copied. Its parser recurses: the depth is checked before it starts.
 */

static void decrefp(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json __attribute__((cleanup(decrefp)))

static bool is_blank(const char *body, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (body[i] == '\0' || !strchr(" \t\r\n", body[i]))
            return false;
    }
    return true;
}

static bool is_too_deep(const char *body, size_t len)
{
    unsigned depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = body[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_REQUEST_DEPTH_MAX)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

static const char *type_words(const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

static int take_text(const json_t *root, const char *key, char **ret, struct error *err)
{
    const json_t *json = json_object_get(root, key);

    if (!json)
        return 0;
    if (!json_is_string(json))
        return error_set(err, -EINVAL, "\"%s\" must be a string, not %s", key, type_words(json));
    if (json_string_length(json) > JSON_REQUEST_TEXT_MAX)
        return error_set(err, -EINVAL, "\"%s\" has %zu bytes; at most %d are allowed", key,
                         json_string_length(json), JSON_REQUEST_TEXT_MAX);
    *ret = strdup(json_string_value(json));
    return *ret ? 0 : error_errno(err, -ENOMEM, "cannot keep \"%s\"", key);
}

static int take_texts(const json_t *root, struct json_request *ret, struct error *err)
{
    const struct {
        const char *key;
        char **text;
    } members[] = {
        {"Name", &ret->name}, {"ID", &ret->id},     {"Snapshot", &ret->snapshot}, {"To", &ret->to},
        {"Size", &ret->size}, {"Host", &ret->host}, {"Label", &ret->label},
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(members) / sizeof(members[0]); i++)
        r = take_text(root, members[i].key, members[i].text, err);
    return r;
}

static int take_flag(const json_t *root, const char *key, bool *ret, struct error *err)
{
    const json_t *json = json_object_get(root, key);

    if (json && !json_is_boolean(json))
        return error_set(err, -EINVAL, "\"%s\" must be true or false, not %s", key,
                         type_words(json));
    *ret = json_is_true(json);
    return 0;
}

static int take_names(const json_t *root, struct json_request *ret, struct error *err)
{
    const json_t *names = json_object_get(root, "Names");

    if (!names)
        return 0;
    if (!json_is_array(names))
        return error_set(err, -EINVAL, "\"Names\" must be an array of strings, not %s",
                         type_words(names));
    if (json_array_size(names) > JSON_REQUEST_NAMES_MAX)
        return error_set(err, -EINVAL, "\"Names\" has %zu members; at most %d are allowed",
                         json_array_size(names), JSON_REQUEST_NAMES_MAX);
    ret->names = calloc(json_array_size(names) + 1, sizeof(*ret->names));
    for (size_t i = 0; ret->names && i < json_array_size(names); i++) {
        const json_t *name = json_array_get(names, i);

        if (!json_is_string(name) || json_string_length(name) > JSON_REQUEST_TEXT_MAX)
            return error_set(err, -EINVAL, "each of \"Names\" must be a volume's name, not %s",
                             json_is_string(name) ? "a text as long as this" : type_words(name));
        ret->names[i] = strdup(json_string_value(name));
        if (!ret->names[i])
            break;
        ret->name_count++;
    }
    if (!ret->names || ret->name_count < json_array_size(names))
        return error_errno(err, -ENOMEM, "cannot keep \"Names\"");
    return 0;
}

static int take_option(const char *key, const json_t *json, struct json_option *ret,
                       struct error *err)
{
    if (strlen(key) > JSON_REQUEST_KEY_MAX)
        return error_set(err, -EINVAL, "an option's name has %zu bytes; at most %d are allowed",
                         strlen(key), JSON_REQUEST_KEY_MAX);
    if (!json_is_string(json))
        return error_set(err, -EINVAL, "option '%s' must be a string, not %s", key,
                         type_words(json));
    if (json_string_length(json) > JSON_REQUEST_TEXT_MAX)
        return error_set(err, -EINVAL, "option '%s' has %zu bytes; at most %d are allowed", key,
                         json_string_length(json), JSON_REQUEST_TEXT_MAX);
    ret->key = strdup(key);
    ret->value = strdup(json_string_value(json));
    if (!ret->key || !ret->value)
        return error_errno(err, -ENOMEM, "cannot keep option '%s'", key);
    return 0;
}

static int take_options(json_t *root, struct json_request *ret, struct error *err)
{
    json_t *opts = json_object_get(root, "Opts");
    json_t *json;
    const char *key;

    if (!opts || json_is_null(opts))
        return 0;
    if (!json_is_object(opts))
        return error_set(err, -EINVAL, "\"Opts\" must be an object of strings, not %s",
                         type_words(opts));
    if (json_object_size(opts) > JSON_REQUEST_OPTS_MAX)
        return error_set(err, -EINVAL, "%zu options given; at most %d are allowed",
                         json_object_size(opts), JSON_REQUEST_OPTS_MAX);
    ret->opts = calloc(json_object_size(opts) + 1, sizeof(*ret->opts));
    if (!ret->opts)
        return error_errno(err, -ENOMEM, "cannot keep the options");
    json_object_foreach(opts, key, json)
    {
        int r = take_option(key, json, &ret->opts[ret->opt_count++], err);

        if (r < 0)
            return r;
    }
    return 0;
}

int json_request_decode(const char *body, size_t len, struct json_request *ret, struct error *err)
{
    cleanup_json json_t *root = NULL;
    cleanup_json_request struct json_request request = {0};
    json_error_t json_err;
    int r;

    *ret = (struct json_request){0};
    if (is_blank(body, len))
        return error_set(err, -ENODATA, "the request came without a body; nothing was done");
    if (is_too_deep(body, len))
        return error_set(err, -EINVAL, "the request's JSON is nested more than %d deep",
                         JSON_REQUEST_DEPTH_MAX);
    root = json_loadb(body, len, JSON_REJECT_DUPLICATES, &json_err);
    if (!root)
        return error_set(err, -EINVAL, "the request is not JSON: %s (line %d, column %d)",
                         json_err.text, json_err.line, json_err.column);
    if (!json_is_object(root))
        return error_set(err, -EINVAL, "the request must be a JSON object, not %s",
                         type_words(root));
    r = take_texts(root, &request, err);
    if (r == 0)
        r = take_names(root, &request, err);
    if (r == 0)
        r = take_flag(root, "Expired", &request.expired, err);
    if (r == 0)
        r = take_flag(root, "All", &request.all, err);
    if (r == 0)
        r = take_flag(root, "Used", &request.used, err);
    if (r == 0)
        r = take_options(root, &request, err);
    if (r < 0)
        return r;
    *ret = request;
    request = (struct json_request){0};
    return 0;
}

void json_request_free(struct json_request *request)
{
    free(request->name);
    free(request->id);
    free(request->snapshot);
    free(request->to);
    free(request->size);
    free(request->host);
    free(request->label);
    for (size_t i = 0; i < request->name_count; i++)
        free(request->names[i]);
    free(request->names);
    for (size_t i = 0; i < request->opt_count; i++) {
        free(request->opts[i].key);
        free(request->opts[i].value);
    }
    free(request->opts);
    *request = (struct json_request){0};
}
