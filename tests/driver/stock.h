/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the stock rbd command says of an image, to compare with what we say. */

#include "live.h"

#include <fcntl.h>

#include "base/spawn.h"
#include "image/snapshot.h"

/* Run `rbd --pool docker ...` (at most 8 words) and return its exit status; what it printed, on one
 * line, is in *ret. */
static inline int stock_try(struct spawn_result *ret, const char *const words[])
{
    const char *argv[16] = {"rbd", "--conf", live_settings().conf, "--pool", "docker"};
    struct error err;

    for (size_t i = 0; words[i]; i++) {
        assert_true(i < 8);
        argv[5 + i] = words[i];
    }
    assert_ok(spawn_run(argv, NULL, -1, deadline_in_ms(60000), ret, &err), err);
    return ret->status;
}

#define STOCK(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static inline void stock(const char *const words[])
{
    struct spawn_result result;

    if (stock_try(&result, words) != 0)
        fail_msg("rbd %s %s: %s", words[0], words[1], result.output);
}

static inline unsigned stock_count(const char *text, const char *what)
{
    unsigned count = 0;

    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
        count++;
    return count;
}

/* Our list of image ID's snapshots and that of `rbd snap ls NAME` are the same. */
static inline void stock_same_snapshots(struct cluster *cluster, const char *name, const char *id)
{
    struct snapshots list = {0};
    struct spawn_result result;
    struct error err;

    assert_ok(snapshot_list(cluster, id, false, soon(), &list, &err), err);
    assert_int_equal(stock_try(&result, STOCK("snap", "ls", name, "--format", "json")), 0);
    assert_int_equal(stock_count(result.output, "\"id\":"), list.count);
    for (size_t i = 0; i < list.count; i++) {
        const struct snapshot *s = &list.items[i];
        char expected[512];

        snprintf(expected, sizeof(expected),
                 "{\"id\":%llu,\"name\":\"%s\",\"size\":%llu,\"protected\":\"%s\",",
                 (unsigned long long)s->id, s->name, (unsigned long long)s->size,
                 s->protected ? "true" : "false");
        if (!strstr(result.output, expected))
            fail_msg("%s is not in %s", expected, result.output);
    }
    snapshots_free(&list);
}

/* What `rbd export SPEC` writes; SIZE bytes, free(). */
static inline uint8_t *stock_export(const char *spec, size_t size)
{
    char directory[] = "/tmp/test-export-XXXXXX";
    uint8_t *data = malloc(size);
    char path[64];
    int fd;

    assert_non_null(data);
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/data", directory);
    stock(STOCK("export", "--no-progress", spec, path));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    rmdir(directory);
    assert_int_equal(lseek(fd, 0, SEEK_END), size);
    assert_int_equal(pread(fd, data, size, 0), size);
    close(fd);
    return data;
}
