/* SPDX-License-Identifier: Apache-2.0 */
#include "image/flatten.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/clone.h"
#include "image/io.h"
#include "image/owner_work.h"
#include "image/ownership.h"

/* The steps of flatten.h. The objects are IMAGE_COPY_UP requests, some at a time; how many of them
 * are in memory is the business of the I/O (io_copyup.c). */

#define PARALLEL        32
#define WATCH_TIMEOUT_S 15
#define TELL_MS         10000

/* The calling thread reports so often. */
#define REPORT_MS 200

struct work {
    struct cluster *cluster;
    const char *id;
    const struct flatten *options;
    struct ownership *ownership;
    struct image_header header;
    int64_t deadline;

    struct image_io *io;
    uint64_t total; /* objects */
    pthread_mutex_t lock;
    pthread_cond_t ended; /* a request */
    unsigned under_way;
    uint64_t done;
    int result;
};

struct piece {
    struct image_request request;
    struct work *work;
};

static void piece_done(struct image_request *request, int result)
{
    struct piece *piece = (struct piece *)request;
    struct work *work = piece->work;

    free(piece);
    WITH_LOCK(&work->lock);
    work->under_way--;
    if (result == 0)
        work->done++;
    else if (work->result == 0)
        work->result = result;
    pthread_cond_signal(&work->ended);
}

static int start_piece(struct work *work, uint64_t number)
{
    uint64_t size = image_io_object_size(work->io);
    uint64_t left = work->header.parent_overlap - number * size;
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
    const struct timespec until = deadline_timespec(deadline_in_ms(REPORT_MS));
    WITH_LOCK(&work->lock);

    while (work->under_way >= most && work->result == 0 &&
           pthread_cond_timedwait(&work->ended, &work->lock, &until) != ETIMEDOUT)
        ;
    *ret_fewer = work->under_way < most;
    return work->result;
}

static int look_around(struct work *work, uint64_t done)
{
    ownership_run(work->ownership); /* others on the header wait for answers */
    if (ownership_state(work->ownership) == OWNERSHIP_FENCED)
        return -ESHUTDOWN;
    if (deadline_left_ms(work->deadline) == 0)
        return -ETIMEDOUT;
    if (work->options->progress &&
        work->options->progress(work->options->arg, done, work->total) != 0)
        return -ECANCELED;
    return 0;
}

static uint64_t objects_done(struct work *work)
{
    WITH_LOCK(&work->lock);
    return work->done;
}

static int copy_objects(struct work *work)
{
    int64_t reported = 0;
    uint64_t next = 0;
    int r = 0;

    while (r == 0 && objects_done(work) < work->total) {
        bool all = next == work->total;
        bool fewer;

        r = wait_a_moment(work, all ? 1 : PARALLEL, &fewer);
        if (r == 0 && fewer && !all)
            r = start_piece(work, next++);
        if (r == 0 && clock_now() - reported >= REPORT_MS * NS_PER_MS) {
            r = look_around(work, objects_done(work));
            reported = clock_now();
        }
    }
    return r == 0 ? look_around(work, work->total) : r;
}

static int copy_failed(const struct work *work, int code, struct error *err)
{
    switch (code) {
    case -ECANCELED:
        return error_set(err, code, "stopped; flatten it again to go on");
    case -ETIMEDOUT:
        return error_set(err, code, "did not end in time; flatten it again to go on");
    case -ESHUTDOWN:
        return error_set(err, code, "another host took the image over meanwhile");
    default:
        return error_errno(err, code, "cannot copy all objects of image %s", work->id);
    }
}

/* Copy up all that shows the parent's. */
static int copy_up(struct work *work, struct error *err)
{
    uint64_t size = UINT64_C(1) << work->header.order;
    int r;

    if (!work->header.shows_parent || image_header_metadata(&work->header, FLATTEN_KEY))
        return 0;
    work->total = (work->header.parent_overlap + size - 1) / size;
    r = image_io_open(work->cluster, &work->header, &work->io, err);
    if (r < 0)
        return r;
    pthread_mutex_init(&work->lock, NULL);
    clock_init_cond(&work->ended);
    r = copy_objects(work);
    image_io_close(work->io); /* waits for what is under way */
    pthread_cond_destroy(&work->ended);
    pthread_mutex_destroy(&work->lock);
    return r < 0 ? copy_failed(work, r, err) : 0;
}

/* Does a snapshot need the parent after the image itself does not? 1, 0 or a negative errno. */
static int snapshots_need_it(struct work *work, struct error *err)
{
    const struct rbd_snap_context *snapc = &work->header.snapc;
    bool shows = false;
    uint64_t overlap;

    if (work->header.features & RBD_FEATURE_DEEP_FLATTEN)
        return 0;
    for (size_t i = 0; i < snapc->count && !shows; i++) {
        int r = image_parent_overlap(work->cluster, work->id, snapc->snaps[i], work->deadline,
                                     &shows, &overlap, err);

        if (r < 0 && r != -ENOENT)
            return r;
    }
    return shows;
}

/* All objects are copied. */
static int part(struct work *work, struct error *err)
{
    const struct owned_image image = {
        .cluster = work->cluster, .id = work->id, .cookie = ownership_cookie(work->ownership)};
    int needed = snapshots_need_it(work, err);
    int r = needed < 0 ? needed : 0;

    if (needed == 0) {
        r = owned_set_metadata(&image, FLATTEN_KEY, "1", work->deadline, err);
        if (r == 0)
            r = clone_strike_off(work->cluster, &work->header, work->deadline, err);
    }
    if (r == 0)
        r = owned_part(&image, FLATTEN_KEY, work->deadline, err);
    if (r == 0 && needed == 0)
        clone_drop_unneeded(work->cluster, &work->header, work->deadline);
    return r;
}

int image_flatten(struct cluster *cluster, const char *id, const struct flatten *flatten,
                  int64_t deadline, struct error *err)
{
    struct work work = {.cluster = cluster, .id = id, .options = flatten, .deadline = deadline};
    int r = ownership_acquire(cluster, id, flatten->host, "", WATCH_TIMEOUT_S, deadline,
                              &work.header, &work.ownership, err);

    if (r < 0)
        return r;
    if (work.header.shows_parent) {
        r = copy_up(&work, err);
        if (r == 0)
            r = part(&work, err);
        image_announce(cluster, id, deadline_in_ms(TELL_MS));
    }
    ownership_release(work.ownership);
    image_header_free(&work.header);
    return r;
}
