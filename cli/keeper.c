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

/* FD, or -1 to forget, as the blockd said. */
static void shelve(struct fd_list *shelf, const char *name, int fd)
{
    if (fd >= 0)
        fd_list_put(shelf, name, fd);
    else
        fd_list_remove(shelf, name);
}

int command_keeper(struct cli *cli, int argc, char *argv[])
{
    struct fd_list shelf = {0};
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
    keeper_drop(&shelf);
    waitpid(pid, NULL, 0);
    return 0;
}
