/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugin/server/process_usage.h"

/* Of Linux 6.1. */
static const char stat_text[] =
    "4242 (radosvol-blockd) S 1 4242 4242 0 -1 4194560 2155 0 12 0 34 21 0 0 20 0 27 0 8812345 "
    "1234567168 6543 18446744073709551615 94558214225920 94558214301357 140722913412016 0 0 0 0 "
    "4096 81922 0 0 0 17 1 0 0 0 0 0 94558214325936 94558214329560 94558238126080 140722913419183 "
    "140722913419500 140722913419500 140722913419500 0\n";

static void test_decode(void **state)
{
    uint64_t ticks;
    uint64_t pages;

    (void)state;
    assert_int_equal(process_stat_decode(stat_text, &ticks, &pages), 0);
    assert_int_equal(ticks, 8812345);
    assert_int_equal(pages, 6543);
}

/* A process may choose its name. */
static void test_decode_names(void **state)
{
    static const char tail[] =
        " S 1 4242 4242 0 -1 4194560 2155 0 12 0 34 21 0 0 20 0 27 0 77 1234567168 88 1 2";
    static const char *const names[] = {"()", "(a b)", "(1) S 1 2 3 (x)", "(\n)", "() S )"};
    uint64_t ticks;
    uint64_t pages;
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        strcpy(text, "1 ");
        strcat(text, names[i]);
        strcat(text, tail);
        assert_int_equal(process_stat_decode(text, &ticks, &pages), 0);
        assert_int_equal(ticks, 77);
        assert_int_equal(pages, 88);
    }
}

static void test_decode_nonsense(void **state)
{
    static const char *const bad[] = {
        "",
        "4242",
        "4242 (x",
        "4242 (x)",
        "4242 (x) S 1 2 3",
        "4242 (x) S 1 4242 4242 0 -1 4194560 2155 0 12 0 34 21 0 0 20 0 27 0 77 1234567168"};
    uint64_t ticks = 1;
    uint64_t pages = 2;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(process_stat_decode(bad[i], &ticks, &pages), -EBADMSG);
    assert_int_equal(ticks, 1);
    assert_int_equal(pages, 2);
}

static void test_this_process(void **state)
{
    struct process_usage before;
    struct process_usage after;
    double now = (double)time(NULL);
    int fd;

    (void)state;
    assert_int_equal(process_usage_read(getpid(), &before), 0);
    assert_true(before.resident_bytes > 64 * 1024);
    assert_true(before.started > now - 86400 && before.started < now + 2);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(process_usage_read(getpid(), &after), 0);
    assert_int_equal(after.open_fds, before.open_fds + 1);
    close(fd);
}

static void test_no_process(void **state)
{
    struct process_usage usage;
    pid_t pid = fork();

    (void)state;
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(process_usage_read(pid, &usage) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),          cmocka_unit_test(test_decode_names),
        cmocka_unit_test(test_decode_nonsense), cmocka_unit_test(test_this_process),
        cmocka_unit_test(test_no_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
