/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "block/keeper.h"
#include "cli/cli.h"
#include "cli/start.h"

/* radosvol keeper PROGRAM ARGUMENT...: the process behind a mount without Docker. It starts the
 * radosvol-blockd, whose control socket it has got as descriptor 3, keeps the descriptors that this
 * hands it, and ends with it.
 *
 * It does not start a blockd again that crashed: it lets go of the descriptors, so that the device
 * fails its users instead of having them wait for nobody. When it dies itself nothing happens, for
 * the blockd has its own copies. */

struct kept {
    char name[KEEPER_NAME_MAX];
    int fd;
};

struct shelf {
    struct kept kept[KEEPER_FDS_MAX];
    unsigned count;
};

/* In the order in which they came: keeper.h says why. */
static void drop_all(struct shelf *shelf)
{
    for (unsigned i = 0; i < shelf->count; i++)
        close(shelf->kept[i].fd);
    shelf->count = 0;
}

static void forget(struct shelf *shelf, const char *name)
{
    for (unsigned i = 0; i < shelf->count; i++) {
        if (strcmp(shelf->kept[i].name, name) != 0)
            continue;
        close(shelf->kept[i].fd);
        shelf->count--;
        memmove(&shelf->kept[i], &shelf->kept[i + 1], (shelf->count - i) * sizeof(shelf->kept[0]));
        return;
    }
}

/* FD, or -1 to forget, as the blockd said. */
static void shelve(struct shelf *shelf, const char *name, int fd)
{
    forget(shelf, name);
    if (fd >= 0 && shelf->count == KEEPER_FDS_MAX) {
        close(fd);
    } else if (fd >= 0) {
        struct kept *kept = &shelf->kept[shelf->count++];

        snprintf(kept->name, sizeof(kept->name), "%s", name);
        kept->fd = fd;
    }
}

int command_keeper(struct cli *cli, int argc, char *argv[])
{
    struct shelf shelf = {0};
    char name[KEEPER_NAME_MAX];
    struct error err;
    int ends[2];
    int fd;
    pid_t pid;
    int r;

    (void)cli;
    if (argc < 2)
        return EXIT_USAGE;
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (chdir("/") < 0) /* stay in nobody's way when that is to be unmounted */
        return cli_fail_words("cannot change to /: %s", error_words(-errno));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return cli_fail_words("cannot make a keeper socket: %s", error_words(-errno));
    r = start_process(argv[1], argv + 1, 3, ends[1], -1, &pid, &err);
    close(ends[1]);
    close(3); /* so that a caller hears when the blockd is gone */
    if (r < 0)
        return cli_fail(&err);
    keeper_send(ends[0], "", -1); /* no predecessor left anything */
    while ((r = keeper_receive(ends[0], name, &fd)) == 0)
        shelve(&shelf, name, fd);
    drop_all(&shelf);
    waitpid(pid, NULL, 0);
    return 0;
}
