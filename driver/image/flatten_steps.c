/* SPDX-License-Identifier: Apache-2.0 */
#include "image/flatten_steps.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/clone.h"
#include "image/flatten.h"

/* How often the calling thread looks around. */
#define LOOK_MS 200

/* Shared with the pieces under way, and freed by the last who lets go: the caller may have gone
 * before the cluster answers. */
struct work {
    struct image_io *io;
    uint64_t overlap; /* bytes */
    uint64_t total;   /* objects */
    pthread_mutex_t lock;
    pthread_cond_t ended; /* a piece */
    unsigned under_way;
    uint64_t done;
    int result;
    bool left; /* by the caller */
};

struct piece {
    struct image_request request;
    struct work *work;
};

bool flatten_must_copy(const struct image_header *header)
{
    return header->shows_parent && !image_header_metadata(header, FLATTEN_KEY);
}

static void work_free(struct work *work)
{
    pthread_cond_destroy(&work->ended);
    pthread_mutex_destroy(&work->lock);
    free(work);
}

static void work_leave(struct work *work)
{
    bool last;

    {
        WITH_LOCK(&work->lock);
        work->left = true;
        last = work->under_way == 0;
    }
    if (last)
        work_free(work);
}

static void piece_done(struct image_request *request, int result)
{
    struct piece *piece = (struct piece *)request;
    struct work *work = piece->work;
    bool last;

    free(piece);
    {
        WITH_LOCK(&work->lock);
        work->under_way--;
        if (result == 0)
            work->done++;
        else if (work->result == 0)
            work->result = result;
        pthread_cond_signal(&work->ended);
        last = work->left && work->under_way == 0;
    }
    if (last)
        work_free(work);
}

static int start_piece(struct work *work, uint64_t number)
{
    uint64_t size = image_io_object_size(work->io);
    uint64_t left = work->overlap - number * size;
    struct piece *piece = calloc(1, sizeof(*piece));

    if (!piece)
        return -ENOMEM;
    piece->work = work;
    piece->request = (struct image_request){.kind = IMAGE_COPY_UP,
                                            .offset = number * size,
                                            .length = left < size ? left : size,
                                            .done = piece_done};
    {
        WITH_LOCK(&work->lock);
        work->under_way++;
    }
    image_submit(work->io, &piece->request);
    return 0;
}

/* Wait until fewer than MOST are under way, or a moment; returns the first failure. */
static int wait_a_moment(struct work *work, unsigned most, bool *ret_fewer)
{
    const struct timespec until = deadline_timespec(deadline_in_ms(LOOK_MS));
    WITH_LOCK(&work->lock);

    while (work->under_way >= most && work->result == 0 &&
           pthread_cond_timedwait(&work->ended, &work->lock, &until) != ETIMEDOUT)
        ;
    *ret_fewer = work->under_way < most;
    return work->result;
}

static uint64_t objects_done(struct work *work)
{
    WITH_LOCK(&work->lock);
    return work->done;
}

static int copy_objects(struct work *work, const struct flatten_copy *how)
{
    int64_t looked = 0;
    uint64_t next = 0;
    int r = 0;

    while (r == 0 && objects_done(work) < work->total) {
        bool all = next == work->total;
        bool fewer;

        r = wait_a_moment(work, all ? 1 : how->parallel, &fewer);
        if (r == 0 && fewer && !all)
            r = start_piece(work, next++);
        if (r == 0 && clock_now() - looked >= LOOK_MS * NS_PER_MS) {
            r = how->look(how->arg, objects_done(work), work->total);
            looked = clock_now();
        }
    }
    return r == 0 ? how->look(how->arg, work->total, work->total) : r;
}

int flatten_copy(struct image_io *io, uint64_t overlap, const struct flatten_copy *how)
{
    uint64_t size = image_io_object_size(io);
    struct work *work = calloc(1, sizeof(*work));
    int r;

    if (!work)
        return -ENOMEM;
    work->io = io;
    work->overlap = overlap;
    work->total = (overlap + size - 1) / size;
    pthread_mutex_init(&work->lock, NULL);
    clock_init_cond(&work->ended);
    r = copy_objects(work, how);
    work_leave(work);
    return r;
}

/* Does a snapshot need the parent after the image itself does not? 1, 0 or a negative errno. */
static int snapshots_need_it(const struct owned_image *image, const struct image_header *header,
                             int64_t deadline, struct error *err)
{
    const struct rbd_snap_context *snapc = &header->snapc;
    bool shows = false;
    uint64_t overlap;

    if (header->features & RBD_FEATURE_DEEP_FLATTEN)
        return 0;
    for (size_t i = 0; i < snapc->count && !shows; i++) {
        int r = image_parent_overlap(image->cluster, image->id, snapc->snaps[i], deadline, &shows,
                                     &overlap, err);

        if (r < 0 && r != -ENOENT)
            return r;
    }
    return shows;
}

static int part(const struct owned_image *image, const struct image_header *header, bool needed,
                int64_t deadline, struct error *err)
{
    int r = 0;

    if (!needed) {
        r = owned_set_metadata(image, FLATTEN_KEY, "1", deadline, err);
        if (r == 0)
            r = clone_strike_off(image->cluster, header, deadline, err);
    }
    return r == 0 ? owned_part(image, FLATTEN_KEY, deadline, err) : r;
}

/* A request that has looked for an object before it was copied up may be about to read the parent
 * still; and one that comes later may take an object away for good, which only an image that has
 * parted may. So no request is under way at that moment. */
static int part_paused(const struct owned_image *image, const struct image_header *header,
                       bool needed, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header now = {0};
    int r = image_io_pause(image->io, deadline);

    if (r < 0)
        return error_errno(err, r, "the cluster does not end what was written before");
    r = part(image, header, needed, deadline, err);
    if (r == 0)
        r = image_read_header(image->cluster, image->id, deadline, &now, err);
    if (r == 0)
        r = image_io_refresh(image->io, &now, err);
    image_io_resume(image->io);
    return r;
}

int flatten_part(const struct owned_image *image, const struct image_header *header,
                 int64_t deadline, struct error *err)
{
    int needed = snapshots_need_it(image, header, deadline, err);
    int r;

    if (needed < 0)
        return needed;
    r = image->io ? part_paused(image, header, needed, deadline, err)
                  : part(image, header, needed, deadline, err);
    if (r == 0 && !needed)
        clone_drop_unneeded(image->cluster, header, deadline);
    return r;
}
