/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/* Start PROGRAM in a session of its own with ARGV, /dev/null as standard input, FD3 and FD4 as
 * descriptors 3 and 4 (-1: none), and OUTPUT for what it prints (-1: where this process prints).
 * It gets no other descriptor. 0 or negative errno. */
int start_process(const char *program, char *const argv[], int fd3, int fd4, int output,
                  pid_t *ret_pid, struct error *err);
