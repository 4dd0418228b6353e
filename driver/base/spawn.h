/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Run a tool with a fixed argv and a fixed environment (PATH, LC_ALL=C), never through a shell.
 * The tool's standard input is /dev/null, its output and errors are collected. */

#define SPAWN_OUTPUT_MAX 2048

struct spawn_result {
    int status;                    /* exit status; 128 + N when killed by signal N */
    char output[SPAWN_OUTPUT_MAX]; /* the last bytes it printed, on one line, trimmed */
};

/* Run ARGV[0], looked up in /usr/sbin, /usr/bin, /sbin and /bin only, and wait for its end.
 * INPUT: what the tool reads on standard input, or NULL. PASS_FD: a descriptor the tool gets as
 * number 3 ("/proc/self/fd/3"), or -1.
 * 0 when it ran to an end (look at the status), -ENOENT when the tool is not installed (err names
 * it and its package), -ETIMEDOUT when the deadline passed (it is killed), or another errno.
 * Blocks; any thread. */
int spawn_run(const char *const argv[], const char *input, int pass_fd, int64_t deadline,
              struct spawn_result *ret, struct error *err);

/* Whether TOOL is installed: 0, or -ENOENT with err naming the Debian package to install. */
int spawn_check(const char *tool, struct error *err);
