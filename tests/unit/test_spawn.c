/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/spawn.h"

/* The shell is used here as a tool that can be told to misbehave; the product never does. */

enum { LONG_MS = 60000 };

static int run(const char *const argv[], struct spawn_result *ret)
{
    struct error err = {0};
    int r = spawn_run(argv, NULL, -1, deadline_in_ms(LONG_MS), ret, &err);

    if (r < 0)
        print_error("%s\n", err.text);
    return r;
}

static void assert_shell(const char *script, int status, const char *output)
{
    struct spawn_result result;

    assert_int_equal(run((const char *const[]){"sh", "-c", script, NULL}, &result), 0);
    assert_string_equal(result.output, output);
    assert_int_equal(result.status, status);
}

static void assert_no_children(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_status(void **state)
{
    struct spawn_result result;

    (void)state;
    assert_int_equal(run((const char *const[]){"true", NULL}, &result), 0);
    assert_int_equal(result.status, 0);
    assert_string_equal(result.output, "");
    assert_int_equal(run((const char *const[]){"false", NULL}, &result), 0);
    assert_int_equal(result.status, 1);
    assert_shell("exit 42", 42, "");
    assert_shell("kill -TERM $$", 128 + SIGTERM, "");
    assert_no_children();
}

static void test_output_is_one_line(void **state)
{
    (void)state;
    assert_shell("echo out; echo err >&2", 0, "out err");
    assert_shell("printf '\\n\\n  a\\t\\tb\\r\\n\\001\\033[1mc \\n\\n'", 0, "a b [1mc");
    assert_shell("printf 'caf\\303\\251 \"x\"'", 0, "caf \"x\"");
    assert_shell("printf '\\n \\n'", 0, "");
}

static void test_output_keeps_the_end(void **state)
{
    struct spawn_result result;

    (void)state;
    assert_int_equal(run((const char *const[]){"seq", "1", "200000", NULL}, &result), 0);
    assert_int_equal(result.status, 0);
    assert_int_equal(strlen(result.output), SPAWN_OUTPUT_MAX - 1 - 1); /* less the last newline */
    assert_string_equal(result.output + strlen(result.output) - 13, "199999 200000");

    assert_int_equal(
        run((const char *const[]){"head", "-c", "300000", "/dev/urandom", NULL}, &result), 0);
    assert_true(strlen(result.output) < SPAWN_OUTPUT_MAX);
    for (const char *c = result.output; *c; c++)
        assert_true(*c >= ' ' && *c <= '~');
}

static void test_input(void **state)
{
    cleanup_free char *large = malloc((1 << 20) + 1);
    struct spawn_result result;

    (void)state;
    assert_non_null(large);
    memset(large, 'x', 1 << 20);
    large[1 << 20] = '\0';
    assert_shell("readlink /proc/self/fd/0", 0, "/dev/null");
    assert_int_equal(spawn_run((const char *const[]){"cat", NULL}, "two\nlines", -1,
                               deadline_in_ms(LONG_MS), &result, NULL),
                     0);
    assert_string_equal(result.output, "two lines");
    assert_int_equal(spawn_run((const char *const[]){"wc", "-c", NULL}, large, -1,
                               deadline_in_ms(LONG_MS), &result, NULL),
                     0);
    assert_string_equal(result.output, "1048576");
    /* a tool that does not read its input is no problem either */
    assert_int_equal(spawn_run((const char *const[]){"true", NULL}, large, -1,
                               deadline_in_ms(LONG_MS), &result, NULL),
                     0);
    assert_int_equal(result.status, 0);
}

static void test_environment(void **state)
{
    struct spawn_result result;

    (void)state;
    assert_int_equal(setenv("SECRET", "x", 1), 0);
    assert_int_equal(run((const char *const[]){"env", NULL}, &result), 0);
    assert_string_equal(result.output, "PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C");
    unsetenv("SECRET");
}

/* Whatever number the descriptor has here, the tool finds it as 3; its own number is not there. */
static void test_pass_fd(void **state)
{
    static const int numbers[] = {3, 4, 5, 90};
    const char *path = scratch_path(state, "file");
    cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, "passed", 6), 6);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        cleanup_close int kept = fcntl(numbers[i], F_DUPFD_CLOEXEC, 100);
        struct spawn_result result;

        if (numbers[i] != fd)
            assert_int_equal(dup3(fd, numbers[i], O_CLOEXEC), numbers[i]);
        assert_int_equal(
            spawn_run(
                (const char *const[]){"sh", "-c", "cat /proc/self/fd/3; ls /proc/self/fd", NULL},
                NULL, numbers[i], deadline_in_ms(LONG_MS), &result, NULL),
            0);
        assert_string_equal(result.output, "passed0 1 2 3 4"); /* 4: what ls itself opened */
        assert_true(fcntl(numbers[i], F_GETFD) & FD_CLOEXEC);
        if (numbers[i] == fd)
            continue;
        if (kept >= 0)
            assert_int_equal(dup3(kept, numbers[i], O_CLOEXEC), numbers[i]);
        else
            close(numbers[i]);
    }
}

static void test_pass_fd_bad(void **state)
{
    struct spawn_result result;
    struct error err = {0};

    (void)state;
    assert_int_equal(spawn_run((const char *const[]){"true", NULL}, NULL, 999,
                               deadline_in_ms(LONG_MS), &result, &err),
                     -EBADF);
    assert_non_null(strstr(err.text, "'true'"));
    assert_no_children();
}

/* A library of ours may open descriptors without close-on-exec; tools do not get them. */
static void test_no_descriptor_leaks(void **state)
{
    unsigned before = scratch_entries("/proc/self/fd");
    cleanup_close int careless = open("/dev/null", O_RDONLY);
    struct spawn_result result;

    (void)state;
    assert_int_equal(dup2(careless, 57), 57);
    assert_int_equal(run((const char *const[]){"ls", "/proc/self/fd", NULL}, &result), 0);
    assert_string_equal(result.output, "0 1 2 3"); /* 3: what ls itself opened */
    close(57);
    close(steal_fd(&careless));
    assert_int_equal(scratch_entries("/proc/self/fd"), before);
}

/* A program may start with its standard descriptors closed. */
static void test_without_standard_descriptors(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        struct spawn_result result;

        for (int fd = 0; fd < 8; fd++)
            close(fd);
        if (spawn_run((const char *const[]){"sh", "-c", "cat; echo err >&2", NULL}, "in ", -1,
                      deadline_in_ms(LONG_MS), &result, NULL) < 0)
            _exit(1);
        _exit(result.status != 0 || strcmp(result.output, "in err") != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_signals_are_default(void **state)
{
    const char *const argv[] = {"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", NULL};
    unsigned long blocked, ignored;
    struct spawn_result result;
    sigset_t set, old;

    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, &old), 0);
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    assert_int_equal(run(argv, &result), 0);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &old, NULL);

    assert_int_equal(sscanf(result.output, "SigBlk: %lx SigIgn: %lx", &blocked, &ignored), 2);
    assert_int_equal(blocked, 0);
    assert_int_equal(ignored & 0x7fffffff, 0); /* the two above belong to the C library */
}

static void test_not_installed(void **state)
{
    struct spawn_result result;
    struct error err = {0};

    (void)state;
    assert_int_equal(spawn_run((const char *const[]){"no-such-tool", NULL}, NULL, -1,
                               deadline_in_ms(LONG_MS), &result, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "'no-such-tool' is not installed"));
    err.text[0] = '\0';
    assert_int_equal(spawn_check("no-such-tool", &err), -ENOENT);
    assert_non_null(strstr(err.text, "'no-such-tool' is not installed"));
    assert_int_equal(spawn_check("sh", &err), 0);
}

/* PATH is not asked: only the system's own directories are. */
static void test_path_does_not_matter(void **state)
{
    const char *path = scratch_path(state, "own-tool");
    cleanup_free char *old = strdup(getenv("PATH") ? getenv("PATH") : "");
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);

    assert_true(fd >= 0);
    assert_int_equal(setenv("PATH", *state, 1), 0);
    assert_int_equal(spawn_check("own-tool", NULL), -ENOENT);
    assert_int_equal(spawn_check("sh", NULL), 0);
    assert_int_equal(setenv("PATH", old, 1), 0);
}

/* The process is gone, or will be as soon as its new parent has looked. */
static void assert_gone(pid_t pid)
{
    int64_t deadline = deadline_in_ms(LONG_MS);
    char path[64], text[512];

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    for (;;) {
        cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

        text[len > 0 ? len : 0] = '\0';
        if (len <= 0 || strstr(text, ") Z "))
            return;
        assert_true(deadline_left_ms(deadline) > 0);
        poll(NULL, 0, 10);
    }
}

static void test_deadline(void **state)
{
    const char *const argv[] = {"sh", "-c", "echo pid $$; exec sleep 1000", NULL};
    unsigned before = scratch_entries("/proc/self/fd");
    struct spawn_result result;
    struct error err = {0};
    int pid;

    (void)state;
    assert_int_equal(spawn_run(argv, NULL, -1, deadline_in_ms(1000), &result, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "'sh'"));
    assert_int_equal(sscanf(result.output, "pid %d", &pid), 1);
    assert_int_equal(kill(pid, 0), -1); /* reaped, not only dead */
    assert_int_equal(errno, ESRCH);
    assert_no_children();
    assert_int_equal(scratch_entries("/proc/self/fd"), before);
}

static void test_deadline_kills_grandchildren(void **state)
{
    const char *const argv[] = {"sh", "-c", "sleep 1000 & echo pid $!; trap '' TERM; wait", NULL};
    struct spawn_result result;
    int pid;

    (void)state;
    assert_int_equal(spawn_run(argv, NULL, -1, deadline_in_ms(1000), &result, NULL), -ETIMEDOUT);
    assert_int_equal(sscanf(result.output, "pid %d", &pid), 1);
    assert_gone(pid);
    assert_no_children();
}

static void test_deadline_already_passed(void **state)
{
    struct spawn_result result;

    (void)state;
    assert_int_equal(spawn_run((const char *const[]){"sleep", "1000", NULL}, NULL, -1,
                               clock_now() - 1, &result, NULL),
                     -ETIMEDOUT);
    assert_no_children();
}

/* A tool that floods its output for ever is stopped by the deadline all the same. */
static void test_deadline_in_a_flood(void **state)
{
    struct spawn_result result;

    (void)state;
    assert_int_equal(
        spawn_run((const char *const[]){"yes", NULL}, NULL, -1, deadline_in_ms(300), &result, NULL),
        -ETIMEDOUT);
    assert_no_children();
}

/* What a tool leaves running in the background may keep the pipe; we end with the tool. */
static void test_background_keeps_pipe(void **state)
{
    const char *const argv[] = {"sh", "-c", "sleep 1000 & echo pid $!; exit 3", NULL};
    struct spawn_result result;
    int pid;

    (void)state;
    assert_int_equal(run(argv, &result), 0);
    assert_int_equal(result.status, 3);
    assert_int_equal(sscanf(result.output, "pid %d", &pid), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
}

static void *run_often(void *arg)
{
    const char *own = arg;
    intptr_t failures = 0;

    for (int i = 0; i < 15; i++) {
        struct spawn_result result;
        int r = spawn_run((const char *const[]){"cat", NULL}, own, -1, deadline_in_ms(LONG_MS),
                          &result, NULL);

        failures += r < 0 || result.status != 0 || strcmp(result.output, own) != 0;
    }
    return (void *)failures;
}

static void test_threads(void **state)
{
    static char inputs[4][16] = {"one", "two", "three", "four"};
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_often, inputs[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *failures;

        assert_int_equal(pthread_join(threads[i], &failures), 0);
        assert_null(failures);
    }
    assert_no_children();
}

#define scratch_test(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_output_is_one_line),
        cmocka_unit_test(test_output_keeps_the_end),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_environment),
        scratch_test(test_pass_fd),
        cmocka_unit_test(test_pass_fd_bad),
        cmocka_unit_test(test_no_descriptor_leaks),
        cmocka_unit_test(test_without_standard_descriptors),
        cmocka_unit_test(test_signals_are_default),
        cmocka_unit_test(test_not_installed),
        scratch_test(test_path_does_not_matter),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_kills_grandchildren),
        cmocka_unit_test(test_deadline_already_passed),
        cmocka_unit_test(test_deadline_in_a_flood),
        cmocka_unit_test(test_background_keeps_pipe),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
