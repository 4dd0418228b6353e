/* SPDX-License-Identifier: Apache-2.0 */

/* radosvol-freeze: freezes the file system of one blockd's device, and sees to it that the freeze
 * ends. See block/freezer.h for who says what, and who dies.
 *
 *   radosvol-freeze /dev/loop3     find the mount, freeze, wait, thaw
 *   radosvol-freeze --thaw         thaw what descriptor 4 is in: 0 it was frozen, 1 it was not
 *
 * It lives on a few pages of memory and never touches the volume but by its open directory. */

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "block/freezer.h"
#include "block/keeper.h"
#include "volume/mountinfo.h"

#define SOCKET_FD 3
#define THAW_FD   4

#define MOUNTINFO_MAX (64UL << 20)
#define TARGET_MAX    4096

/* The root of the file system on DEVICE, open: a descriptor, or negative errno. A mount point that
 * another mount covers leads elsewhere, so each is checked. */
static int open_mount(dev_t device)
{
    cleanup_free char *text = NULL;
    char target[TARGET_MAX];
    const char *at;
    size_t len;
    int r = file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len, NULL);

    if (r < 0)
        return r;
    at = text;
    while (mountinfo_next(&at, device, target, sizeof(target)) == 0) {
        cleanup_close int fd = open(target, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == device)
            return steal_fd(&fd);
    }
    return -ENOENT;
}

/* Wait for WORD: 0; -ECONNRESET (nobody is there any more, or says something else); or -ETIMEDOUT.
 */
static int hear(const char *word, int timeout_ms)
{
    struct pollfd ready = {.fd = SOCKET_FD, .events = POLLIN};
    const int64_t deadline = deadline_in_ms(timeout_ms);
    char name[KEEPER_NAME_MAX];
    cleanup_close int fd = -1;
    int r;

    do {
        r = poll(&ready, 1, timeout_ms < 0 ? -1 : deadline_left_ms(deadline));
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        return -ETIMEDOUT;
    if (keeper_receive(SOCKET_FD, name, &fd) < 0 || strcmp(name, word) != 0)
        return -ECONNRESET;
    return 0;
}

static int tell(const char *word)
{
    return keeper_send(SOCKET_FD, word, -1);
}

static int freeze(int fd)
{
    if (syncfs(fd) < 0 || ioctl(fd, FIFREEZE, 0) < 0) {
        char word[KEEPER_NAME_MAX];

        snprintf(word, sizeof(word), FREEZE_FAILED "%d", errno);
        tell(word);
        return -1;
    }
    return 0;
}

static int freeze_for_a_while(dev_t device)
{
    cleanup_close int fd = open_mount(device);
    int r;

    if (fd < 0)
        return tell(FREEZE_NONE);
    if (keeper_send(SOCKET_FD, FREEZE_MOUNT, fd) < 0 || hear(FREEZE_BEGIN, -1) < 0)
        return -1;
    if (freeze(fd) < 0)
        return -1;
    /* From here on, every way out thaws. */
    r = tell(FREEZE_DONE);
    if (r == 0)
        r = hear(FREEZE_END, FREEZE_LIFE_MS);
    if (ioctl(fd, FITHAW, 0) < 0)
        r = -ETIMEDOUT; /* somebody else thawed it */
    tell(r == -ETIMEDOUT ? FREEZE_EXPIRED : FREEZE_ENDED);
    return 0;
}

int main(int argc, char *argv[])
{
    static const int ends[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    struct stat st;

    if (argc == 2 && strcmp(argv[1], "--thaw") == 0)
        return ioctl(THAW_FD, FITHAW, 0) < 0;
    if (argc != 2 || stat(argv[1], &st) < 0 || !S_ISBLK(st.st_mode)) {
        fputs("radosvol-freeze is started by radosvol-blockd only\n", stderr);
        return 2;
    }
    /* Who stops the service stops this by the end of the blockd; before, it has work to do. */
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        signal(ends[i], SIG_IGN);
    return freeze_for_a_while(st.st_rdev) < 0;
}
