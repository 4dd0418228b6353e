/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A directory of its own for one test, as its setup and teardown: *state is the path. */

static inline int scratch_make(void **state)
{
    char *path = strdup("/tmp/docker-volume-rados-test.XXXXXX");

    if (!path || !mkdtemp(path)) {
        free(path);
        return -1;
    }
    *state = path;
    return 0;
}

/* Remove everything below the directory FD, LEVELS deep at most. Closes FD. */
static inline int scratch_empty(int fd, int levels)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;

    if (!dir)
        return -1;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0)
            continue;
        if (levels > 0)
            scratch_empty(openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                          levels - 1);
        unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
    }
    closedir(dir);
    return 0;
}

static inline int scratch_remove(void **state)
{
    char *path = *state;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 ? -1 : scratch_empty(fd, 4);

    if (rmdir(path) < 0)
        r = -1;
    free(path);
    return r;
}

/* NAME inside the directory; one of a few static buffers. */
static inline const char *scratch_path(void **state, const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", (const char *)*state, name);
    return path;
}

static inline unsigned scratch_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2; /* . and .. */
}
