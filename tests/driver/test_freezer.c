/* SPDX-License-Identifier: Apache-2.0 */

/* Freezing a mounted file system, and what ends the freeze when its makers die: needs root and loop
 * devices, no Ceph. Everything that might hang on a frozen file system is a child, and the teardown
 * thaws by force. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/spawn.h"
#include "block/freezer.h"

#define WAIT_MS 30000

/* <linux/fs.h> has these, and does not go together with <sys/mount.h>. */
#define FREEZE _IOWR('X', 119, int)
#define THAW   _IOWR('X', 120, int)

/* A supervisor that keeps one descriptor. */
struct shelf {
    struct fd_keeper keeper; /* first, so that one is the other */
    int fd;
};

static int shelf_store(struct fd_keeper *keeper, const char *name, int fd)
{
    struct shelf *shelf = (struct shelf *)keeper;

    assert_string_equal(name, FREEZER_KEPT_NAME);
    if (shelf->fd >= 0)
        close(shelf->fd);
    shelf->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 100);
    return 0;
}

static int shelf_fetch(struct fd_keeper *keeper, const char *name)
{
    struct shelf *shelf = (struct shelf *)keeper;

    assert_string_equal(name, FREEZER_KEPT_NAME);
    return shelf->fd < 0 ? -1 : fcntl(shelf->fd, F_DUPFD_CLOEXEC, 0);
}

static char dir[64];
static char target[96];
static char device[64];
static char program[256];
static struct shelf shelf;

static int64_t soon(void)
{
    return deadline_in_ms(WAIT_MS);
}

static void run(const char *const argv[], struct spawn_result *result)
{
    struct error err = {0};

    if (spawn_run(argv, NULL, -1, soon(), result, &err) < 0)
        fail_msg("%s", err.text);
    if (result->status != 0)
        fail_msg("%s ended with %d: %s", argv[0], result->status, result->output);
}

static void mount_it(const char *fs)
{
    char image[96];
    const char *const mkfs[] = {strcmp(fs, "xfs") == 0 ? "mkfs.xfs" : "mkfs.ext4",
                                strcmp(fs, "xfs") == 0 ? "-f" : "-F", image, NULL};
    const char *const losetup[] = {"losetup", "-f", "--show", image, NULL};
    struct spawn_result result;
    int fd;

    snprintf(image, sizeof(image), "%s/image", dir);
    fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 512 << 20), 0);
    close(fd);
    run(mkfs, &result);
    run(losetup, &result);
    snprintf(device, sizeof(device), "%.*s", (int)sizeof(device) - 1, result.output);
    assert_int_equal(mount(device, target, fs, 0, NULL), 0);
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/var/tmp/docker-volume-rados-test.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(target, sizeof(target), "%s/mount", dir);
    device[0] = '\0';
    shelf = (struct shelf){.keeper = {.store = shelf_store, .fetch = shelf_fetch}, .fd = -1};
    return mkdir(target, 0700);
}

static int teardown(void **state)
{
    const char *const argv[] = {"losetup", "-d", device, NULL};
    struct spawn_result result;
    char image[96];
    int fd = open(target, O_RDONLY | O_CLOEXEC);

    (void)state;
    if (fd >= 0)
        ioctl(fd, THAW, 0);
    close(fd);
    shelf_store(&shelf.keeper, FREEZER_KEPT_NAME, -1);
    umount2(target, MNT_DETACH);
    if (device[0])
        spawn_run(argv, NULL, -1, soon(), &result, NULL);
    snprintf(image, sizeof(image), "%s/image", dir);
    unlink(image);
    rmdir(target);
    return rmdir(dir);
}

static struct freezer *open_freezer(void)
{
    struct freezer *freezer;

    assert_int_equal(freezer_open(program, device, &shelf.keeper, &freezer), 0);
    return freezer;
}

/* A child that writes a file; it waits while the file system is frozen. */
static pid_t start_writer(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        char path[128];
        int fd;

        snprintf(path, sizeof(path), "%s/file", target);
        fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
        _exit(fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0 ? 0 : 1);
    }
    return pid;
}

/* Has the writer ended well by the deadline? */
static bool has_written(pid_t pid, int64_t deadline)
{
    int status;

    do {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
            return true;
        }
        usleep(5000);
    } while (deadline_left_ms(deadline) > 0);
    return false;
}

static bool can_be_unmounted(void)
{
    int64_t patience = soon();

    while (umount2(target, UMOUNT_NOFOLLOW) < 0) {
        if (deadline_left_ms(patience) == 0)
            return false;
        usleep(5000);
    }
    return true;
}

static void freezes_and_thaws(const char *fs)
{
    struct freezer *freezer;
    struct error err = {0};
    pid_t writer;

    mount_it(fs);
    freezer = open_freezer();
    for (int i = 0; i < 3; i++) {
        if (freezer_freeze(freezer, soon(), &err) < 0)
            fail_msg("%s", err.text);
        assert_true(shelf.fd >= 0);
        writer = start_writer();
        assert_false(has_written(writer, deadline_in_ms(300)));
        assert_int_equal(freezer_thaw(freezer), 0);
        assert_true(has_written(writer, soon()));
        assert_int_equal(shelf.fd, -1);
        assert_int_equal(freezer_thaw(freezer), 0); /* once more does nothing */
    }
    freezer_close(freezer);
    assert_true(can_be_unmounted());
}

static void test_ext4(void **state)
{
    (void)state;
    freezes_and_thaws("ext4");
}

static void test_xfs(void **state)
{
    (void)state;
    freezes_and_thaws("xfs");
}

static void test_not_mounted(void **state)
{
    struct freezer *freezer;
    struct error err = {0};

    (void)state;
    mount_it("ext4");
    assert_true(can_be_unmounted());
    freezer = open_freezer();
    assert_int_equal(freezer_freeze(freezer, soon(), &err), 0);
    assert_int_equal(freezer_thaw(freezer), 0);
    freezer_close(freezer);
}

static void test_frozen_by_somebody_else(void **state)
{
    struct freezer *freezer;
    struct error err = {0};
    int fd;

    (void)state;
    mount_it("ext4");
    fd = open(target, O_RDONLY | O_CLOEXEC);
    assert_int_equal(ioctl(fd, FREEZE, 0), 0);
    freezer = open_freezer();
    assert_int_equal(freezer_freeze(freezer, soon(), &err), -EBUSY);
    assert_non_null(strstr(err.text, "somebody else"));
    assert_int_equal(freezer_thaw(freezer), 0);
    assert_int_equal(ioctl(fd, THAW, 0), 0); /* it is theirs still */
    assert_int_equal(freezer_freeze(freezer, soon(), &err), 0);
    assert_int_equal(ioctl(fd, THAW, 0), 0); /* somebody meddles */
    assert_int_equal(freezer_thaw(freezer), -ETIMEDOUT);
    close(fd);
    freezer_close(freezer);
}

/* The pid of the radosvol-freeze that works on our device. */
static pid_t find_program(void)
{
    char pattern[128];
    const char *const argv[] = {"pgrep", "-f", pattern, NULL};
    struct spawn_result result;

    snprintf(pattern, sizeof(pattern), "radosvol-freeze %s$", device);
    run(argv, &result);
    return atoi(result.output);
}

static void test_its_program_is_killed(void **state)
{
    struct freezer *freezer;
    struct error err = {0};
    pid_t writer, pid;

    (void)state;
    mount_it("ext4");
    freezer = open_freezer();
    assert_int_equal(freezer_freeze(freezer, soon(), &err), 0);
    pid = find_program();
    kill(pid, SIGTERM); /* it has work to do */
    writer = start_writer();
    assert_false(has_written(writer, deadline_in_ms(300)));
    kill(pid, SIGKILL);
    assert_false(has_written(writer, deadline_in_ms(300)));
    assert_int_equal(freezer_thaw(freezer), 0); /* it held, and we ended it */
    assert_true(has_written(writer, soon()));
    assert_int_equal(freezer_freeze(freezer, soon(), &err), 0);
    assert_int_equal(freezer_thaw(freezer), 0);
    freezer_close(freezer);
}

/* A child in the place of the blockd: freezes, then waits to be killed. */
static pid_t start_blockd(bool kill_program)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct freezer *freezer;

        if (freezer_open(program, device, &shelf.keeper, &freezer) < 0 ||
            freezer_freeze(freezer, soon(), NULL) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    if (kill_program)
        kill(find_program(), SIGKILL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return pid;
}

static void test_the_blockd_is_killed(void **state)
{
    (void)state;
    mount_it("ext4");
    start_blockd(false);
    assert_true(has_written(start_writer(), soon()));
    assert_true(can_be_unmounted());
}

static void test_both_are_killed(void **state)
{
    pid_t writer;

    (void)state;
    mount_it("ext4");
    start_blockd(true);
    writer = start_writer();
    assert_false(has_written(writer, deadline_in_ms(500)));
    /* the supervisor still has the descriptor */
    shelf.fd = open(target, O_RDONLY | O_CLOEXEC);
    freezer_close(open_freezer());
    assert_true(has_written(writer, soon()));
    assert_int_equal(shelf.fd, -1);
}

static void test_it_ends_by_itself(void **state)
{
    struct freezer *freezer;
    struct error err = {0};
    pid_t writer;

    (void)state;
    mount_it("ext4");
    freezer = open_freezer();
    assert_int_equal(freezer_freeze(freezer, soon(), &err), 0);
    writer = start_writer();
    assert_true(has_written(writer, deadline_in_ms(FREEZE_LIFE_MS + WAIT_MS)));
    assert_int_equal(freezer_thaw(freezer), -ETIMEDOUT);
    freezer_close(freezer);
    assert_true(can_be_unmounted());
}

/* radosvol-freeze lies beside the directory of this program: build/tests/driver/test_freezer. */
static void find_freeze_program(void)
{
    char path[200];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

    assert_true(len > 0);
    path[len] = '\0';
    for (int i = 0; i < 3; i++)
        *strrchr(path, '/') = '\0';
    snprintf(program, sizeof(program), "%s/radosvol-freeze", path);
    assert_int_equal(access(program, X_OK), 0);
}

int main(void)
{
#define FREEZER_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        FREEZER_TEST(test_ext4),
        FREEZER_TEST(test_xfs),
        FREEZER_TEST(test_not_mounted),
        FREEZER_TEST(test_frozen_by_somebody_else),
        FREEZER_TEST(test_its_program_is_killed),
        FREEZER_TEST(test_the_blockd_is_killed),
        FREEZER_TEST(test_both_are_killed),
        FREEZER_TEST(test_it_ends_by_itself),
    };

    find_freeze_program();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
