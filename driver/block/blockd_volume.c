/* SPDX-License-Identifier: Apache-2.0 */
#include "block/blockd_volume.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "block/freezer.h"
#include "block/keeper.h"
#include "image/image.h"
#include "image/io.h"
#include "image/lifecycle.h"
#include "image/ownership.h"
#include "image/reader.h"
#include "image/rollback.h"
#include "rados/cluster.h"

/* The steps of attaching. A cluster that is up answers in milliseconds; a dead holder of the lock
 * is waited for until the cluster gives it up (its watch timeout). Their sum stays below the 25 s
 * that the server waits, so that it hears why it failed. */
#define CONNECT_MS (20 * INT64_C(1000))
#define ATTACH_MS  (22 * INT64_C(1000))

/* How long a device may take to end. Nobody uses it any more by then. */
#define DETACH_MS (10 * INT64_C(1000))

/* Who asks for the end in spite of everything (a plugin's container that ends) does not wait long.
 */
#define ABANDON_MS 700

struct volume {
    const struct blockd_options *options;
    struct cluster *cluster;
    struct ownership *ownership; /* or, with options->shared, */
    struct reader *reader;
    struct image_io *io;
    const struct backend_ops *ops;
    struct backend *backend;
    struct freezer *freezer;
    char *identifier; /* of the device: see backend.h */
};

/* Give back what there is, in the reverse order. */
static void volume_free(struct volume *volume)
{
    reader_close(volume->reader);
    ownership_release(volume->ownership);
    freezer_close(volume->freezer);
    image_io_close(volume->io);
    cluster_close(volume->cluster);
    free(volume->identifier);
    free(volume);
}

static void cleanup_volumep(struct volume **volume)
{
    if (*volume)
        volume_free(*volume);
}

static void on_resize(void *arg, uint64_t size)
{
    struct volume *volume = arg;
    struct error err;

    if (volume->ops->resize(volume->backend, size, &err) < 0)
        log_error("volume '%s': cannot follow the image's new size: %s", volume->options->name,
                  err.text);
    else
        log_info("volume '%s': the device has %llu bytes now", volume->options->name,
                 (unsigned long long)size);
}

/* What others ask for is done in the owner's thread, which calls these. */

static int on_freeze(void *arg, int64_t deadline, struct error *err)
{
    const struct volume *volume = arg;

    return freezer_freeze(volume->freezer, deadline, err);
}

static int on_thaw(void *arg)
{
    const struct volume *volume = arg;

    return freezer_thaw(volume->freezer);
}

static void on_request(void *arg, const struct header_notify *request, int result,
                       const char *words)
{
    const struct volume *volume = arg;
    const char *name = volume->options->name;
    const char *what = notify_describe(request->op);

    if (result < 0)
        log_warning("volume '%s': %s%s%s%s for client %llu: %s", name, what,
                    request->snapshot[0] ? " '" : "", request->snapshot,
                    request->snapshot[0] ? "'" : "", (unsigned long long)request->id.client_id,
                    words);
    else
        log_info("volume '%s': %s%s%s%s for client %llu", name, what,
                 request->snapshot[0] ? " '" : "", request->snapshot,
                 request->snapshot[0] ? "'" : "", (unsigned long long)request->id.client_id);
}

/* The path of radosvol-freeze, which is installed beside this program. */
static int freeze_program(char ret[PATH_MAX], struct error *err)
{
    static const char name[] = "radosvol-freeze";
    ssize_t len = readlink("/proc/self/exe", ret, PATH_MAX - sizeof(name) - 1);
    char *slash;

    if (len <= 0)
        return error_errno(err, -errno, "cannot find the own program");
    ret[len] = '\0';
    slash = strrchr(ret, '/');
    if (!slash)
        return error_set(err, -ENOENT, "cannot find '%s'", name);
    memcpy(slash + 1, name, sizeof(name));
    return 0;
}

static void on_lock(void *arg, const struct lock_info *lock)
{
    const struct volume *volume = arg;
    char holder[512];

    ownership_describe(lock, holder, sizeof(holder));
    log_warning("volume '%s': %s has taken its lock, as one does who writes: what is read here may "
                "change under its readers (access=ro)",
                volume->options->name, holder);
}

/* The right to use the image, and its header. */
static int enter_image(struct volume *volume, bool resumes, int64_t deadline,
                       struct image_header *ret, struct error *err)
{
    const struct blockd_options *options = volume->options;

    if (options->shared)
        return reader_open(volume->cluster, options->image, options->host, resumes,
                           options->watch_timeout_s, deadline, ret, &volume->reader, err);
    return ownership_acquire(volume->cluster, options->image, options->host, options->token,
                             options->watch_timeout_s, deadline, ret, &volume->ownership, err);
}

static int open_image(struct volume *volume, bool resumes, struct error *err)
{
    const struct blockd_options *options = volume->options;
    const struct cluster_settings settings = {
        .conf = options->conf,
        .client = options->client,
        .pool = options->pool,
        .namespace = options->namespace,
    };
    cleanup_image_header struct image_header header = {0};
    int64_t deadline = deadline_in_ms(ATTACH_MS);
    int r =
        cluster_connect(&settings, CLUSTER_DATA, deadline_in_ms(CONNECT_MS), &volume->cluster, err);

    if (r < 0)
        return r;
    r = enter_image(volume, resumes, deadline, &header, err);
    if (r == 0)
        r = image_check_named(volume->cluster, options->name, &header, deadline, err);
    if (r == 0)
        r = rollback_check(&header, err);
    if (r < 0)
        return r;
    r = image_io_open(volume->cluster, &header, &volume->io, err);
    if (r < 0)
        return r;
    if (options->fail_when_full)
        image_io_fail_when_full(volume->io);
    if (options->shared) {
        reader_attach_io(volume->reader, volume->io);
        reader_on_lock(volume->reader, on_lock, volume);
    } else {
        ownership_attach_io(volume->ownership, volume->io);
    }
    return 0;
}

/* What an owner does for others. */
static int prepare_owner(struct volume *volume, struct fd_keeper *keeper, struct error *err)
{
    const struct ownership_hooks hooks = {
        .freeze = on_freeze, .thaw = on_thaw, .report = on_request, .arg = volume};
    char program[PATH_MAX];
    int r = freeze_program(program, err);

    if (r < 0)
        return r;
    r = freezer_open(program, volume_device(volume), keeper, &volume->freezer);
    if (r < 0)
        return error_errno(err, r, "cannot prepare for freezing '%s'", volume->options->name);
    ownership_set_hooks(volume->ownership, &hooks);
    ownership_on_resize(volume->ownership, on_resize, volume);
    return 0;
}

static int attach_device(struct volume *volume, struct fd_keeper *keeper, struct error *err)
{
    const struct backend_settings settings = {
        .name = volume->options->name,
        .identifier = volume->identifier,
        .logical_block_bytes = volume->options->block_bytes,
        .read_only = volume->options->read_only,
    };
    struct error limit;
    int r;

    volume->ops = backend_choose(volume->options->backend, keeper, err);
    if (!volume->ops)
        return err->code;
    if (volume->ops->caution && volume->ops->caution(&limit) < 0)
        log_warning("volume '%s': %s", volume->options->name, limit.text);
    r = volume->ops->attach(volume->io, keeper, &settings, &volume->backend, err);
    if (r < 0)
        return r;
    if (volume->ownership)
        r = prepare_owner(volume, keeper, err);
    if (r < 0)
        volume->ops->detach(volume->backend, deadline_in_ms(DETACH_MS), NULL);
    return r;
}

int volume_attach(const struct blockd_options *options, struct fd_keeper *keeper,
                  bool (*cancelled)(void *arg), void *arg, struct volume **ret, struct error *err)
{
    __attribute__((cleanup(cleanup_volumep))) struct volume *volume = calloc(1, sizeof(*volume));
    int r;

    if (!volume)
        return error_errno(err, -ENOMEM, "cannot attach");
    volume->options = options;
    /* Others may have devices of an image that nobody writes. */
    if (asprintf(&volume->identifier, "%s/%s/%s/%s", options->pool, options->namespace,
                 options->image, options->shared ? options->token : "") < 0) {
        volume->identifier = NULL;
        return error_errno(err, -ENOMEM, "cannot attach");
    }
    r = open_image(volume, keeper_client_count(keeper) > 0, err);
    if (r < 0)
        return r;
    if (cancelled(arg))
        return error_set(err, -ECANCELED, "asked to end before the device was attached");
    r = attach_device(volume, keeper, err);
    if (r < 0)
        return r;
    *ret = steal_pointer(&volume);
    return 0;
}

int volume_detach(struct volume *volume, struct error *err)
{
    int r = volume->ops->detach(volume->backend, deadline_in_ms(DETACH_MS), err);

    if (r < 0)
        return r;
    volume_free(volume);
    return 0;
}

int volume_abandon(struct volume *volume, struct error *err)
{
    int r;

    image_io_fence(volume->io);
    r = image_io_drain(volume->io, deadline_in_ms(ABANDON_MS));
    if (r < 0)
        return error_errno(err, r, "volume '%s' has requests that the cluster does not answer",
                           volume->options->name);
    reader_close(steal_pointer(&volume->reader));
    ownership_release(steal_pointer(&volume->ownership));
    return 0;
}

int volume_fd(const struct volume *volume)
{
    return volume->reader ? reader_fd(volume->reader) : ownership_fd(volume->ownership);
}

void volume_run(struct volume *volume)
{
    if (volume->reader)
        reader_run(volume->reader);
    else
        ownership_run(volume->ownership);
}

const char *volume_device(const struct volume *volume)
{
    return volume->ops->device(volume->backend);
}

const char *volume_loss(const struct volume *volume)
{
    if (volume->reader)
        return reader_state(volume->reader) == READER_CUT_OFF
                   ? "the cluster refuses this client, and reading needs another one"
                   : NULL;
    return ownership_state(volume->ownership) == OWNERSHIP_LOST
               ? "cut off from the cluster for so long that another host's fence may lapse unheard"
               : NULL;
}

const char *volume_fence(const struct volume *volume)
{
    if (volume->reader)
        return reader_state(volume->reader) == READER_GONE ? "its image is gone" : NULL;
    return ownership_state(volume->ownership) == OWNERSHIP_FENCED ? "another host took it over"
                                                                  : NULL;
}

void volume_status(const struct volume *volume, struct blockd_reply *ret)
{
    struct backend_stats stats;

    volume->ops->stats(volume->backend, &stats);
    ret->state = volume_fence(volume) ? BLOCKD_FENCED : BLOCKD_ATTACHED;
    ret->read_only = volume->options->read_only;
    ret->size = image_io_size(volume->io);
    ret->reads = latency_total(&stats.done[BACKEND_READ]);
    ret->writes = latency_total(&stats.done[BACKEND_WRITE]);
    ret->discards = latency_total(&stats.done[BACKEND_DISCARD]);
    ret->flushes = latency_total(&stats.done[BACKEND_FLUSH]);
    ret->read_bytes = stats.read_bytes;
    ret->write_bytes = stats.write_bytes;
    ret->errors = stats.errors;
    snprintf(ret->device, sizeof(ret->device), "%s", volume_device(volume));
    snprintf(ret->backend, sizeof(ret->backend), "%s", volume->ops->name);
}

void volume_stats(const struct volume *volume, struct blockd_stats *ret)
{
    int64_t age = clock_now() - (volume->reader ? reader_confirmed(volume->reader)
                                                : ownership_confirmed(volume->ownership));

    ret->state = volume_fence(volume) ? BLOCKD_FENCED : BLOCKD_ATTACHED;
    ret->size = image_io_size(volume->io);
    ret->watch_age_ms = age > 0 ? (uint64_t)(age / NS_PER_MS) : 0;
    volume->ops->stats(volume->backend, &ret->io);
}
