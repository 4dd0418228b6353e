/* SPDX-License-Identifier: Apache-2.0 */

/* The client against a supervisor's end of the socket that the test plays itself. */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "plugin/server/supervisor_client.h"

static const char *const args[] = {"--image", "10a2", NULL};

struct link {
    int theirs;
    int ours;
    struct supervisor_client *client;
};

static int open_link(void **state)
{
    struct link *link = calloc(1, sizeof(*link));
    int ends[2];

    if (!link || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    link->theirs = ends[0];
    link->ours = ends[1];
    *state = link;
    return supervisor_client_open(link->ours, &link->client, NULL);
}

static int close_link(void **state)
{
    struct link *link = *state;

    supervisor_client_free(link->client);
    if (link->theirs >= 0)
        close(link->theirs);
    close(link->ours);
    free(link);
    return 0;
}

static void answer(const struct link *link, int result, const char *text)
{
    struct supervisor_reply reply = {.version = SUPERVISOR_VERSION, .result = result};

    snprintf(reply.text, sizeof(reply.text), "%s", text);
    assert_int_equal(send(link->theirs, &reply, sizeof(reply), 0), sizeof(reply));
}

static void take_request(const struct link *link, struct supervisor_request *ret)
{
    char packet[sizeof(*ret) + 1];
    ssize_t len = recv(link->theirs, packet, sizeof(packet), MSG_DONTWAIT);

    assert_true(len > 0);
    assert_int_equal(supervisor_request_check(packet, (size_t)len, ret), 0);
}

static void start_kill_list(void **state)
{
    struct link *link = *state;
    struct supervisor_request request;
    struct error err = {0};
    struct {
        struct supervisor_reply head;
        char ids[2][SUPERVISOR_ID_MAX];
    } list = {.head = {.version = SUPERVISOR_VERSION, .count = 2}, .ids = {"aa", "bb"}};
    char(*ids)[SUPERVISOR_ID_MAX];
    size_t count;

    answer(link, 0, "");
    assert_int_equal(supervisor_start(link->client, "10a2", args, deadline_in_ms(5000), &err), 0);
    take_request(link, &request);
    assert_int_equal(request.op, SUPERVISOR_START);
    assert_string_equal(request.id, "10a2");
    assert_int_equal(request.args_len, 13);
    assert_memory_equal(request.args,
                        "--image\0"
                        "10a2",
                        13);

    answer(link, 0, "");
    assert_int_equal(supervisor_kill(link->client, "10a2", deadline_in_ms(5000), &err), 0);
    take_request(link, &request);
    assert_int_equal(request.op, SUPERVISOR_KILL);

    assert_int_equal(send(link->theirs, &list, sizeof(list), 0), sizeof(list));
    assert_int_equal(supervisor_list(link->client, deadline_in_ms(5000), &ids, &count, &err), 0);
    take_request(link, &request);
    assert_int_equal(request.op, SUPERVISOR_LIST);
    assert_int_equal(count, 2);
    assert_string_equal(ids[1], "bb");
    free(ids);
}

static void refusal_keeps_code_and_words(void **state)
{
    struct link *link = *state;
    struct error err = {0};

    answer(link, -EEXIST, "there is one");
    assert_int_equal(supervisor_start(link->client, "10a2", args, deadline_in_ms(5000), &err),
                     -EEXIST);
    assert_string_equal(err.text, "there is one");
}

static void counts(void **state)
{
    const struct supervisor_counts sent = {
        .version = SUPERVISOR_VERSION, .server_restarts = 1, .blockd_restarts = 2};
    struct link *link = *state;
    struct supervisor_counts got;
    struct error err = {0};

    assert_int_equal(send(link->theirs, &sent, sizeof(sent), 0), sizeof(sent));
    assert_int_equal(supervisor_count(link->client, deadline_in_ms(5000), &got, &err), 0);
    assert_memory_equal(&got, &sent, sizeof(got));

    /* An old supervisor; then one that answers too late, and then a call of another kind. */
    answer(link, -EBADMSG, "malformed request");
    assert_int_equal(supervisor_count(link->client, deadline_in_ms(5000), &got, &err), -EOPNOTSUPP);
    assert_int_equal(supervisor_count(link->client, deadline_in_ms(10), &got, &err), -ETIMEDOUT);
    assert_int_equal(send(link->theirs, &sent, sizeof(sent), 0), sizeof(sent));
    answer(link, 0, "");
    assert_int_equal(supervisor_kill(link->client, "10a2", deadline_in_ms(5000), &err), 0);
}

static void late_reply_is_not_taken_for_the_next(void **state)
{
    struct link *link = *state;
    struct error err = {0};

    assert_int_equal(supervisor_start(link->client, "10a2", args, deadline_in_ms(10), &err),
                     -ETIMEDOUT);
    assert_int_equal(supervisor_kill(link->client, "10a2", deadline_in_ms(10), &err), -ETIMEDOUT);
    answer(link, -EEXIST, "late");
    answer(link, 0, "");
    assert_int_equal(supervisor_kill(link->client, "10a2", deadline_in_ms(5000), &err), 0);
}

static void garbage_is_refused(void **state)
{
    struct link *link = *state;
    struct error err = {0};

    assert_int_equal(send(link->theirs, "what", 4, 0), 4);
    assert_int_equal(supervisor_kill(link->client, "10a2", deadline_in_ms(5000), &err), -EBADMSG);
    answer(link, 0, "");
    assert_int_equal(supervisor_kill(link->client, "10a2", deadline_in_ms(5000), &err), 0);
}

static void supervisor_gone(void **state)
{
    struct link *link = *state;
    struct error err = {0};

    close(link->theirs);
    link->theirs = -1;
    assert_int_equal(supervisor_kill(link->client, "10a2", deadline_in_ms(5000), &err),
                     -ECONNRESET);
    assert_string_equal(err.text, "the supervisor is gone");
}

static void bad_input_is_not_sent(void **state)
{
    struct link *link = *state;
    struct error err = {0};
    char long_arg[SUPERVISOR_ARGS_MAX + 1];
    const char *const too_long[] = {long_arg, NULL};
    const char *too_many[SUPERVISOR_ARG_COUNT_MAX + 2];
    char byte;

    memset(long_arg, 'x', sizeof(long_arg) - 1);
    long_arg[sizeof(long_arg) - 1] = '\0';
    for (size_t i = 0; i <= SUPERVISOR_ARG_COUNT_MAX; i++)
        too_many[i] = "";
    too_many[SUPERVISOR_ARG_COUNT_MAX + 1] = NULL;
    assert_int_equal(supervisor_kill(link->client, "../x", deadline_in_ms(5000), &err), -EINVAL);
    assert_non_null(strstr(err.text, "../x"));
    assert_int_equal(supervisor_start(link->client, "a", too_long, deadline_in_ms(5000), &err),
                     -E2BIG);
    assert_int_equal(supervisor_start(link->client, "a", too_many, deadline_in_ms(5000), &err),
                     -E2BIG);
    assert_int_equal(recv(link->theirs, &byte, 1, MSG_DONTWAIT), -1);
}

#define THREADS 8
#define ROUNDS  50

/* Answers a request for image "N" with -N in words, so that a mixed-up reply shows. */
static void *echo(void *arg)
{
    const struct link *link = arg;
    struct supervisor_request request;

    for (int i = 0; i < THREADS * ROUNDS; i++) {
        struct supervisor_reply reply = {.version = SUPERVISOR_VERSION, .result = -1};

        if (recv(link->theirs, &request, sizeof(request), 0) != sizeof(request))
            return NULL;
        snprintf(reply.text, sizeof(reply.text), "%s", request.id);
        if (send(link->theirs, &reply, sizeof(reply), 0) != sizeof(reply))
            return NULL;
    }
    return NULL;
}

struct caller {
    struct supervisor_client *client;
    int number;
    int good;
};

static void *call_often(void *arg)
{
    struct caller *caller = arg;
    char id[16];

    snprintf(id, sizeof(id), "%d", caller->number);
    for (int i = 0; i < ROUNDS; i++) {
        struct error err = {0};
        int rc = supervisor_kill(caller->client, id, deadline_in_ms(30000), &err);

        caller->good += rc == -1 && strcmp(err.text, id) == 0;
    }
    return NULL;
}

static void many_threads(void **state)
{
    struct link *link = *state;
    struct caller callers[THREADS];
    pthread_t threads[THREADS];
    pthread_t supervisor;

    assert_int_equal(pthread_create(&supervisor, NULL, echo, link), 0);
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.client = link->client, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(supervisor, NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(callers[i].good, ROUNDS);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_link, close_link)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(start_kill_list),
        TEST(refusal_keeps_code_and_words),
        TEST(counts),
        TEST(late_reply_is_not_taken_for_the_next),
        TEST(garbage_is_refused),
        TEST(supervisor_gone),
        TEST(bad_input_is_not_sent),
        TEST(many_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
