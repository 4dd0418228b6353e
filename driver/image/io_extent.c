/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/io_parts.h"
#include "image/names.h"

/* A request's part on one object. On an image without a parent, or behind what shows of it, that is
 * one operation. Where the parent shows:
 *
 *   request     first operation           the object does not exist
 *   read        read it                   read the parent instead
 *   copy up     look for it               copy it up; done
 *   others      change it, guarded:       copy it up, then the same again; where the parent has
 *               it must exist               nothing but zeroes, change it unguarded
 *
 * What replaces all that shows of the parent needs no copy, as long as there are no snapshots that
 * must keep it: it is done at once, and makes the object. An object that exists is never removed
 * where the parent shows, only emptied, or the parent would show again. */

/* An object that was copied up is there; that it is gone again means that somebody who may not
 * removes objects. */
#define TRIES_MAX 4

static void extent_completed(rados_completion_t completion, void *arg);

static void drop_operation(struct extent *extent)
{
    if (extent->write_op)
        rados_release_write_op(extent->write_op);
    if (extent->completion)
        rados_aio_release(extent->completion);
    extent->write_op = NULL;
    extent->completion = NULL;
}

static void extent_end(struct extent *extent, int result)
{
    struct image_request *request = extent->request;

    drop_operation(extent);
    free(extent->kept);
    free(extent);
    request_drop(request, result);
}

/* Bytes of the object that are inside the image. */
static uint64_t object_end(const struct image_io *io, uint64_t number)
{
    uint64_t left = image_io_size(io) - (number << io->order);

    return left < image_io_object_size(io) ? left : image_io_object_size(io);
}

/* Keep the bytes for another try: the caller's buffer is its own again once the first is on its
 * way. */
static int keep_bytes(struct extent *extent)
{
    if (extent->kept)
        return 0;
    extent->kept = malloc(extent->length);
    if (!extent->kept)
        return -ENOMEM;
    memcpy(extent->kept, extent->buffer, extent->length);
    extent->buffer = extent->kept;
    return 0;
}

/* Discard or zero the extent's range: as much as possible by taking space away. SHOWS: that much of
 * the object would show the parent if it did not exist. */
static void add_zeroes(struct image_io *io, struct extent *extent, uint64_t shows)
{
    uint64_t end = object_end(io, extent->number);

    if (extent->from + extent->length < end)
        rados_write_op_zero(extent->write_op, extent->from, extent->length);
    else if (extent->from == 0 && shows == 0)
        rados_write_op_remove(extent->write_op);
    else
        rados_write_op_truncate(extent->write_op, extent->from);
}

static int start_change(struct image_io *io, struct extent *extent, const char *object)
{
    uint64_t shows = extent->parent_is_zero ? 0 : copyup_overlap(io, extent->number);
    bool replaces = extent->from == 0 && extent->length >= shows && io->snapc.count == 0;

    extent->guarded = shows > 0 && !replaces;
    if (extent->guarded && extent->request->kind == IMAGE_WRITE && keep_bytes(extent) < 0)
        return -ENOMEM;
    extent->write_op = rados_create_write_op();
    if (!extent->write_op)
        return -ENOMEM;
    if (extent->guarded)
        rados_write_op_assert_exists(extent->write_op);
    else if (shows > 0)
        rados_write_op_create(extent->write_op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
    if (extent->request->kind == IMAGE_WRITE)
        rados_write_op_write(extent->write_op, extent->buffer, extent->length, extent->from);
    else
        add_zeroes(io, extent, shows);
    return rados_aio_write_op_operate(extent->write_op, io->io, extent->completion, object, NULL,
                                      0);
}

/* Start the operation on the object; its completion goes on. Called with the context locked. */
static int start_operation(struct image_io *io, struct extent *extent)
{
    char object[DATA_NAME_MAX];
    int r = rados_aio_create_completion2(extent, extent_completed, &extent->completion);

    if (r < 0) {
        extent->completion = NULL;
        return r;
    }
    name_data(object, io->prefix, extent->number);
    switch (extent->request->kind) {
    case IMAGE_READ:
        return rados_aio_read(io->io, object, extent->completion, extent->buffer, extent->length,
                              extent->from);
    case IMAGE_COPY_UP:
        extent->guarded = true;
        return rados_aio_stat(io->io, object, extent->completion, &extent->stat_size,
                              &extent->stat_time);
    case IMAGE_WRITE:
    case IMAGE_DISCARD:
    case IMAGE_WRITE_ZEROES:
        return start_change(io, extent, object);
    case IMAGE_FLUSH: /* has no extents */
        break;
    }
    return -EINVAL;
}

int extent_start(struct image_io *io, struct image_request *request, uint64_t offset,
                 uint64_t length)
{
    struct extent *extent = calloc(1, sizeof(*extent));
    int r;

    if (!extent)
        return -ENOMEM;
    extent->request = request;
    extent->number = offset >> io->order;
    extent->from = offset - (extent->number << io->order);
    extent->length = length;
    if (request->buffer)
        extent->buffer = (char *)request->buffer + (offset - request->offset);
    atomic_fetch_add(&request->pending, 1);
    r = start_operation(io, extent);
    if (r < 0) /* librados did not take it: its completion will not run */
        extent_end(extent, r);
    return r;
}

void extent_resume(struct extent *extent, int result)
{
    struct image_io *io = extent->request->io;
    int r;

    if (result < 0 || extent->request->kind == IMAGE_COPY_UP ||
        (result == COPYUP_NOTHING && extent->request->kind != IMAGE_WRITE)) {
        extent_end(extent, result < 0 ? result : 0);
        return;
    }
    if (++extent->tries > TRIES_MAX) {
        extent_end(extent, -EIO);
        return;
    }
    extent->parent_is_zero = result == COPYUP_NOTHING;
    drop_operation(extent);
    pthread_rwlock_rdlock(&io->context);
    r = start_operation(io, extent);
    pthread_rwlock_unlock(&io->context);
    if (r < 0)
        extent_end(extent, r);
}

/* The first LENGTH bytes of the extent's part of the buffer were filled in, if any. */
static void note_data(const struct extent *extent, uint64_t length)
{
    struct image_request *request = extent->request;
    uint64_t end = (uint64_t)(extent->buffer - (char *)request->buffer) + length;
    uint64_t known = atomic_load(&request->data_end);

    while (length > 0 && end > known &&
           !atomic_compare_exchange_weak(&request->data_end, &known, end))
        ;
}

/* The rest of the extent's part of the buffer is zeroes. */
static void fill_zeroes(const struct extent *extent, uint64_t from)
{
    if (!extent->request->zeroed)
        memset(extent->buffer + from, 0, extent->length - from);
}

static void parent_was_read(struct image_request *read, int result)
{
    struct extent *extent =
        (struct extent *)(void *)((char *)read - offsetof(struct extent, parent_read));

    note_data(extent, atomic_load(&read->data_end));
    extent_end(extent, result);
}

/* There is no object to read: the parent's bytes, as far as they show, and zeroes. */
static void read_parent(struct image_io *io, struct extent *extent)
{
    uint64_t shows = copyup_overlap(io, extent->number);
    uint64_t length = extent->from < shows ? shows - extent->from : 0;

    if (length > extent->length)
        length = extent->length;
    fill_zeroes(extent, length);
    if (length == 0) {
        extent_end(extent, 0);
        return;
    }
    extent->parent_read =
        (struct image_request){.kind = IMAGE_READ,
                               .offset = (extent->number << io->order) + extent->from,
                               .length = length,
                               .buffer = extent->buffer,
                               .zeroed = extent->request->zeroed,
                               .done = parent_was_read};
    image_submit(io->parent, &extent->parent_read);
}

/* Runs on a librados thread. */
static void extent_completed(rados_completion_t completion, void *arg)
{
    struct extent *extent = arg;
    struct image_io *io = extent->request->io;
    int r = rados_aio_get_return_value(completion);

    if (r == -ENOENT && extent->request->kind == IMAGE_READ) {
        read_parent(io, extent);
        return;
    }
    if (r == -ENOENT && extent->guarded) {
        copyup_wait(io, extent);
        return;
    }
    if (r >= 0 && extent->request->kind == IMAGE_READ) {
        note_data(extent, (uint64_t)r);
        fill_zeroes(extent, (uint64_t)r);
        r = 0;
    }
    if (r == -ENOENT && extent->request->kind != IMAGE_WRITE)
        r = 0; /* nothing to take away */
    extent_end(extent, r < 0 ? r : 0);
}
