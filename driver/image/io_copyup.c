/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "image/io_parts.h"
#include "image/names.h"
#include "rados/cls_rbd.h"

/* Copying an object up from the parent, before a clone's first change to it:
 *
 *   queued     too many are under way; its turn comes
 *   reading    what the parent shows of the object
 *   writing    those bytes, without a snapshot context
 *   (over)     the extents that wait for it go on, or fail as it did
 *
 * Without a snapshot context the object counts as older than every snapshot of the clone, so that
 * they keep showing what they did, whatever happens to the object, and need the parent no more
 * (deep-flatten). Should another client be faster, the OSD does nothing: who waits finds an object
 * in any case. Whatever is changed comes after that, in an operation that fails when there is none.
 *
 * All extents that need an object at the same time wait for one copy of it. Copies under way are
 * few, because each holds an object in memory. Where the parent has nothing but zeroes, or no bytes
 * at all, nothing is copied: an object that begins empty is the same.
 *
 * The steps run on librados' threads. They may block there in submitting: what librados' limits
 * wait for is handled by other threads of its. */

/* Blocks of zeroes of this size are not copied. */
#define COPY_BLOCK 4096

/* Bytes of objects in memory at a time, but one object at least. */
#define COPY_MEMORY (UINT64_C(32) << 20)

struct copyup {
    TAILQ_ENTRY(copyup) link;
    struct image_io *io;
    uint64_t number;
    struct extent_list waiting;
    char *data; /* a mapping of its own: what is never filled in costs nothing */
    size_t size;
    struct image_request read;
    rados_write_op_t write_op;
    rados_completion_t completion;
};

static void copyup_begin(struct copyup *copyup);

void copyup_init(struct image_io *io)
{
    pthread_mutex_init(&io->copyups.lock, NULL);
    TAILQ_INIT(&io->copyups.running);
    TAILQ_INIT(&io->copyups.queued);
    io->copyups.most = (unsigned)(COPY_MEMORY >> io->order);
    if (io->copyups.most == 0)
        io->copyups.most = 1;
}

void copyup_destroy(struct image_io *io)
{
    assert(TAILQ_EMPTY(&io->copyups.running) && TAILQ_EMPTY(&io->copyups.queued));
    pthread_mutex_destroy(&io->copyups.lock);
}

uint64_t copyup_overlap(const struct image_io *io, uint64_t number)
{
    uint64_t overlap = atomic_load(&io->overlap);
    uint64_t start = number << io->order;

    if (!io->parent || start >= overlap)
        return 0;
    overlap -= start;
    return overlap < image_io_object_size(io) ? overlap : image_io_object_size(io);
}

/* Take it off the list; returns the one whose turn it is now. */
static struct copyup *leave(struct copyup *copyup)
{
    struct image_io *io = copyup->io;
    struct copyup *next;
    WITH_LOCK(&io->copyups.lock);

    TAILQ_REMOVE(&io->copyups.running, copyup, link);
    next = TAILQ_FIRST(&io->copyups.queued);
    if (next) {
        TAILQ_REMOVE(&io->copyups.queued, next, link);
        TAILQ_INSERT_TAIL(&io->copyups.running, next, link);
    } else {
        io->copyups.count--;
    }
    return next;
}

/* It is over. When the last extent has gone on, the image may be closed. */
static void copyup_end(struct copyup *copyup, int result)
{
    struct copyup *next = leave(copyup);
    struct extent *extent;

    if (next)
        copyup_begin(next);
    while ((extent = STAILQ_FIRST(&copyup->waiting))) {
        STAILQ_REMOVE_HEAD(&copyup->waiting, waiting);
        extent_resume(extent, result);
    }
    if (copyup->write_op)
        rados_release_write_op(copyup->write_op);
    if (copyup->completion)
        rados_aio_release(copyup->completion);
    if (copyup->data)
        munmap(copyup->data, copyup->size);
    free(copyup);
}

static void copyup_written(rados_completion_t completion, void *arg)
{
    int r = rados_aio_get_return_value(completion);

    copyup_end(arg, r < 0 ? r : 0);
}

static int copyup_write(struct copyup *copyup, const struct encoder *in)
{
    struct image_io *io = copyup->io;
    char object[DATA_NAME_MAX];
    int r = rados_aio_create_completion2(copyup, copyup_written, &copyup->completion);

    if (r < 0) {
        copyup->completion = NULL;
        return r;
    }
    copyup->write_op = rados_create_write_op();
    if (!copyup->write_op)
        return -ENOMEM;
    name_data(object, io->prefix, copyup->number);
    rados_write_op_exec(copyup->write_op, "rbd", "sparse_copyup", (const char *)in->data, in->len,
                        NULL);
    return rados_aio_write_op_operate(copyup->write_op, io->bare, copyup->completion, object, NULL,
                                      0);
}

static void copyup_read(struct image_request *read, int result)
{
    struct copyup *copyup = (struct copyup *)(void *)((char *)read - offsetof(struct copyup, read));
    cleanup_encoder struct encoder in = {0};

    if (result == 0) {
        size_t used = rbd_encode_sparse_copyup(&in, (const uint8_t *)copyup->data,
                                               atomic_load(&read->data_end), COPY_BLOCK);

        if (used == 0)
            result = COPYUP_NOTHING;
        else
            result = in.failed ? -ENOMEM : copyup_write(copyup, &in);
        if (used > 0 && result == 0)
            return; /* copyup_written goes on */
    }
    copyup_end(copyup, result);
}

static void copyup_begin(struct copyup *copyup)
{
    struct image_io *io = copyup->io;
    uint64_t length = copyup_overlap(io, copyup->number);

    if (length == 0) { /* the parent was given up meanwhile */
        copyup_end(copyup, COPYUP_NOTHING);
        return;
    }
    copyup->data = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copyup->data == MAP_FAILED) {
        copyup->data = NULL;
        copyup_end(copyup, -ENOMEM);
        return;
    }
    copyup->size = length;
    copyup->read = (struct image_request){.kind = IMAGE_READ,
                                          .offset = copyup->number << io->order,
                                          .length = length,
                                          .buffer = copyup->data,
                                          .zeroed = true,
                                          .done = copyup_read};
    image_submit(io->parent, &copyup->read);
}

static struct copyup *find_in(const struct copyup_list *list, uint64_t number)
{
    struct copyup *copyup = TAILQ_FIRST(list);

    while (copyup && copyup->number != number)
        copyup = TAILQ_NEXT(copyup, link);
    return copyup;
}

static struct copyup *find(const struct image_io *io, uint64_t number)
{
    struct copyup *copyup = find_in(&io->copyups.running, number);

    return copyup ? copyup : find_in(&io->copyups.queued, number);
}

void copyup_wait(struct image_io *io, struct extent *extent)
{
    struct copyup *copyup;
    bool begins = false;

    {
        WITH_LOCK(&io->copyups.lock);
        copyup = find(io, extent->number);
        if (!copyup) {
            copyup = calloc(1, sizeof(*copyup));
            if (copyup) {
                copyup->io = io;
                copyup->number = extent->number;
                STAILQ_INIT(&copyup->waiting);
                begins = io->copyups.count < io->copyups.most;
                if (begins) {
                    io->copyups.count++;
                    TAILQ_INSERT_TAIL(&io->copyups.running, copyup, link);
                } else {
                    TAILQ_INSERT_TAIL(&io->copyups.queued, copyup, link);
                }
            }
        }
        if (copyup)
            STAILQ_INSERT_TAIL(&copyup->waiting, extent, waiting);
    }
    if (!copyup)
        extent_resume(extent, -ENOMEM);
    else if (begins)
        copyup_begin(copyup);
}
