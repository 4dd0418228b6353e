/* SPDX-License-Identifier: Apache-2.0 */
#include "image/flatten.h"

#include <errno.h>

#include "base/clock.h"
#include "image/flatten_steps.h"
#include "image/io.h"
#include "image/owner_ask.h"
#include "image/ownership.h"

/* Ask the owner, or be the owner ourselves; flatten_steps.h has the steps. */

#define PARALLEL        32
#define WATCH_TIMEOUT_S 15
#define TELL_MS         10000

/* Owners that one call asks, one after the other. */
#define OWNERS_MAX 100

struct work {
    struct cluster *cluster;
    const char *id;
    const struct flatten *options;
    struct ownership *ownership;
    int64_t deadline;
};

static int report(const struct flatten *options, uint64_t done, uint64_t total)
{
    return options->progress && options->progress(options->arg, done, total) != 0 ? -ECANCELED : 0;
}

static int look_around(void *arg, uint64_t done, uint64_t total)
{
    struct work *work = arg;

    ownership_run(work->ownership); /* others on the header wait for answers */
    if (ownership_state(work->ownership) == OWNERSHIP_FENCED)
        return -ESHUTDOWN;
    if (deadline_left_ms(work->deadline) == 0)
        return -ETIMEDOUT;
    return report(work->options, done, total);
}

static int failed(const char *id, int code, struct error *err)
{
    switch (code) {
    case -ECANCELED:
        return error_set(err, code, "stopped; flatten it again to go on");
    case -ETIMEDOUT:
        return error_set(err, code, "did not end in time; flatten it again to go on");
    case -ESHUTDOWN:
        return error_set(err, code, "another host took the image over meanwhile");
    default:
        return error_errno(err, code, "cannot copy all objects of image %s", id);
    }
}

static int copy_up(struct work *work, const struct image_header *header, struct error *err)
{
    const struct flatten_copy how = {.parallel = PARALLEL, .look = look_around, .arg = work};
    struct image_io *io;
    int r;

    if (!flatten_must_copy(header))
        return 0;
    r = image_io_open(work->cluster, header, &io, err);
    if (r < 0)
        return r;
    r = flatten_copy(io, header->parent_overlap, &how);
    image_io_close(io); /* waits for what is under way */
    return r < 0 ? failed(work->id, r, err) : 0;
}

static int do_it_ourselves(struct work *work, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    struct owned_image image = {.cluster = work->cluster, .id = work->id};
    int r = ownership_acquire(work->cluster, work->id, work->options->host, "", WATCH_TIMEOUT_S,
                              work->deadline, &header, &work->ownership, err);

    if (r < 0)
        return r;
    if (header.shows_parent) {
        r = copy_up(work, &header, err);
        image.cookie = ownership_cookie(work->ownership);
        if (r == 0)
            r = flatten_part(&image, &header, work->deadline, err);
        image_announce(work->cluster, work->id, deadline_in_ms(TELL_MS));
    }
    ownership_release(work->ownership);
    return r;
}

static int on_progress(void *arg, uint64_t done, uint64_t total)
{
    const struct work *work = arg;

    return report(work->options, done, total);
}

static int ask_owner(struct work *work, const struct lock_holder *holder, struct error *err)
{
    const struct header_notify request = {.op = NOTIFY_FLATTEN};
    struct owner_ask *ask;
    int r = owner_ask_open(work->cluster, work->id, holder, work->deadline, &ask, err);

    if (r < 0)
        return r;
    owner_ask_on_progress(ask, on_progress, work);
    r = owner_ask_work(ask, &request, work->deadline, err);
    owner_ask_close(ask);
    if (r == -ECANCELED)
        return error_set(err, r, "its owner goes on with it");
    if (r == -ESHUTDOWN)
        return error_set(err, r, "its owner gave it back meanwhile; flatten it again to go on");
    return r;
}

/* Ask the owner there is, if any. *RET_ASKED: whom (client id); 0: nobody. */
static int ask_if_owned(struct work *work, uint64_t *ret_asked, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(work->cluster, work->id, work->deadline, &header, err);

    *ret_asked = 0;
    if (r < 0 || !header.shows_parent)
        return r;
    if (header.lock.count == 0)
        return OWNER_SAYS_NOTHING;
    *ret_asked = header.lock.holder.client_id;
    return ask_owner(work, &header.lock.holder, err);
}

/* An owner that ended without an answer may have a successor, which knows nothing of it. */
static bool has_successor(const struct work *work, uint64_t asked)
{
    cleanup_image_header struct image_header header = {0};

    return image_read_header(work->cluster, work->id, work->deadline, &header, NULL) == 0 &&
           header.lock.count > 0 && header.lock.holder.client_id != asked;
}

int image_flatten(struct cluster *cluster, const char *id, const struct flatten *flatten,
                  int64_t deadline, struct error *err)
{
    struct work work = {.cluster = cluster, .id = id, .options = flatten, .deadline = deadline};
    unsigned owners = 0;
    uint64_t asked;
    int r;

    do
        r = ask_if_owned(&work, &asked, err);
    while ((r == -ETIMEDOUT || r == -ESHUTDOWN) && ++owners < OWNERS_MAX &&
           has_successor(&work, asked));
    return r == OWNER_SAYS_NOTHING ? do_it_ourselves(&work, err) : r;
}
