/* SPDX-License-Identifier: Apache-2.0 */
#include "image/snapshot_usage.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/names.h"
#include "image/object_walk.h"

/* The states of an image, the oldest first: its snapshots, then what it holds now. */

struct state {
    rados_ioctx_t io;
    uint64_t objects;       /* none behind these */
    _Atomic uint64_t bytes; /* of objects that only this state has */
};

struct work {
    const struct snapshot_usage *options;
    const struct image_header *header;
    struct state *states;
    size_t count;
    uint64_t total;
    int64_t deadline;
};

struct view {
    struct object_look look;
    uint64_t version;
    int begun; /* 0, or why it did not begin */
};

static int look_at_all(struct work *work, const char *object, uint64_t number, struct view *views)
{
    int r = 0;

    for (size_t i = 0; i < work->count; i++)
        views[i].begun = number < work->states[i].objects
                             ? object_look_begin(&views[i].look, work->states[i].io, object)
                             : -ENOENT;
    for (size_t i = 0; i < work->count; i++) {
        int one = views[i].begun == 0         ? object_look_end(&views[i].look, &views[i].version)
                  : views[i].begun == -ENOENT ? 0
                                              : views[i].begun;

        if (r == 0)
            r = one;
    }
    return r;
}

static int do_object(void *arg, uint64_t number)
{
    struct work *work = arg;
    cleanup_free struct view *views = calloc(work->count, sizeof(*views));
    char object[DATA_NAME_MAX];
    int r;

    if (!views)
        return -ENOMEM;
    name_data(object, work->header->object_prefix, number);
    r = look_at_all(work, object, number, views);
    for (size_t i = 0; r == 0 && i < work->count; i++) {
        uint64_t before = i > 0 ? views[i - 1].version : 0;
        uint64_t after = i + 1 < work->count ? views[i + 1].version : 0;

        if (views[i].version != 0 && views[i].version != before && views[i].version != after)
            atomic_fetch_add(&work->states[i].bytes, views[i].look.size);
    }
    return r;
}

static int report(void *arg, uint64_t done)
{
    const struct work *work = arg;

    if (deadline_left_ms(work->deadline) == 0)
        return -ETIMEDOUT;
    return work->options->progress &&
                   work->options->progress(work->options->arg, done, work->total) != 0
               ? -ECANCELED
               : 0;
}

static int open_states(struct work *work, struct cluster *cluster, const struct snapshots *list,
                       struct error *err)
{
    for (size_t i = 0; i < work->count; i++) {
        struct state *state = &work->states[i];
        bool is_now = i == list->count;
        int r = object_open_pool(cluster, work->header, &state->io, err);

        if (r < 0)
            return r;
        if (!is_now)
            rados_ioctx_snap_set_read(state->io, list->items[i].id);
        state->objects =
            object_count(work->header, is_now ? work->header->size : list->items[i].size);
        if (state->objects > work->total)
            work->total = state->objects;
    }
    return 0;
}

static void close_states(struct work *work)
{
    for (size_t i = 0; i < work->count; i++) {
        if (work->states[i].io)
            rados_ioctx_destroy(work->states[i].io);
    }
    free(work->states);
}

int snapshot_usage(struct cluster *cluster, const char *id, const struct snapshots *list,
                   const struct snapshot_usage *options, int64_t deadline, uint64_t *ret_bytes,
                   struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    struct work work = {.options = options, .header = &header, .deadline = deadline};
    struct object_walk walk = {.each = do_object, .progress = report, .arg = &work};
    uint64_t done = 0;
    int r = image_read_header(cluster, id, deadline, &header, err);

    if (r == 0)
        r = image_check_readable(&header, err);
    if (r < 0)
        return r;
    work.states = calloc(list->count + 1, sizeof(*work.states));
    if (!work.states)
        return error_errno(err, -ENOMEM, "cannot look at the snapshots of image %s", id);
    work.count = list->count + 1;
    r = open_states(&work, cluster, list, err);
    if (r == 0) {
        walk.total = work.total;
        r = object_walk(&walk, &done);
        if (r == -ECANCELED)
            error_set(err, r, "stopped");
        else if (r < 0)
            error_errno(err, r, "cannot look at the objects of image %s (%llu of %llu are done)",
                        id, (unsigned long long)done, (unsigned long long)work.total);
    }
    for (size_t i = 0; i < list->count; i++)
        ret_bytes[i] = atomic_load(&work.states[i].bytes);
    close_states(&work);
    return r;
}
