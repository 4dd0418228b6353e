/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define READ_FIRST_BYTES 4096
#define PARENT_MODE      0755

/* A new file is written under this name in the same directory and renamed when it is whole. Names
 * with a dot in front are not looked at by those who scan our directories, and a crash leaves no
 * more than one such file behind, until file_remove_unfinished. */
#define NEW_FILE   ".new.XXXXXX"
#define NEW_PREFIX ".new."

/* Read up to SIZE bytes: how many there were (fewer only at the end), or a negative errno. */
static ssize_t read_full(int fd, char *data, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, data + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* All of FD, at most MAX bytes. The size is not asked for: /proc says 0, and it may change. *data
 * is the caller's to free, on failure too. */
static int read_whole(int fd, size_t max, char **data, size_t *ret_len)
{
    size_t cap = 0, len = 0;

    while (len == cap) {
        size_t want = cap == 0 ? READ_FIRST_BYTES : cap * 2;
        char *grown;
        ssize_t n;

        if (want - 1 > max)
            want = max + 1; /* one byte more than allowed tells a file that is too big */
        grown = realloc(*data, want + 1);
        if (!grown)
            return -ENOMEM;
        *data = grown;
        cap = want;
        n = read_full(fd, *data + len, cap - len);
        if (n < 0)
            return (int)n;
        len += (size_t)n;
        if (len > max)
            return -EFBIG;
    }
    (*data)[len] = '\0';
    *ret_len = len;
    return 0;
}

int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    cleanup_free char *data = NULL;
    int r;

    if (fd < 0)
        return error_errno(err, -errno, "cannot open '%s'", path);
    r = read_whole(fd, max, &data, ret_len);
    if (r == -EFBIG)
        return error_set(err, r, "'%s' is larger than the %zu bytes allowed", path, max);
    if (r < 0)
        return error_errno(err, r, "cannot read '%s'", path);
    *ret = steal_pointer(&data);
    return 0;
}

int file_write_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = write(fd, at, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_durably(int fd, const char *data, size_t len)
{
    int r = file_write_all(fd, data, len);

    if (r < 0)
        return r;
    return fsync(fd) < 0 ? -errno : 0;
}

/* A rename is on disk when its directory is. */
static int sync_dir(const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

/* The directory of PATH with a slash at its end; "./" when PATH has none. */
static int dir_of(const char *path, char *dir, size_t size)
{
    const char *slash = strrchr(path, '/');
    int len =
        slash ? snprintf(dir, size, "%.*s/", (int)(slash - path), path) : snprintf(dir, size, "./");

    return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

int file_replace(const char *path, const void *data, size_t len, struct error *err)
{
    char dir[PATH_MAX], new_path[PATH_MAX + sizeof(NEW_FILE)];
    cleanup_close int fd = -1;
    int r = dir_of(path, dir, sizeof(dir));

    if (r < 0)
        return error_errno(err, r, "cannot write '%s'", path);
    snprintf(new_path, sizeof(new_path), "%s%s", dir, NEW_FILE);
    fd = mkostemp(new_path, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return error_errno(err, -errno, "cannot make a file in '%s'", dir);
    r = write_durably(fd, data, len);
    if (r == 0 && rename(new_path, path) < 0)
        r = -errno;
    if (r < 0) {
        unlink(new_path);
        return error_errno(err, r, "cannot write '%s'", path);
    }
    r = sync_dir(dir);
    if (r < 0)
        return error_errno(err, r, "cannot make the new '%s' durable", path);
    return 0;
}

void file_remove_unfinished(const char *path)
{
    DIR *dir = opendir(path);

    if (!dir)
        return;
    for (const struct dirent *d; (d = readdir(dir));) {
        if (strlen(d->d_name) == strlen(NEW_FILE) &&
            strncmp(d->d_name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0)
            unlinkat(dirfd(dir), d->d_name, 0);
    }
    closedir(dir);
}

/* One level of a path. Made: exactly MODE, whatever the umask; there already: left as it is. */
static int make_level(const char *path, mode_t mode)
{
    struct stat st;

    if (mkdir(path, mode) == 0)
        return chmod(path, mode) < 0 ? -errno : 0;
    if (errno != EEXIST)
        return -errno;
    if (stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int file_make_dir(const char *path, mode_t mode, struct error *err)
{
    char level[PATH_MAX];
    size_t len = strlen(path);
    int r = 0;

    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0 || len >= sizeof(level))
        return error_errno(err, len == 0 ? -ENOENT : -ENAMETOOLONG, "cannot make directory '%s'",
                           path);
    memcpy(level, path, len);
    level[len] = '\0';
    for (size_t i = 1; i <= len && r == 0; i++) {
        if (i < len && (level[i] != '/' || level[i - 1] == '/'))
            continue;
        level[i] = '\0';
        r = make_level(level, i == len ? mode : PARENT_MODE);
        if (r < 0)
            return error_errno(err, r, "cannot make directory '%s'", level);
        level[i] = i < len ? '/' : '\0';
    }
    return 0;
}
