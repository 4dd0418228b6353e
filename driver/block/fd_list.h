/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Descriptors under names, in the order in which they must be closed: of a device on a FUSE file,
 * "fuse" before "loop". Closing "fuse" ends what waits for the session's server; closing "loop"
 * waits for a lock that somebody may hold until just that has ended, as any sync of the whole
 * machine does.
 *
 * That order also holds when the process is killed: the kernel then closes descriptors from the
 * highest number down, so each gets a lower number than those before it (fd_raise). With several
 * processes that have the same descriptors it holds if it does in each. */

#define FD_NAME_MAX 32
#define FD_LIST_MAX 8

struct fd_list {
    unsigned count;
    struct {
        char name[FD_NAME_MAX];
        int fd;
    } items[FD_LIST_MAX];
};

/* Keep FD under NAME, in place of an older one or behind all others. Takes FD over; -ENOSPC (FD is
 * closed) when there are FD_LIST_MAX others. */
int fd_list_put(struct fd_list *list, const char *name, int fd);

/* What is kept under NAME, or -1; still the list's. */
int fd_list_get(const struct fd_list *list, const char *name);

/* Close what is kept under NAME, if anything. */
void fd_list_remove(struct fd_list *list, const char *name);

/* Close all, in their order. */
void fd_list_drop(struct fd_list *list);

/* The same open file under a number above BELOW: FD itself, or a copy, and FD is closed. Where
 * there are no more numbers it stays FD. */
int fd_raise(int fd, int below);
