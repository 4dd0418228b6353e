/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/rescue.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINK_SUFFIX ".dir"

void rescue_paths(const char *id, struct rescue *ret)
{
    snprintf(ret->id, sizeof(ret->id), "%s", id);
    snprintf(ret->socket, sizeof(ret->socket), RESCUE_DIR "/%s.sock", id);
    snprintf(ret->link, sizeof(ret->link), RESCUE_DIR "/%s" LINK_SUFFIX, id);
    snprintf(ret->log, sizeof(ret->log), RESCUE_DIR "/%s.log", id);
}

int rescue_canonical(const char *dir, char ret[PATH_MAX])
{
    char path[PATH_MAX];
    char link[2];
    size_t len = strlen(dir);
    char *slash;
    char *base;

    while (len > 1 && dir[len - 1] == '/')
        len--;
    if (len == 0 || len >= sizeof(path) - 2)
        return len == 0 ? -ENOENT : -ENAMETOOLONG;
    /* A directory, also one that something is mounted on, is no link, which needs no file system
     * to tell; "." and ".." do not say whose they are. */
    snprintf(path, sizeof(path), "%.*s", (int)len, dir);
    slash = strrchr(path, '/');
    base = slash ? slash + 1 : path;
    if (readlink(path, link, sizeof(link)) >= 0 || base[0] == '.' || base[0] == '\0')
        return realpath(dir, ret) ? 0 : -errno;
    if (errno != EINVAL)
        return -errno;
    if (slash)
        *slash = '\0';
    if (!realpath(slash ? (slash == path ? "/" : path) : ".", ret))
        return -errno;
    len = strcmp(ret, "/") == 0 ? 0 : strlen(ret);
    return snprintf(ret + len, PATH_MAX - len, "/%s", base) < (int)(PATH_MAX - len) ? 0
                                                                                    : -ENAMETOOLONG;
}

static bool leads_to(const char *link, const char *dir)
{
    char target[PATH_MAX];
    ssize_t len = readlink(link, target, sizeof(target) - 1);

    if (len < 0)
        return false;
    target[len] = '\0';
    return strcmp(target, dir) == 0;
}

/* The id in the name of a link, "ID.dir". */
static bool id_of(const char *name, char ret[IMAGE_ID_MAX])
{
    size_t len = strlen(name);

    if (len <= strlen(LINK_SUFFIX) || strcmp(name + len - strlen(LINK_SUFFIX), LINK_SUFFIX) != 0)
        return false;
    len -= strlen(LINK_SUFFIX);
    if (len >= IMAGE_ID_MAX)
        return false;
    memcpy(ret, name, len);
    ret[len] = '\0';
    return true;
}

int rescue_find(const char *dir, struct rescue *ret)
{
    DIR *stream = opendir(RESCUE_DIR);
    const struct dirent *entry;
    char id[IMAGE_ID_MAX];
    int r = -ENOENT;

    if (!stream)
        return -ENOENT;
    while (r < 0 && (entry = readdir(stream))) {
        if (!id_of(entry->d_name, id))
            continue;
        rescue_paths(id, ret);
        if (leads_to(ret->link, dir))
            r = 0;
    }
    closedir(stream);
    return r;
}

void rescue_remove(const struct rescue *rescue)
{
    unlink(rescue->log);
    unlink(rescue->link);
    unlink(rescue->socket);
}
