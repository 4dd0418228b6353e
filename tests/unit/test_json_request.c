/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/server/json_request.h"

static void refuse(const char *body, int code, const char *words)
{
    struct json_request request;
    struct error err = {0};

    assert_int_equal(json_request_decode(body, strlen(body), &request, &err), code);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
    assert_null(request.name);
    assert_null(request.id);
    assert_null(request.snapshot);
    assert_null(request.names);
    assert_int_equal(request.name_count, 0);
    assert_null(request.opts);
    assert_int_equal(request.opt_count, 0);
}

static void decode(const char *body, struct json_request *ret)
{
    struct error err = {0};

    if (json_request_decode(body, strlen(body), ret, &err) != 0)
        fail_msg("%s: %s", body, err.text);
}

static void create_with_options(void **state)
{
    cleanup_json_request struct json_request request;

    (void)state;
    decode("{\"Name\":\"db\",\"Opts\":{\"size\":\"10G\",\"fs\":\"xfs\"}}", &request);
    assert_string_equal(request.name, "db");
    assert_null(request.id);
    assert_int_equal(request.opt_count, 2);
    assert_string_equal(request.opts[0].key, "size");
    assert_string_equal(request.opts[0].value, "10G");
    assert_string_equal(request.opts[1].key, "fs");
    assert_string_equal(request.opts[1].value, "xfs");
}

static void mount_with_id(void **state)
{
    cleanup_json_request struct json_request request;

    (void)state;
    decode(" {\"Name\":\"db\",\"ID\":\"0123\"}\n", &request);
    assert_string_equal(request.name, "db");
    assert_string_equal(request.id, "0123");
    assert_int_equal(request.opt_count, 0);
}

static void an_operators_members(void **state)
{
    cleanup_json_request struct json_request request;

    (void)state;
    decode("{\"Name\":\"db\",\"Snapshot\":\"monday\",\"To\":\"db2\",\"Size\":\"20G\",\"Host\":"
           "\"host-b\","
           "\"Label\":\"app=web\",\"Names\":[\"a\",\"b\"]}",
           &request);
    assert_string_equal(request.snapshot, "monday");
    assert_string_equal(request.to, "db2");
    assert_string_equal(request.size, "20G");
    assert_string_equal(request.host, "host-b");
    assert_string_equal(request.label, "app=web");
    assert_int_equal(request.name_count, 2);
    assert_string_equal(request.names[0], "a");
    assert_string_equal(request.names[1], "b");
}

static void an_operators_members_of_the_wrong_type(void **state)
{
    (void)state;
    refuse("{\"Snapshot\":7}", -EINVAL, "\"Snapshot\" must be a string, not a number");
    refuse("{\"Size\":10}", -EINVAL, "\"Size\" must be a string, not a number");
    refuse("{\"All\":\"yes\"}", -EINVAL, "\"All\" must be true or false, not a string");
    refuse("{\"Used\":\"yes\"}", -EINVAL, "\"Used\" must be true or false, not a string");
    refuse("{\"Expired\":1}", -EINVAL, "\"Expired\" must be true or false, not a number");
    refuse("{\"Names\":\"a\"}", -EINVAL, "\"Names\" must be an array of strings, not a string");
    refuse("{\"Names\":null}", -EINVAL, "\"Names\" must be an array of strings, not null");
    refuse("{\"Names\":[\"a\",7]}", -EINVAL, "each of \"Names\"");
    refuse("{\"Names\":[\"a\",[\"b\"]]}", -EINVAL, "not an array");
}

static void too_many_names(void **state)
{
    char body[8192] = "{\"Names\":[\"a\"";

    (void)state;
    for (int i = 0; i < JSON_REQUEST_NAMES_MAX; i++)
        strcat(body, ",\"a\"");
    strcat(body, "]}");
    refuse(body, -EINVAL, "257 members; at most 256");
}

static void null_options_and_unknown_keys(void **state)
{
    cleanup_json_request struct json_request request;

    (void)state;
    decode("{\"Opts\":null,\"Name\":\"db\",\"Future\":{\"a\":[1,2.5,true,null]}}", &request);
    assert_string_equal(request.name, "db");
    assert_int_equal(request.opt_count, 0);
}

static void empty_object(void **state)
{
    cleanup_json_request struct json_request request;

    (void)state;
    decode("{}", &request);
    assert_null(request.name);
}

static void empty_body(void **state)
{
    (void)state;
    refuse("", -ENODATA, "without a body");
    refuse(" \r\n\t", -ENODATA, "without a body");
}

static void a_nul_is_a_body(void **state)
{
    struct json_request request;
    struct error err;

    (void)state;
    assert_int_equal(json_request_decode("\0", 1, &request, &err), -EINVAL);
}

static void malformed(void **state)
{
    (void)state;
    refuse("{", -EINVAL, "not JSON");
    refuse("{\"Name\":\"a\"} x", -EINVAL, "not JSON");
    refuse("\xff\xfe", -EINVAL, "not JSON");
    refuse("{\"Name\":\"\xc3\x28\"}", -EINVAL, "not JSON");
    refuse("{\"Name\":\"a\\u0000b\"}", -EINVAL, "not JSON");
    refuse("{\"Name\":\"a\",\"Name\":\"b\"}", -EINVAL, "duplicate");
    refuse("[\"Name\"]", -EINVAL, "an array");
    refuse("\"Name\"", -EINVAL, "not JSON");
    refuse("null", -EINVAL, "not JSON");
}

static void nul_byte_in_body(void **state)
{
    static const char body[] = "{\"Name\":\"a\"}\0x";
    struct json_request request;
    struct error err = {0};

    (void)state;
    assert_int_equal(json_request_decode(body, sizeof(body) - 1, &request, &err), -EINVAL);
}

static void wrong_types(void **state)
{
    (void)state;
    refuse("{\"Name\":7}", -EINVAL, "\"Name\" must be a string, not a number");
    refuse("{\"Name\":null}", -EINVAL, "\"Name\" must be a string, not null");
    refuse("{\"Name\":\"a\",\"ID\":[]}", -EINVAL, "\"ID\" must be a string, not an array");
    refuse("{\"Name\":\"a\",\"Opts\":[]}", -EINVAL, "\"Opts\" must be an object");
    refuse("{\"Name\":\"a\",\"Opts\":{\"size\":10}}", -EINVAL, "option 'size' must be a string");
    refuse("{\"Name\":\"a\",\"Opts\":{\"size\":\"1\",\"fs\":true}}", -EINVAL, "a boolean");
}

static void nesting(void **state)
{
    cleanup_json_request struct json_request request;
    char deep[8192];

    (void)state;
    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    refuse(deep, -EINVAL, "nested");
    decode("{\"Name\":\"[[[[[[[[[[[[\\\"[[[[\"}", &request);
    assert_string_equal(request.name, "[[[[[[[[[[[[\"[[[[");
}

static void long_text(void **state)
{
    char body[JSON_REQUEST_TEXT_MAX + 64];
    char name[JSON_REQUEST_TEXT_MAX + 2];

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(body, sizeof(body), "{\"Name\":\"%s\"}", name);
    refuse(body, -EINVAL, "\"Name\" has 4097 bytes");
    snprintf(body, sizeof(body), "{\"Opts\":{\"size\":\"%s\"}}", name);
    refuse(body, -EINVAL, "option 'size' has 4097 bytes");
    name[JSON_REQUEST_KEY_MAX + 1] = '\0';
    snprintf(body, sizeof(body), "{\"Opts\":{\"%s\":\"1\"}}", name);
    refuse(body, -EINVAL, "an option's name has 257 bytes");
}

static void too_many_options(void **state)
{
    char body[16 * 1024] = "{\"Name\":\"a\",\"Opts\":{\"x\":\"\"";
    size_t used = strlen(body);

    (void)state;
    for (unsigned i = 0; i < JSON_REQUEST_OPTS_MAX; i++)
        used += (size_t)snprintf(body + used, sizeof(body) - used, ",\"%u\":\"\"", i);
    snprintf(body + used, sizeof(body) - used, "}}");
    refuse(body, -EINVAL, "257 options given");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_with_options),
        cmocka_unit_test(mount_with_id),
        cmocka_unit_test(an_operators_members),
        cmocka_unit_test(an_operators_members_of_the_wrong_type),
        cmocka_unit_test(too_many_names),
        cmocka_unit_test(null_options_and_unknown_keys),
        cmocka_unit_test(empty_object),
        cmocka_unit_test(empty_body),
        cmocka_unit_test(a_nul_is_a_body),
        cmocka_unit_test(malformed),
        cmocka_unit_test(nul_byte_in_body),
        cmocka_unit_test(wrong_types),
        cmocka_unit_test(nesting),
        cmocka_unit_test(long_text),
        cmocka_unit_test(too_many_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
