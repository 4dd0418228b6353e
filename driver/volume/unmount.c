/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "volume/filesystem.h"
#include "volume/mountinfo.h"

#define MOUNTINFO_MAX (64UL << 20) /* bytes; some 100,000 mounts take half of it */
#define STACKED_MAX   16

/* A snapshot that is being taken holds the mount for a moment (block/freezer.h), and so does who
 * just looks at it. */
#define BUSY_MS  3000
#define PAUSE_MS 20

/* TARGET without symbolic links in its parents, as mountinfo has it. TARGET itself is not looked
 * at: what is mounted there may not answer. */
static int canonical_target(const char *target, char ret[PATH_MAX])
{
    const char *slash = strrchr(target, '/');
    char parent[PATH_MAX];
    cleanup_free char *real = NULL;

    assert(target[0] == '/' && slash[1]);
    snprintf(parent, sizeof(parent), "%.*s", slash == target ? 1 : (int)(slash - target), target);
    real = realpath(parent, NULL);
    if (!real)
        return -errno;
    if (snprintf(ret, PATH_MAX, "%s%s", strcmp(real, "/") == 0 ? "" : real, slash) >= PATH_MAX)
        return -ENAMETOOLONG;
    return 0;
}

int filesystem_mounted(const char *target, dev_t *ret_device)
{
    cleanup_free char *text = NULL;
    char path[PATH_MAX];
    size_t len;
    int r = canonical_target(target, path);

    if (r == 0)
        r = file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len, NULL);
    return r < 0 ? r : mountinfo_find(text, path, ret_device);
}

/* Unmount what is on TARGET, and what is below that: a mount may have been stacked on another.
 * 0 when the kernel says that nothing is mounted there any more. */
static int unmount_all(const char *target)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * NS_PER_MS};
    const int64_t patience = deadline_in_ms(BUSY_MS);

    for (int i = 0; i < STACKED_MAX;) {
        if (umount2(target, UMOUNT_NOFOLLOW) == 0)
            i++;
        else if (errno == EBUSY && deadline_left_ms(patience) > 0)
            nanosleep(&pause, NULL);
        else
            return errno == EINVAL || errno == ENOENT ? 0 : -errno;
    }
    return -EBUSY;
}

int filesystem_leave(const char *target, struct error *err)
{
    dev_t device;
    int r = unmount_all(target);

    if (r == -EBUSY)
        return error_set(err, r, "'%s' is in use: end the processes that use it ('fuser -vm %s')",
                         target, target);
    if (r < 0)
        return error_errno(err, r, "cannot unmount '%s'", target);

    /* EINVAL has more than one meaning; look whether it meant "not mounted". */
    r = filesystem_mounted(target, &device);
    if (r == 0)
        return error_set(err, -EBUSY, "'%s' is still mounted: the kernel does not let go of it",
                         target);
    if (r != -ENOENT)
        return error_errno(err, r, "cannot tell whether '%s' is still mounted", target);
    return 0;
}

int filesystem_unmount(const char *target, struct error *err)
{
    int r = filesystem_leave(target, err);

    if (r < 0)
        return r;
    if (rmdir(target) < 0 && errno != ENOENT) {
        if (errno == EBUSY) /* only a mount point is busy, and somebody has just mounted there */
            return error_set(err, -EBUSY, "'%s' was mounted again meanwhile", target);
        /* A directory that stays, say with files written while nothing was mounted, harms nobody:
         * the volume is unmounted, and the next mount covers it. */
        log_debug("cannot remove the mount point '%s': %s", target, error_words(-errno));
    }
    return 0;
}
