/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_service.h"

#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "image/flatten_steps.h"
#include "image/owner_work.h"

/* Times. Who asks hears nothing until the end and gives us up after 30 s (librbd's
 * rbd_request_timed_out_seconds, and OWNER_SILENT_MS), so all of it stays below; and what happens
 * while the file system is frozen stays below OWNERSHIP_FREEZE_MAX_MS. */
#define FREEZE_MS 12000 /* until it is frozen: much to be written out first */
#define PAUSE_MS  4000  /* frozen, for requests under way */
#define ADD_MS    4000  /* frozen and paused */
#define WORK_MS   10000 /* whatever else a request needs */

static int freeze(struct owner_service *service, struct error *err)
{
    if (!service->hooks.freeze)
        return 0;
    return service->hooks.freeze(service->hooks.arg, deadline_in_ms(FREEZE_MS), err);
}

static int thaw(struct owner_service *service)
{
    return service->hooks.thaw ? service->hooks.thaw(service->hooks.arg) : 0;
}

/* Add the snapshot while nothing is written. */
static int add_paused(struct owner_service *service, const struct owned_image *image,
                      const char *name, struct error *err)
{
    uint64_t snap_id;
    int r = image_io_pause(service->io, deadline_in_ms(PAUSE_MS));

    if (r < 0)
        return error_errno(err, r, "the cluster does not end what was written before snapshot '%s'",
                           name);
    r = owned_snapshot_add(image, name, deadline_in_ms(ADD_MS), &snap_id, err);
    image_io_resume(service->io);
    return r;
}

static int create_snapshot(struct owner_service *service, const struct owned_image *image,
                           const struct header_notify *request, struct error *err)
{
    const bool freezes = service->frozen_until == 0 && !(request->flags & NOTIFY_SNAP_SKIP_QUIESCE);
    bool frozen = false;
    int r = freezes ? freeze(service, err) : 0;

    if (r < 0 && !(request->flags & NOTIFY_SNAP_IGNORE_QUIESCE_ERROR))
        return r;
    frozen = freezes && r == 0;
    r = add_paused(service, image, request->snapshot, err);
    if (!frozen || thaw(service) == 0 || r < 0)
        return r;
    /* It is not known whether the file system was still frozen when it counted. */
    owned_snapshot_remove(image, request->snapshot, deadline_in_ms(WORK_MS), NULL);
    return error_set(err, -ETIMEDOUT,
                     "the file system did not stay frozen for as long as snapshot '%s' took",
                     request->snapshot);
}

/* Each freeze is of one request: who asked for it is to hear at its end whether it held, which a
 * second request's end in between would make a lie. */
static int quiesce(struct owner_service *service, const struct notify_id *id, struct error *err)
{
    int r;

    if (service->frozen_until != 0)
        return error_set(err, -EBUSY, "it is frozen for client %" PRIu64 " already",
                         service->frozen_for.client_id);
    r = freeze(service, err);
    if (r == 0) {
        service->frozen_until = deadline_in_ms(OWNERSHIP_FREEZE_MAX_MS);
        service->frozen_for = *id;
    }
    return r;
}

int owner_service_end_quiesce(struct owner_service *service)
{
    service->frozen_until = 0;
    return thaw(service);
}

static int unquiesce(struct owner_service *service, const struct notify_id *id, struct error *err)
{
    if (service->frozen_until == 0 || !notify_same_id(&service->frozen_for, id) ||
        owner_service_end_quiesce(service) < 0)
        return error_set(err, -ETIMEDOUT, "that freeze had ended before");
    return 0;
}

/* All its objects are copied. */
static int end_flatten(const struct owned_image *image, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    int64_t deadline = deadline_in_ms(WORK_MS);
    int r = image_read_header(image->cluster, image->id, deadline, &header, err);

    return r < 0 || !header.shows_parent ? r : flatten_part(image, &header, deadline, err);
}

int owner_service_do(struct owner_service *service, const struct header_notify *request,
                     const char *cookie, struct error *err)
{
    const struct owned_image image = {
        .cluster = service->cluster, .id = service->id, .cookie = cookie, .io = service->io};

    switch (request->op) {
    case NOTIFY_SNAP_CREATE:
        return create_snapshot(service, &image, request, err);
    case NOTIFY_SNAP_REMOVE:
        return owned_snapshot_remove(&image, request->snapshot, deadline_in_ms(WORK_MS), err);
    case NOTIFY_FLATTEN:
        return end_flatten(&image, err);
    case NOTIFY_RESIZE:
        return owned_resize(&image, request->size, deadline_in_ms(WORK_MS), err);
    case NOTIFY_QUIESCE:
        return quiesce(service, &request->id, err);
    case NOTIFY_UNQUIESCE:
        return unquiesce(service, &request->id, err);
    }
    return error_set(err, -EOPNOTSUPP, "request %u is not served", request->op);
}
