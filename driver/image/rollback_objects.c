/* SPDX-License-Identifier: Apache-2.0 */
#include "image/rollback_objects.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "image/names.h"
#include "image/object_walk.h"

/* Each object is looked at now and at the snapshot, asked for together; the same version (or no
 * object at both): unchanged. A changed one is rolled back by its OSD, or removed when there was
 * none: no data move. */

struct work {
    const struct rollback_objects *what;
    rados_ioctx_t head; /* writes under the image's snapshot context */
    rados_ioctx_t snap; /* reads at the snapshot */
    uint64_t snap_objects;
    uint64_t total;
    _Atomic uint64_t changed;
};

/* 1: the object is not what it was at the snapshot; 0; or negative errno. */
static int has_changed(struct work *work, const char *object)
{
    struct object_look now, then;
    uint64_t version_now = 0, version_then = 0;
    int r = object_look_begin(&now, work->head, object);
    int second;

    if (r < 0)
        return r;
    second = object_look_begin(&then, work->snap, object);
    r = object_look_end(&now, &version_now);
    if (second == 0)
        second = object_look_end(&then, &version_then);
    if (r < 0 || second < 0)
        return r < 0 ? r : second;
    return version_now != version_then;
}

static int change(struct work *work, const char *object, bool is_in_snapshot)
{
    int r = is_in_snapshot
                ? rados_ioctx_selfmanaged_snap_rollback(work->head, object, work->what->snap_id)
                : rados_remove(work->head, object);

    return r == -ENOENT ? 0 : r;
}

static int do_object(void *arg, uint64_t number)
{
    struct work *work = arg;
    bool is_in_snapshot = number < work->snap_objects;
    char object[DATA_NAME_MAX];
    int r;

    name_data(object, work->what->header->object_prefix, number);
    r = is_in_snapshot ? has_changed(work, object) : 1;
    if (r == 1) {
        r = change(work, object, is_in_snapshot);
        if (r == 0)
            atomic_fetch_add(&work->changed, 1);
    }
    return r;
}

static struct rollback_progress progress_of(struct work *work, uint64_t done)
{
    return (struct rollback_progress){
        .done = done, .total = work->total, .changed = atomic_load(&work->changed)};
}

static int report(void *arg, uint64_t done)
{
    struct work *work = arg;
    const struct rollback_progress progress = progress_of(work, done);

    return work->what->progress(work->what->arg, &progress);
}

static int open_ioctxs(struct work *work, struct error *err)
{
    const struct image_header *header = work->what->header;
    int r = object_open_pool(work->what->cluster, header, &work->head, err);

    if (r < 0)
        return r;
    r = object_open_pool(work->what->cluster, header, &work->snap, err);
    if (r < 0)
        return r;
    rados_ioctx_snap_set_read(work->snap, work->what->snap_id);
    r = rados_ioctx_selfmanaged_snap_set_write_ctx(work->head, header->snapc.seq,
                                                   header->snapc.snaps, (int)header->snapc.count);
    return r < 0 ? error_errno(err, r, "cannot write under the snapshots of image %s", header->id)
                 : 0;
}

int rollback_objects(const struct rollback_objects *what, struct rollback_progress *ret,
                     struct error *err)
{
    struct work work = {.what = what};
    struct object_walk walk = {
        .parallel = what->parallel, .each = do_object, .progress = report, .arg = &work};
    uint64_t now = object_count(what->header, what->header->size);
    uint64_t done = 0;
    int r;

    work.snap_objects = object_count(what->header, what->snap_size);
    walk.total = work.total = now > work.snap_objects ? now : work.snap_objects;
    r = open_ioctxs(&work, err);
    if (r == 0) {
        r = object_walk(&walk, &done);
        if (r < 0)
            error_errno(err, r,
                        "cannot roll image %s back to a snapshot (%llu of %llu objects are done)",
                        what->header->id, (unsigned long long)done, (unsigned long long)work.total);
    }
    *ret = progress_of(&work, done);
    if (work.head)
        rados_ioctx_destroy(work.head);
    if (work.snap)
        rados_ioctx_destroy(work.snap);
    return r;
}
