/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/supervisor_protocol.h"

static struct supervisor_request start_request(void)
{
    struct supervisor_request request = {.version = SUPERVISOR_VERSION, .op = SUPERVISOR_START};

    memcpy(request.id, "10a2f0", 7);
    memcpy(request.args,
           "--image\0"
           "10a2f0",
           15);
    request.args_len = 15;
    return request;
}

static int check(const struct supervisor_request *request)
{
    struct supervisor_request ret;

    return supervisor_request_check(request, sizeof(*request), &ret);
}

static void requests_that_pass(void **state)
{
    struct supervisor_request request = start_request();
    struct supervisor_request ret;
    unsigned char packet[sizeof(request) + 1];

    (void)state;
    /* A packet need not be aligned. */
    memcpy(packet + 1, &request, sizeof(request));
    assert_int_equal(supervisor_request_check(packet + 1, sizeof(request), &ret), 0);
    assert_memory_equal(&ret, &request, sizeof(ret));

    request.op = SUPERVISOR_KILL;
    request.args_len = 0;
    assert_int_equal(check(&request), 0);

    memset(request.id, 0, sizeof(request.id));
    request.op = SUPERVISOR_LIST;
    assert_int_equal(check(&request), 0);
}

static void sizes_and_versions(void **state)
{
    struct supervisor_request request = start_request();
    struct supervisor_request ret;

    (void)state;
    assert_int_equal(supervisor_request_check(&request, 0, &ret), -EBADMSG);
    assert_int_equal(supervisor_request_check(&request, sizeof(request) - 1, &ret), -EBADMSG);
    request.version = SUPERVISOR_VERSION + 1;
    assert_int_equal(check(&request), -EBADMSG);
    request = start_request();
    request.op = 0;
    assert_int_equal(check(&request), -EBADMSG);
    request.op = SUPERVISOR_COUNT + 1;
    assert_int_equal(check(&request), -EBADMSG);
}

static void ids(void **state)
{
    static const char *const bad[] = {"", "A", "a/b", "..", "a b", "a\n", "a.b", "\xc3\xa4", "-"};
    struct supervisor_request request = start_request();

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memset(request.id, 0, sizeof(request.id));
        memcpy(request.id, bad[i], strlen(bad[i]));
        assert_int_equal(check(&request), -EBADMSG);
    }
    memset(request.id, 'z', sizeof(request.id));
    assert_int_equal(check(&request), -EBADMSG);
    request.id[sizeof(request.id) - 1] = '\0';
    assert_int_equal(check(&request), 0);
}

static void arguments(void **state)
{
    struct supervisor_request request = start_request();

    (void)state;
    request.args_len = 14; /* no NUL at the end */
    assert_int_equal(check(&request), -EBADMSG);
    request.args_len = 0;
    assert_int_equal(check(&request), -EBADMSG);
    request.args_len = sizeof(request.args) + 1;
    assert_int_equal(check(&request), -EBADMSG);
    request.args_len = UINT32_MAX;
    assert_int_equal(check(&request), -EBADMSG);
    memset(request.args, 0, sizeof(request.args));
    request.args_len = SUPERVISOR_ARG_COUNT_MAX;
    assert_int_equal(check(&request), 0);
    request.args_len = SUPERVISOR_ARG_COUNT_MAX + 1;
    assert_int_equal(check(&request), -EBADMSG);
    memset(request.args, 'x', sizeof(request.args));
    request.args[sizeof(request.args) - 1] = '\0';
    request.args_len = sizeof(request.args);
    assert_int_equal(check(&request), 0);
}

static void only_start_has_arguments(void **state)
{
    struct supervisor_request request = start_request();

    (void)state;
    request.op = SUPERVISOR_KILL;
    assert_int_equal(check(&request), -EBADMSG);
    request.op = SUPERVISOR_LIST;
    request.args_len = 0;
    assert_int_equal(check(&request), -EBADMSG); /* and LIST no id */
}

static void failure_leaves_the_result_alone(void **state)
{
    struct supervisor_request request = start_request();
    struct supervisor_request ret = {.op = 77};

    (void)state;
    request.args_len = 0;
    assert_int_equal(supervisor_request_check(&request, sizeof(request), &ret), -EBADMSG);
    assert_int_equal(ret.op, 77);
}

static void replies(void **state)
{
    _Alignas(struct supervisor_reply) char
        space[sizeof(struct supervisor_reply) + 2 * SUPERVISOR_ID_MAX] = {0};
    struct supervisor_reply *reply = (struct supervisor_reply *)space;

    (void)state;
    reply->version = SUPERVISOR_VERSION;
    assert_int_equal(supervisor_reply_check(space, sizeof(*reply)), 0);
    reply->count = 2;
    memcpy(reply->ids[0], "a", 2);
    memcpy(reply->ids[1], "b", 2);
    assert_int_equal(supervisor_reply_check(space, sizeof(space)), 0);
    assert_int_equal(supervisor_reply_check(space, sizeof(space) - 1), -EBADMSG);
    assert_int_equal(supervisor_reply_check(space, sizeof(*reply)), -EBADMSG);
    reply->ids[1][0] = '/';
    assert_int_equal(supervisor_reply_check(space, sizeof(space)), -EBADMSG);
    memcpy(reply->ids[1], "b", 2);
    reply->count = UINT32_MAX;
    assert_int_equal(supervisor_reply_check(space, sizeof(space)), -EBADMSG);
    reply->count = 0;
    reply->result = 1;
    assert_int_equal(supervisor_reply_check(space, sizeof(*reply)), -EBADMSG);
    reply->result = -EEXIST;
    assert_int_equal(supervisor_reply_check(space, sizeof(*reply)), 0);
    assert_int_equal(supervisor_reply_check(space, sizeof(*reply) - 1), -EBADMSG);
    assert_int_equal(supervisor_reply_check(space, 0), -EBADMSG);
    reply->version++;
    assert_int_equal(supervisor_reply_check(space, sizeof(*reply)), -EBADMSG);
    reply->version--;
    memset(reply->text, 'x', sizeof(reply->text));
    assert_int_equal(supervisor_reply_check(space, sizeof(*reply)), -EBADMSG);
}

static void counts(void **state)
{
    const struct supervisor_counts good = {
        .version = SUPERVISOR_VERSION, .server_restarts = 1, .blockd_restarts = 2, .blockds = 3};
    struct supervisor_counts edited = good;
    struct supervisor_counts got = {0};

    (void)state;
    assert_int_equal(supervisor_counts_check(&good, sizeof(good) - 1, &got), -EBADMSG);
    assert_int_equal(supervisor_counts_check(&good, 0, &got), -EBADMSG);
    edited.version++;
    assert_int_equal(supervisor_counts_check(&edited, sizeof(edited), &got), -EBADMSG);
    edited = good;
    edited.blockds = SUPERVISOR_BLOCKDS_MAX + 1;
    assert_int_equal(supervisor_counts_check(&edited, sizeof(edited), &got), -EBADMSG);
    assert_int_equal(got.version, 0);
    assert_int_equal(supervisor_counts_check(&good, sizeof(good), &got), 0);
    assert_memory_equal(&got, &good, sizeof(got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_pass),
        cmocka_unit_test(sizes_and_versions),
        cmocka_unit_test(ids),
        cmocka_unit_test(arguments),
        cmocka_unit_test(only_start_has_arguments),
        cmocka_unit_test(failure_leaves_the_result_alone),
        cmocka_unit_test(replies),
        cmocka_unit_test(counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
