/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/thread.h"
#include "volume/filesystem.h"
#include "volume/superblock.h"

/* Mounting, within a deadline.
 *
 * Reading the device and creating the file system's superblock (which replays its journal) wait for
 * the cluster, in the kernel and beyond the reach of signals. So a thread does that part, and the
 * caller waits for it no longer than the deadline:
 *
 *   state       who moves it on                               then
 *   working     the thread, when the device has answered      attaching: move_mount under the lock
 *               the caller, at its deadline                   abandoned: -ETIMEDOUT to the caller
 *   attached    -                                             0 to the caller
 *   failed      -                                             the error to the caller
 *   abandoned   the thread, whenever the device answers       the mount, attached nowhere,
 * dissolves
 *
 * fsmount(2) gives a mount that is nowhere in the file tree until move_mount(2) puts it there. So
 * an abandoned one can never turn up at TARGET later, on top of what a second try mounted there. */

enum mount_state { WORKING, ATTACHED, FAILED, ABANDONED };

struct mount_job {
    /* these never change */
    char device[PATH_MAX];
    char target[PATH_MAX];
    enum filesystem fs;
    unsigned long flags; /* MS_* */
    char data[MOUNT_OPTIONS_MAX];
    int64_t deadline;

    pthread_mutex_t lock; /* the rest */
    pthread_cond_t changed;
    enum mount_state state;
    unsigned users; /* the caller and the thread: the last one frees */
    int result;
    struct error err; /* the thread's own until it leaves WORKING */
};

static int read_superblock(const char *device, uint8_t superblock[4096], struct error *err)
{
    cleanup_close int fd = open(device, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return error_errno(err, -errno, "cannot open '%s'", device);
    do
        n = pread(fd, superblock, 4096, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_errno(err, -errno, "cannot read '%s'", device);
    return n == 4096 ? 0 : error_set(err, -EIO, "'%s' is shorter than a superblock", device);
}

/* e2fsck's status is a set of bits: 1 corrected, 2 corrected and a running system should reboot
 * (meant for a mounted root), 4 left as it was, 8 and more: it could not work. */
static int check_ext4(const char *device, int64_t deadline, struct error *err)
{
    const char *const argv[] = {"e2fsck", "-p", device, NULL};
    struct spawn_result result;
    int r = spawn_run(argv, NULL, -1, deadline, &result, err);

    if (r < 0)
        return error_wrap(err, "the ext4 file system needs a check");
    log_debug("e2fsck -p %s: status %d: %s", device, result.status, result.output);
    if (result.status < 4)
        return 0;
    return error_set(err, -EUCLEAN,
                     "the ext4 file system is damaged and 'e2fsck -p' cannot repair it alone "
                     "(status %d: %s): map the image with 'rbd device map', run 'e2fsck -f' on the "
                     "device, then try again",
                     result.status, result.output);
}

/* What the kernel says about a failed fsconfig(2), without its level in front; "" for nothing. */
static void kernel_words(int context, char *text, size_t size)
{
    ssize_t n = read(context, text, size - 1);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (n > 2 && text[1] == ' ')
        memmove(text, text + 2, strlen(text + 2) + 1);
}

static int mount_failed(const struct mount_job *job, int context, int code, struct error *err)
{
    const char *fs = filesystem_name(job->fs);
    char words[256];
    const char *next;

    kernel_words(context, words, sizeof(words));
    switch (-code) {
    case EUCLEAN:
    case EBADMSG: /* a checksum; xfs's EFSBADCRC */
        code = -EUCLEAN;
        next = job->fs == FILESYSTEM_EXT4
                   ? "it is damaged: map the image with 'rbd device map', run 'e2fsck -f' on the "
                     "device, then try again"
                   : "it is damaged: map the image with 'rbd device map', run 'xfs_repair' on the "
                     "device, then try again";
        break;
    case EINVAL:
        next = "the kernel refuses it: no such file system there, larger than the device, an "
               "option or feature this kernel lacks, or (xfs) one with the same UUID is mounted; "
               "see dmesg";
        break;
    case EBUSY:
        next = "the device is already mounted or in use";
        break;
    case EROFS:
    case EACCES:
        next = "the device is read-only, and the journal may have to be replayed";
        break;
    case ENODEV:
        next = "this kernel has no such file system: load its module with modprobe";
        break;
    case EIO:
        next = "the device fails: look at the cluster's health and at dmesg";
        break;
    default:
        next = error_words(code);
        break;
    }
    return error_set(err, code, "cannot mount %s from '%s': %s%s%s%s", fs, job->device, next,
                     *words ? " (kernel: " : "", words, *words ? ")" : "");
}

/* Hand one word of mount data, "key" or "key=value", to the file system. */
static int set_word(int context, char *word)
{
    char *value = strchr(word, '=');

    if (value)
        *value++ = '\0';
    return fsconfig(context, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, word, value, 0);
}

/* 0, or -1 with errno and the kernel's words in CONTEXT. */
static int configure(int context, const struct mount_job *job)
{
    static const struct {
        unsigned long flag;
        const char *word;
    } words[] = {{MS_RDONLY, "ro"},
                 {MS_SYNCHRONOUS, "sync"},
                 {MS_DIRSYNC, "dirsync"},
                 {MS_LAZYTIME, "lazytime"}};
    char data[MOUNT_OPTIONS_MAX];
    char *rest = NULL;
    int r = fsconfig(context, FSCONFIG_SET_STRING, "source", job->device, 0);

    for (size_t i = 0; r == 0 && i < sizeof(words) / sizeof(words[0]); i++) {
        if (job->flags & words[i].flag)
            r = fsconfig(context, FSCONFIG_SET_FLAG, words[i].word, NULL, 0);
    }
    memcpy(data, job->data, sizeof(data));
    for (char *word = strtok_r(data, ",", &rest); r == 0 && word; word = strtok_r(NULL, ",", &rest))
        r = set_word(context, word);
    return r == 0 ? fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) : r;
}

static unsigned mount_attributes(unsigned long flags)
{
    static const struct {
        unsigned long flag;
        unsigned attribute;
    } pairs[] = {{MS_RDONLY, MOUNT_ATTR_RDONLY},
                 {MS_NOSUID, MOUNT_ATTR_NOSUID},
                 {MS_NODEV, MOUNT_ATTR_NODEV},
                 {MS_NOEXEC, MOUNT_ATTR_NOEXEC},
                 {MS_NOATIME, MOUNT_ATTR_NOATIME},
                 {MS_NODIRATIME, MOUNT_ATTR_NODIRATIME},
                 {MS_STRICTATIME, MOUNT_ATTR_STRICTATIME},
                 {MS_RELATIME, MOUNT_ATTR_RELATIME}};
    unsigned attributes = 0;

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (flags & pairs[i].flag)
            attributes |= pairs[i].attribute;
    }
    return attributes;
}

/* Make the mount, not yet attached anywhere. 0 with its descriptor. */
static int make_mount(const struct mount_job *job, int *ret_mount, struct error *err)
{
    cleanup_close int context = fsopen(filesystem_name(job->fs), FSOPEN_CLOEXEC);
    int mount_fd;

    if (context < 0)
        return mount_failed(job, -1, -errno, err);
    if (configure(context, job) < 0)
        return mount_failed(job, context, -errno, err);
    mount_fd = fsmount(context, FSMOUNT_CLOEXEC, mount_attributes(job->flags));
    if (mount_fd < 0)
        return mount_failed(job, context, -errno, err);
    *ret_mount = mount_fd;
    return 0;
}

static int check_and_make_mount(struct mount_job *job, int *ret_mount)
{
    uint8_t superblock[4096];
    int r = read_superblock(job->device, superblock, &job->err);

    if (r == 0 && job->fs == FILESYSTEM_EXT4 && !(job->flags & MS_RDONLY) &&
        superblock_wants_check(superblock))
        r = check_ext4(job->device, job->deadline, &job->err);
    return r < 0 ? r : make_mount(job, ret_mount, &job->err);
}

static void job_leave(struct mount_job *job)
{
    unsigned left;

    pthread_mutex_lock(&job->lock);
    left = --job->users;
    pthread_mutex_unlock(&job->lock);
    if (left > 0)
        return;
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

static void job_end(struct mount_job *job, enum mount_state state, int result)
{
    job->state = state;
    job->result = result;
    pthread_cond_signal(&job->changed);
}

/* Attach the mount, unless the caller has gone. Its descriptor makes the mount busy, so it is
 * closed before the caller is told; when the mount is attached nowhere, closing it unmounts, which
 * again may have to wait for the device and so is not done under the lock. */
static int attach_mount(struct mount_job *job, int mount_fd)
{
    int r = -ECANCELED;

    pthread_mutex_lock(&job->lock);
    if (job->state == WORKING)
        r = move_mount(mount_fd, "", AT_FDCWD, job->target, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno
                                                                                         : 0;
    if (r == 0) {
        close(mount_fd);
        job_end(job, ATTACHED, 0);
    }
    pthread_mutex_unlock(&job->lock);
    if (r < 0) {
        close(mount_fd);
        error_errno(&job->err, r, "cannot mount on '%s'", job->target);
    }
    return r;
}

static void *mount_thread(void *arg)
{
    struct mount_job *job = arg;
    int mount_fd = -1;
    int r = check_and_make_mount(job, &mount_fd);

    if (r == 0)
        r = attach_mount(job, mount_fd);
    pthread_mutex_lock(&job->lock);
    if (job->state == WORKING)
        job_end(job, FAILED, r);
    pthread_mutex_unlock(&job->lock);
    job_leave(job);
    return NULL;
}

static int start_thread(struct mount_job *job)
{
    pthread_t thread;
    int r = thread_start(&thread, mount_thread, job);

    if (r == 0)
        pthread_detach(thread);
    return r;
}

/* Wait for the thread up to the deadline; the job is not the caller's any more afterwards. */
static int finish_job(struct mount_job *job, struct error *err)
{
    struct timespec until = deadline_timespec(job->deadline);
    int r = 0;

    pthread_mutex_lock(&job->lock);
    while (job->state == WORKING && r == 0)
        r = pthread_cond_timedwait(&job->changed, &job->lock, &until);
    if (job->state == WORKING) {
        job->state = ABANDONED;
        r = error_set(err, -ETIMEDOUT,
                      "mounting %s from '%s' did not end in time: does the cluster answer?",
                      filesystem_name(job->fs), job->device);
    } else {
        r = job->result;
        if (r < 0 && err)
            *err = job->err;
    }
    pthread_mutex_unlock(&job->lock);
    job_leave(job);
    return r;
}

static struct mount_job *job_new(const char *device, const char *target)
{
    struct mount_job *job = calloc(1, sizeof(*job));

    assert(strlen(device) < sizeof(job->device) && strlen(target) < sizeof(job->target));
    if (!job)
        return NULL;
    memcpy(job->device, device, strlen(device) + 1);
    memcpy(job->target, target, strlen(target) + 1);
    job->state = WORKING;
    job->users = 2;
    pthread_mutex_init(&job->lock, NULL);
    clock_init_cond(&job->changed);
    return job;
}

/* The directory to mount on: made when missing (*ret_made), and nothing mounted there. */
static int prepare_target(const char *target, bool *ret_made, struct error *err)
{
    struct stat st;
    dev_t device;

    *ret_made = mkdir(target, 0755) == 0;
    if (!*ret_made && errno != EEXIST)
        return error_errno(err, -errno, "cannot make the mount point '%s'", target);
    if (filesystem_mounted(target, &device) == 0)
        return error_set(err, -EBUSY, "something is already mounted on '%s'", target);
    if (lstat(target, &st) < 0)
        return error_errno(err, -errno, "cannot look at the mount point '%s'", target);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, -ENOTDIR, "the mount point '%s' is not a directory", target);
    return 0;
}

static int run_job(struct mount_job *job, struct error *err)
{
    int r = start_thread(job);

    if (r == 0)
        return finish_job(job, err);
    job->users = 1; /* there is no thread */
    job_leave(job);
    return error_errno(err, r, "cannot start a thread to mount with");
}

int filesystem_wants_recovery(const char *device, struct error *err)
{
    uint8_t superblock[4096];
    int r = read_superblock(device, superblock, err);

    return r < 0 ? r : superblock_wants_recovery(superblock);
}

int filesystem_mount(const char *device, enum filesystem fs, const char *mount_options,
                     enum filesystem_mode mode, const char *target, int64_t deadline,
                     struct error *err)
{
    char data[MOUNT_OPTIONS_MAX];
    struct mount_job *job;
    unsigned long flags;
    bool made;
    int r = mount_options_parse(fs, mount_options, &flags, data, err);

    if (r < 0)
        return r;
    if (mode == FILESYSTEM_READ_AS_IS)
        mount_options_leave_journal(fs, data);
    r = prepare_target(target, &made, err);
    if (r < 0)
        return r;
    job = job_new(device, target);
    if (!job) {
        r = error_errno(err, -ENOMEM, "cannot mount '%s'", device);
    } else {
        job->fs = fs;
        job->flags = flags | (mode == FILESYSTEM_WRITE ? 0UL : MS_RDONLY);
        job->deadline = deadline;
        memcpy(job->data, data, sizeof(data));
        r = run_job(job, err);
    }
    if (r < 0 && made)
        rmdir(target);
    return r;
}
