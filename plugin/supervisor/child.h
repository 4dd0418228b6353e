/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* The supervisor's child processes. Single thread. */

struct child {
    pid_t pid; /* 0: none */
    int pidfd; /* -1: none */
};

struct child_plan {
    const char *path;
    char *const *argv;
    int fd3, fd4;          /* what the child gets as descriptors 3 and 4; both are above 4 here */
    bool dies_with_parent; /* SIGKILL when the supervisor is gone */
};

/* Keep the numbers 0 to 4 occupied, with /dev/null where nothing is open, so that a child's
 * descriptors can be put into place in any order; mark everything else close-on-exec. Call before
 * the first descriptor is opened. */
int child_reserve_fds(struct error *err);

/* Run a program in a session of its own with default signals, an empty signal mask, /dev/null as
 * standard input and exactly the descriptors 0 to 4. *ret is set when exec has succeeded. */
int child_spawn(const struct child_plan *plan, struct child *ret, struct error *err);

/* Send SIGNAL; nothing happens when there is no such child any more. */
void child_kill(const struct child *child, int signal);

/* Wait until the process has ended, at most until DEADLINE. 0 or -ETIMEDOUT. Does not reap. */
int child_wait(const struct child *child, int64_t deadline);

/* Forget an ended child. */
void child_clear(struct child *child);
