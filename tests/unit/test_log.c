/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

/* What is printed comes back through a pipe in place of stderr. */
static int saved_stderr;
static int pipe_out;

static int setup(void **state)
{
    int ends[2];

    (void)state;
    saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(saved_stderr >= 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    pipe_out = ends[0];
    log_init("prog", LOG_LEVEL_INFO);
    log_set_place(NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(pipe_out);
    return 0;
}

static void assert_printed(const char *expected)
{
    static char text[8192];
    ssize_t len = read(pipe_out, text, sizeof(text) - 1);

    text[len > 0 ? len : 0] = '\0';
    assert_string_equal(text, expected);
}

static void test_levels(void **state)
{
    (void)state;
    log_debug("not shown");
    assert_printed("");
    log_info("shown: %d", 7);
    assert_printed("<6>prog: shown: 7\n");
    log_error("two\nlines");
    assert_printed("<3>prog: two lines\n");
}

static void test_host_and_volume(void **state)
{
    (void)state;
    log_set_place("host-a", NULL);
    log_warning("words");
    assert_printed("<4>prog host=host-a: words\n");
    log_set_place("host-a", "db");
    log_warning("words");
    assert_printed("<4>prog host=host-a volume=db: words\n");
}

static void print_about(const char *volume, const char *expected)
{
    LOG_VOLUME(volume);

    log_info("in");
    assert_printed(expected);
}

static void test_scopes(void **state)
{
    (void)state;
    {
        char name[] = "outer";
        LOG_VOLUME(name);

        memset(name, 'x', sizeof(name) - 1); /* it was copied */
        print_about("inner", "<6>prog volume=inner: in\n");
        print_about(NULL, "<6>prog volume=outer: in\n");
        print_about("", "<6>prog volume=outer: in\n");
        log_info("out");
        assert_printed("<6>prog volume=outer: out\n");
    }
    log_info("gone");
    assert_printed("<6>prog: gone\n");
}

static void *print(void *arg)
{
    (void)arg;
    log_info("elsewhere");
    return NULL;
}

static void test_scope_is_of_a_thread(void **state)
{
    pthread_t thread;
    LOG_VOLUME("mine");

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, print, NULL), 0);
    pthread_join(thread, NULL);
    assert_printed("<6>prog: elsewhere\n");
}

/* Neither a name nor words that are too long make more than one line, or lose the line. */
static void test_long(void **state)
{
    static char name[1000];
    static char words[4000];
    static char text[8192];
    ssize_t len;

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    memset(words, 'w', sizeof(words) - 1);
    LOG_VOLUME(name);
    log_set_place("host-a", NULL);
    log_info("%s", words);
    len = read(pipe_out, text, sizeof(text));
    assert_int_equal(len, 2048 - 1);
    assert_int_equal(text[len - 1], '\n');
    assert_true(memchr(text, 'w', (size_t)len) != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_host_and_volume, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scopes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scope_is_of_a_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
