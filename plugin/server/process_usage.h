/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* What a process of this host uses, out of /proc. */

struct process_usage {
    uint64_t resident_bytes;
    uint64_t open_fds;
    double started; /* seconds since 1970 */
};

/* 0; -ENOENT or -ESRCH when there is no such process; or another errno. */
int process_usage_read(pid_t pid, struct process_usage *ret);

/* Out of the text of /proc/PID/stat: when it started, in clock ticks since the boot, and resident
 * pages. 0 or -EBADMSG. Pure. */
int process_stat_decode(const char *text, uint64_t *ret_ticks, uint64_t *ret_pages);
