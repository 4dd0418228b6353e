/* SPDX-License-Identifier: Apache-2.0 */

/* Mounting and unmounting for real: needs root and loop devices, no Ceph. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/spawn.h"
#include "volume/filesystem.h"

#define MIB     (UINT64_C(1) << 20)
#define SIZE    (512 * MIB)
#define WAIT_MS 30000

/* <linux/fs.h> has these, and does not go together with <sys/mount.h>. */
#define FREEZE _IOWR('X', 119, int)
#define THAW   _IOWR('X', 120, int)

/* A test's directory, with an image in it, and what is made of them. */
static char dir[64];
static char image[96];
static char target[96];
static char device[64];

static int64_t soon(void)
{
    return deadline_in_ms(WAIT_MS);
}

static void nap(void)
{
    usleep(20000);
}

static void run(const char *const argv[], struct spawn_result *result)
{
    struct error err = {0};

    if (spawn_run(argv, NULL, -1, soon(), result, &err) < 0)
        fail_msg("%s", err.text);
    if (result->status != 0)
        fail_msg("%s ended with %d: %s", argv[0], result->status, result->output);
}

static void attach(const char *path, char *ret_device)
{
    const char *const argv[] = {"losetup", "-f", "--show", path, NULL};
    struct spawn_result result;

    run(argv, &result);
    assert_true(strlen(result.output) < sizeof(device));
    strcpy(ret_device, result.output);
}

static void detach(const char *path)
{
    const char *const argv[] = {"losetup", "-d", path, NULL};
    struct spawn_result result;

    run(argv, &result);
}

static void make_image(const char *path, enum filesystem fs)
{
    struct volume_options options;
    cleanup_close int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    struct error err = {0};

    volume_options_init(&options, SIZE, fs);
    options.uid = 70;
    options.gid = 71;
    options.mode = 01770;
    assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
    if (filesystem_format(&options, fd, soon(), &err) < 0)
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/var/tmp/docker-volume-rados-test.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(image, sizeof(image), "%s/image", dir);
    snprintf(target, sizeof(target), "%s/mount", dir);
    device[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    struct spawn_result result;
    const char *const argv[] = {"losetup", "-d", device, NULL};
    char inner[128];

    (void)state;
    snprintf(inner, sizeof(inner), "%s/inner", dir);
    umount2(inner, MNT_DETACH);
    rmdir(inner);
    while (umount2(target, MNT_DETACH) == 0)
        ;
    if (device[0])
        spawn_run(argv, NULL, -1, soon(), &result, NULL);
    unlink(image);
    rmdir(target);
    return rmdir(dir);
}

static void mount_it(enum filesystem fs, const char *options, int read_only)
{
    struct error err = {0};

    if (filesystem_mount(device, fs, options, read_only, target, soon(), &err) < 0)
        fail_msg("%s", err.text);
}

static void unmount_it(void)
{
    struct error err = {0};
    struct stat st;
    dev_t number;

    if (filesystem_unmount(target, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(filesystem_mounted(target, &number), -ENOENT);
    assert_int_equal(lstat(target, &st), -1);
}

static void assert_mount_fails(enum filesystem fs, int code, const char *words)
{
    struct error err = {0};
    struct stat st;
    int r = filesystem_mount(device, fs, "", 0, target, soon(), &err);

    if (r != code)
        fail_msg("%d, not %d: %s", r, code, err.text);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in: %s", words, err.text);
    assert_int_equal(lstat(target, &st), -1); /* no mount point left */
}

static void write_file(const char *name, const char *text)
{
    char path[160];
    struct error err = {0};

    snprintf(path, sizeof(path), "%s/%s", target, name);
    if (file_replace(path, text, strlen(text), &err) < 0)
        fail_msg("%s", err.text);
}

static void assert_file(const char *name, const char *expected)
{
    char path[160];
    cleanup_free char *text = NULL;
    struct error err = {0};
    size_t len;

    snprintf(path, sizeof(path), "%s/%s", target, name);
    if (file_read(path, 4096, &text, &len, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(text, expected);
}

/* The line of mountinfo for the target. */
static void assert_mountinfo(const char *words)
{
    cleanup_free char *text = NULL;
    char *line, *rest = NULL;
    size_t len;

    assert_int_equal(file_read("/proc/self/mountinfo", 1 << 20, &text, &len, NULL), 0);
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, target) && strstr(line, words))
            return;
    }
    fail_msg("'%s' is not in mountinfo", words);
}

static unsigned entries(const char *path)
{
    DIR *listing = opendir(path);
    unsigned count = 0;

    assert_non_null(listing);
    while (readdir(listing))
        count++;
    closedir(listing);
    return count - 2; /* . and .. */
}

/* One life of a volume. */
static void live(enum filesystem fs)
{
    struct stat st, device_st;
    uint64_t used, size;
    dev_t number;

    make_image(image, fs);
    attach(image, device);
    mount_it(fs, "noatime", 0);

    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_uid, 70);
    assert_int_equal(st.st_gid, 71);
    assert_int_equal(st.st_mode, S_IFDIR | 01770);
    assert_int_equal(entries(target), 0);
    assert_mountinfo(" rw,nodev,noatime ");
    assert_mountinfo("discard");

    assert_int_equal(stat(device, &device_st), 0);
    assert_int_equal(filesystem_mounted(target, &number), 0);
    assert_int_equal(number, device_st.st_rdev);
    assert_int_equal(filesystem_usage(target, &used, &size), 0);
    assert_in_range(size, SIZE * 3 / 4, SIZE);
    assert_in_range(used, 0, SIZE / 8);

    write_file("hello", "world");
    unmount_it();
    mount_it(fs, "", 0);
    assert_file("hello", "world");
    unmount_it();
}

static void test_live_ext4(void **state)
{
    (void)state;
    live(FILESYSTEM_EXT4);
}

static void test_live_xfs(void **state)
{
    (void)state;
    live(FILESYSTEM_XFS);
}

static void test_all_mount_options(void **state)
{
    (void)state;
    make_image(image, FILESYSTEM_EXT4);
    attach(image, device);
    mount_it(FILESYSTEM_EXT4,
             "strictatime,nodiratime,lazytime,nosuid,noexec,sync,dirsync,nodiscard,"
             "commit=7,data=journal,nodelalloc,stripe=1024",
             0);
    assert_mountinfo(" rw,nosuid,nodev,noexec,nodiratime ");
    assert_mountinfo("rw,sync,dirsync,lazytime,");
    assert_mountinfo("commit=7");
    assert_mountinfo("data=journal");
    unmount_it();
}

static void test_all_mount_options_xfs(void **state)
{
    (void)state;
    make_image(image, FILESYSTEM_XFS);
    attach(image, device);
    mount_it(FILESYSTEM_XFS,
             "dev,logbufs=8,logbsize=256k,allocsize=64m,inode64,largeio,wsync,nodiscard", 0);
    assert_mountinfo(" rw,relatime ");
    assert_mountinfo("wsync");
    assert_mountinfo("allocsize=65536k");
    assert_mountinfo("logbsize=256k");
    unmount_it();
}

static void test_read_only(void **state)
{
    char path[160];

    (void)state;
    make_image(image, FILESYSTEM_XFS);
    attach(image, device);
    mount_it(FILESYSTEM_XFS, "", 1);
    assert_mountinfo(" ro,nodev,relatime ");
    snprintf(path, sizeof(path), "%s/file", target);
    assert_int_equal(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), -1);
    assert_int_equal(errno, EROFS);
    unmount_it();
}

static void test_journal_is_replayed(void **state)
{
    static const enum filesystem all[] = {FILESYSTEM_EXT4, FILESYSTEM_XFS};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char crashed[128];
        const char *const copy[] = {"cp", "--sparse=always", image, crashed, NULL};
        struct spawn_result result;

        snprintf(crashed, sizeof(crashed), "%s/crashed", dir);
        make_image(image, all[i]);
        attach(image, device);
        mount_it(all[i], "", 0);
        write_file("hello", "world"); /* fsync inside: it is in the journal */
        run(copy, &result);           /* as the device is while it is mounted */
        unmount_it();
        detach(device);

        attach(crashed, device);
        mount_it(all[i], "", 0);
        assert_file("hello", "world");
        unmount_it();
        detach(device);
        device[0] = '\0';
        unlink(image);
        unlink(crashed);
    }
}

static void attach_read_only(const char *path, char *ret_device)
{
    const char *const argv[] = {"losetup", "-r", "-f", "--show", path, NULL};
    struct spawn_result result;

    run(argv, &result);
    assert_true(strlen(result.output) < sizeof(device));
    strcpy(ret_device, result.output);
}

/* An image of a file system in use, on a device that nobody can write. A frozen one has all in its
 * place; of another one the journal would have to be replayed, and what is in there does not show.
 */
static void as_is(enum filesystem fs, bool frozen)
{
    char copy[128];
    char path[160];
    const char *const argv[] = {"cp", "--sparse=always", image, copy, NULL};
    struct spawn_result result;
    struct error err = {0};
    struct stat before, after;
    int root;

    snprintf(copy, sizeof(copy), "%s/copy", dir);
    make_image(image, fs);
    attach(image, device);
    mount_it(fs, "", 0);
    write_file("hello", "world");
    root = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    if (frozen)
        assert_int_equal(ioctl(root, FREEZE, 0), 0);
    run(argv, &result);
    if (frozen)
        assert_int_equal(ioctl(root, THAW, 0), 0);
    close(root);
    unmount_it();
    detach(device);

    attach_read_only(copy, device);
    assert_int_equal(stat(copy, &before), 0);
    assert_int_equal(filesystem_wants_recovery(device, &err), fs == FILESYSTEM_EXT4 && !frozen);
    if (!frozen)
        assert_int_equal(filesystem_mount(device, fs, "", FILESYSTEM_READ, target, soon(), &err),
                         -EROFS);
    /* With all that contradicts leaving the journal alone. */
    mount_it(fs, fs == FILESYSTEM_EXT4 ? "commit=5,data=journal,noatime" : "noatime",
             FILESYSTEM_READ_AS_IS);
    assert_mountinfo(" ro,nodev,noatime ");
    assert_mountinfo("norecovery"); /* ext4 calls its "noload" so */
    snprintf(path, sizeof(path), "%s/file", target);
    assert_int_equal(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), -1);
    assert_int_equal(errno, EROFS);
    if (frozen)
        assert_file("hello", "world");
    unmount_it();
    detach(device);
    device[0] = '\0';
    assert_int_equal(stat(copy, &after), 0);
    assert_int_equal(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    unlink(copy);
    unlink(image);
}

static void test_as_is(void **state)
{
    (void)state;
    as_is(FILESYSTEM_EXT4, true);
    as_is(FILESYSTEM_EXT4, false);
    as_is(FILESYSTEM_XFS, true);
    as_is(FILESYSTEM_XFS, false);
}

static void test_busy(void **state)
{
    struct error err = {0};
    dev_t number;
    int fd;

    (void)state;
    make_image(image, FILESYSTEM_EXT4);
    attach(image, device);
    mount_it(FILESYSTEM_EXT4, "", 0);
    fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(filesystem_unmount(target, &err), -EBUSY);
    assert_non_null(strstr(err.text, "is in use"));
    assert_int_equal(filesystem_mounted(target, &number), 0);
    close(fd);
    unmount_it();
}

static void test_not_mounted(void **state)
{
    struct stat st;
    dev_t number;

    (void)state;
    assert_int_equal(filesystem_mounted(target, &number), -ENOENT);
    assert_int_equal(filesystem_unmount(target, NULL), 0); /* nothing there at all */
    assert_int_equal(filesystem_unmount("/nowhere/at/all", NULL), 0);
    assert_int_equal(mkdir(target, 0700), 0);
    assert_int_equal(filesystem_unmount(target, NULL), 0);
    assert_int_equal(lstat(target, &st), -1);
}

/* Files that came into the directory while nothing was mounted there are left alone. */
static void test_directory_in_use(void **state)
{
    char path[160];

    (void)state;
    assert_int_equal(mkdir(target, 0700), 0);
    write_file("stray", "1");
    assert_int_equal(filesystem_unmount(target, NULL), 0);
    assert_file("stray", "1");
    snprintf(path, sizeof(path), "%s/stray", target);
    unlink(path);
}

static void test_stacked(void **state)
{
    (void)state;
    make_image(image, FILESYSTEM_EXT4);
    attach(image, device);
    mount_it(FILESYSTEM_EXT4, "", 0);
    assert_int_equal(mount("tmpfs", target, "tmpfs", 0, NULL), 0);
    unmount_it();
}

static void test_busy_below_another(void **state)
{
    struct error err = {0};
    int fd;

    (void)state;
    make_image(image, FILESYSTEM_EXT4);
    attach(image, device);
    mount_it(FILESYSTEM_EXT4, "", 0);
    fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mount("tmpfs", target, "tmpfs", 0, NULL), 0);
    assert_int_equal(filesystem_unmount(target, &err), -EBUSY);
    close(fd);
    unmount_it();
}

static void test_never_mounts_on_a_mount(void **state)
{
    struct error err = {0};

    (void)state;
    make_image(image, FILESYSTEM_EXT4);
    attach(image, device);
    mount_it(FILESYSTEM_EXT4, "", 0);
    assert_int_equal(filesystem_mount(device, FILESYSTEM_EXT4, "", 0, target, soon(), &err),
                     -EBUSY);
    assert_non_null(strstr(err.text, "already mounted on"));
    assert_int_equal(umount2(target, 0), 0);  /* one was mounted, */
    assert_int_equal(umount2(target, 0), -1); /* not two */
}

static void test_target_with_symlink(void **state)
{
    char link[128], through[160];
    dev_t number;

    (void)state;
    snprintf(link, sizeof(link), "%s/inner", dir);
    snprintf(through, sizeof(through), "%s/mount", link);
    assert_int_equal(symlink(dir, link), 0);
    make_image(image, FILESYSTEM_EXT4);
    attach(image, device);
    mount_it(FILESYSTEM_EXT4, "", 0);
    assert_int_equal(filesystem_mounted(through, &number), 0);
    assert_int_equal(filesystem_unmount(through, NULL), 0);
    assert_int_equal(filesystem_mounted(target, &number), -ENOENT);
    unlink(link);
}

static void test_bad_targets(void **state)
{
    struct error err = {0};

    (void)state;
    make_image(image, FILESYSTEM_EXT4);
    attach(image, device);
    assert_int_equal(filesystem_mount(device, FILESYSTEM_EXT4, "", 0, image, soon(), &err),
                     -ENOTDIR);
    assert_int_equal(
        filesystem_mount(device, FILESYSTEM_EXT4, "", 0, "/nowhere/at/all", soon(), &err), -ENOENT);
    assert_non_null(strstr(err.text, "cannot make the mount point '/nowhere/at/all'"));
    assert_int_equal(filesystem_mount(device, FILESYSTEM_EXT4, "loop", 0, target, soon(), &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "mount option 'loop'"));
}

static void test_wrong_file_system(void **state)
{
    (void)state;
    make_image(image, FILESYSTEM_XFS);
    attach(image, device);
    assert_mount_fails(FILESYSTEM_EXT4, -EINVAL, "cannot mount ext4 from '/dev/loop");
}

static void test_no_such_device(void **state)
{
    (void)state;
    strcpy(device, "/dev/no-such-device");
    assert_mount_fails(FILESYSTEM_EXT4, -ENOENT, "cannot open '/dev/no-such-device'");
    device[0] = '\0';
}

/* Have debugfs do damage. */
static void damage(const char *command)
{
    const char *const argv[] = {"debugfs", "-w", "-R", command, image, NULL};
    struct spawn_result result;

    run(argv, &result);
}

static void test_error_flag_is_checked(void **state)
{
    uint8_t s_state = 0xff;
    int fd;

    (void)state;
    make_image(image, FILESYSTEM_EXT4);
    damage("ssv state 3"); /* valid, but an error was seen */
    attach(image, device);
    mount_it(FILESYSTEM_EXT4, "", 0);
    unmount_it();
    fd = open(image, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, &s_state, 1, 1024 + 58), 1);
    close(fd);
    assert_int_equal(s_state, 1); /* e2fsck has taken the flag away */
}

static void test_damage_that_needs_a_human(void **state)
{
    (void)state;
    make_image(image, FILESYSTEM_EXT4);
    damage("clri <2>"); /* no root directory */
    damage("ssv state 3");
    attach(image, device);
    assert_mount_fails(FILESYSTEM_EXT4, -EUCLEAN, "run 'e2fsck -f' on the device");
}

static void test_damage_the_kernel_sees(void **state)
{
    int fd;

    (void)state;
    make_image(image, FILESYSTEM_XFS);
    fd = open(image, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\xff\xff", 2, 120 - 12), 2); /* sb_fname: the checksum is wrong */
    close(fd);
    attach(image, device);
    assert_mount_fails(FILESYSTEM_XFS, -EUCLEAN, "run 'xfs_repair' on the device");
}

static bool is_free(const char *path)
{
    int fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC); /* a mounted device refuses this */

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* A device that stops answering in the middle of a mount: its image lies on a file system that is
 * frozen. The caller gets away in time, and when the device answers again, the mount that nobody
 * waits for any more does not appear. */
static void test_deadline(void **state)
{
    char inner[128], inner_image[160], inner_device[64];
    struct error err = {0};
    struct stat st;
    dev_t number;
    int fd, r;

    (void)state;
    snprintf(inner, sizeof(inner), "%s/inner", dir);
    snprintf(inner_image, sizeof(inner_image), "%s/image", inner);
    make_image(image, FILESYSTEM_EXT4);
    attach(image, device);
    assert_int_equal(filesystem_mount(device, FILESYSTEM_EXT4, "", 0, inner, soon(), NULL), 0);
    make_image(inner_image, FILESYSTEM_EXT4);
    attach(inner_image, inner_device);

    sync();
    fd = open(inner, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(ioctl(fd, FREEZE, 0), 0);
    r = filesystem_mount(inner_device, FILESYSTEM_EXT4, "", 0, target, deadline_in_ms(500), &err);
    assert_int_equal(ioctl(fd, THAW, 0), 0); /* before any assertion: others sync, too */
    close(fd);
    assert_int_equal(r, -ETIMEDOUT);
    assert_non_null(strstr(err.text, "did not end in time"));
    assert_int_equal(lstat(target, &st), -1);

    for (int64_t end = soon(); !is_free(inner_device) && clock_now() < end;)
        nap();
    assert_true(is_free(inner_device));
    assert_int_equal(filesystem_mounted(target, &number), -ENOENT);

    /* and a second try works */
    assert_int_equal(filesystem_mount(inner_device, FILESYSTEM_EXT4, "", 0, target, soon(), &err),
                     0);
    unmount_it();
    detach(inner_device);
    unlink(inner_image);
    assert_int_equal(filesystem_unmount(inner, NULL), 0);
}

#define on_device(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_device(test_live_ext4),
        on_device(test_live_xfs),
        on_device(test_all_mount_options),
        on_device(test_all_mount_options_xfs),
        on_device(test_read_only),
        on_device(test_journal_is_replayed),
        on_device(test_as_is),
        on_device(test_busy),
        on_device(test_not_mounted),
        on_device(test_directory_in_use),
        on_device(test_stacked),
        on_device(test_busy_below_another),
        on_device(test_never_mounts_on_a_mount),
        on_device(test_target_with_symlink),
        on_device(test_bad_targets),
        on_device(test_wrong_file_system),
        on_device(test_no_such_device),
        on_device(test_error_flag_is_checked),
        on_device(test_damage_that_needs_a_human),
        on_device(test_damage_the_kernel_sees),
        on_device(test_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
