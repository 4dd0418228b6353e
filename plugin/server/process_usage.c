/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/process_usage.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

#define STAT_MAX 4096

/* Behind the name, which a process chooses itself: what follows the last ')'. */
int process_stat_decode(const char *text, uint64_t *ret_ticks, uint64_t *ret_pages)
{
    const char *end = strrchr(text, ')');
    unsigned long long ticks;
    unsigned long long pages;

    if (!end || sscanf(end + 1,
                       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                       "%*d %llu %*u %llu",
                       &ticks, &pages) != 2)
        return -EBADMSG;
    *ret_ticks = ticks;
    *ret_pages = pages;
    return 0;
}

static int count_fds(pid_t pid, uint64_t *ret)
{
    char path[32];
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    if (!dir)
        return -errno;
    *ret = 0;
    for (const struct dirent *d; (d = readdir(dir));)
        *ret += d->d_name[0] != '.';
    closedir(dir);
    return 0;
}

static double seconds(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / (double)NS_PER_S;
}

int process_usage_read(pid_t pid, struct process_usage *ret)
{
    cleanup_free char *text = NULL;
    struct process_usage usage;
    uint64_t ticks = 0;
    uint64_t pages = 0;
    char path[32];
    size_t len;
    int r;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    r = file_read(path, STAT_MAX, &text, &len, NULL);
    if (r == 0)
        r = process_stat_decode(text, &ticks, &pages);
    if (r == 0)
        r = count_fds(pid, &usage.open_fds);
    if (r < 0)
        return r;
    usage.resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    usage.started = seconds(CLOCK_REALTIME) - seconds(CLOCK_BOOTTIME) +
                    (double)ticks / (double)sysconf(_SC_CLK_TCK);
    *ret = usage;
    return 0;
}
