/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/clone.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/flatten.h"
#include "image/lifecycle.h"
#include "image/rollback.h"
#include "image/snapshot.h"
#include "volume/metadata.h"
#include "volume/volume.h"

/* The snapshot that is taken for a clone: this and the time. */
#define SNAPSHOT_PREFIX "clone-"

/* Time for taking it away again after a failure. */
#define UNDO_MS 10000

struct source {
    const char *name;
    struct image_header header;
    struct volume_facts facts;
    struct snapshot snapshot;
};

static void source_free(struct source *source)
{
    image_header_free(&source->header);
    volume_facts_free(&source->facts);
}
#define cleanup_source __attribute__((cleanup(source_free)))

static const char *own_host(char host[HOST_NAME_MAX + 1])
{
    if (gethostname(host, HOST_NAME_MAX + 1) < 0)
        snprintf(host, HOST_NAME_MAX + 1, "unknown");
    return host;
}

static int read_source(struct cluster *cluster, const char *name, int64_t deadline,
                       struct source *ret, struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r = image_find(cluster, name, deadline, id, err);

    if (r == -ENOENT)
        return error_set(err, r, "there is no volume '%s' to clone", name);
    if (r == 0)
        r = image_read_header(cluster, id, deadline, &ret->header, err);
    if (r == 0)
        r = image_check_readable(&ret->header, err);
    if (r == 0 && metadata_to_facts(&ret->header, name, &ret->facts) < 0)
        r = error_set(err, -ENOMEM, "out of memory");
    ret->name = name;
    return r;
}

/* Take a snapshot of what the source holds now. */
static int take_snapshot(struct cluster *cluster, struct source *source, int64_t deadline,
                         struct error *err)
{
    char host[HOST_NAME_MAX + 1];
    char name[SNAPSHOT_NAME_MAX];
    char time_name[SNAPSHOT_NAME_MAX];
    struct timespec now;
    int r = rollback_check(&source->header, err);

    if (r < 0)
        return r;
    clock_gettime(CLOCK_REALTIME, &now);
    snapshot_default_name(now, time_name);
    snprintf(name, sizeof(name), SNAPSHOT_PREFIX "%.64s", time_name);
    return snapshot_create(cluster, source->header.id, name, own_host(host), deadline,
                           &source->snapshot, err);
}

/* Nobody but clones needs it any more: with a clone it goes to the image's own trash and leaves
 * with the clone's need for it. A failure leaves a snapshot too many, which its name explains. */
static void give_up_snapshot(struct cluster *cluster, const struct source *source, int64_t deadline)
{
    char host[HOST_NAME_MAX + 1];
    bool trashed;

    snapshot_remove(cluster, source->header.id, source->snapshot.name, own_host(host), deadline,
                    &trashed, NULL);
}

static int differs(const struct source *source, const char *option, const char *is,
                   const char *wanted, struct error *err)
{
    return error_set(err, -EINVAL,
                     "a clone of volume '%s' has its %s, '%s', and cannot have '%s': leave the "
                     "option out",
                     source->name, option, is[0] ? is : "unknown", wanted);
}

/* What is in the file system cannot be chosen. */
static int check_contents(const struct source *source, const struct volume_options *options,
                          struct error *err)
{
    const struct volume_facts *facts = &source->facts;
    char uid[16];
    char gid[16];
    char mode[16];

    snprintf(uid, sizeof(uid), "%u", (unsigned)options->uid);
    snprintf(gid, sizeof(gid), "%u", (unsigned)options->gid);
    snprintf(mode, sizeof(mode), "%04o", (unsigned)options->mode);
    if (options->given & OPTION_FS && (!facts->formatted || facts->fs != options->fs))
        return differs(source, "fs", facts->formatted ? filesystem_name(facts->fs) : "",
                       filesystem_name(options->fs), err);
    if (options->given & OPTION_UID && strcmp(uid, facts->uid) != 0)
        return differs(source, "uid", facts->uid, uid, err);
    if (options->given & OPTION_GID && strcmp(gid, facts->gid) != 0)
        return differs(source, "gid", facts->gid, gid, err);
    if (options->given & OPTION_MODE && strcmp(mode, facts->mode) != 0)
        return differs(source, "mode", facts->mode, mode, err);
    return 0;
}

/* OPTIONS with what they leave out taken from the source. *RET borrows. */
static int complete_options(const struct source *source, const struct volume_options *options,
                            struct volume_options *ret, struct error *err)
{
    const struct volume_facts *facts = &source->facts;
    char sizes[2][24];
    int r = check_contents(source, options, err);

    if (r < 0)
        return r;
    *ret = *options;
    ret->fs = facts->fs;
    if (!(options->given & OPTION_SIZE))
        ret->size = source->snapshot.size;
    if (!(options->given & OPTION_MOUNT_OPTIONS))
        snprintf(ret->mount_options, sizeof(ret->mount_options), "%s", facts->mount_options);
    if (!(options->given & OPTION_OBJECT_SIZE))
        ret->order = source->header.order;
    if (!(options->given & OPTION_DATA_POOL))
        snprintf(ret->data_pool, sizeof(ret->data_pool), "%s", facts->data_pool);
    if (ret->size < source->snapshot.size) {
        size_format(source->snapshot.size, sizes[0], sizeof(sizes[0]));
        size_format(ret->size, sizes[1], sizeof(sizes[1]));
        return error_set(err, -EINVAL,
                         "what is cloned has %s, and the clone cannot be smaller (%s): its file "
                         "system would lose its end",
                         sizes[0], sizes[1]);
    }
    if (ret->read_only && ret->size > source->snapshot.size) {
        size_format(source->snapshot.size, sizes[0], sizeof(sizes[0]));
        size_format(ret->size, sizes[1], sizeof(sizes[1]));
        return error_set(err, -EINVAL,
                         "what is shown has %s, and with access=ro its file system cannot grow "
                         "into more (%s): leave option 'size' out",
                         sizes[0], sizes[1]);
    }
    /* Whatever a stock tool made is taken as it is. */
    return facts->formatted ? volume_options_check(ret, err) : 0;
}

static int data_pool(struct cluster *cluster, const struct source *source,
                     const struct volume_options *options, int64_t *ret, struct error *err)
{
    *ret = source->header.data_pool_id;
    if (!(options->given & OPTION_DATA_POOL))
        return 0;
    *ret = cluster_pool_lookup(cluster, options->data_pool, err);
    return *ret < 0 ? (int)*ret : 0;
}

static int make_clone(struct cluster *cluster, const struct source *source, const char *name,
                      const struct volume_options *options, int64_t deadline, struct error *err)
{
    struct rbd_parent parent = {.pool_id = cluster_pool_id(cluster),
                                .snap_id = source->snapshot.id};
    struct image_spec spec = {.parent = &parent, .overlap = source->snapshot.size};
    cleanup_image_header struct image_header header = {0};
    struct volume_options complete;
    struct rbd_pairs metadata = {0};
    int r = complete_options(source, options, &complete, err);

    if (r == 0)
        r = data_pool(cluster, source, options, &spec.data_pool_id, err);
    if (r < 0)
        return r;
    if (metadata_for_clone(&complete, &source->facts, &metadata) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    snprintf(parent.namespace, sizeof(parent.namespace), "%s", cluster_namespace(cluster));
    snprintf(parent.image_id, sizeof(parent.image_id), "%s", source->header.id);
    spec.size = complete.size;
    spec.order = complete.order;
    spec.metadata = metadata.items;
    spec.metadata_count = metadata.count;
    r = image_prepare(cluster, name, &spec, deadline, &header, err);
    rbd_pairs_free(&metadata);
    if (r < 0)
        return r;
    r = image_publish(cluster, name, header.id, deadline, err);
    if (r < 0)
        image_abandon(cluster, header.id, r, NULL);
    return r;
}

static int check_free(struct cluster *cluster, const char *name, int64_t deadline,
                      struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r = image_find(cluster, name, deadline, id, err);

    if (r == 0)
        return error_set(err, -EEXIST, "volume '%s' exists", name);
    return r == -ENOENT ? 0 : r;
}

int volume_clone(struct cluster *cluster, const char *source_name, const char *snapshot,
                 const char *name, const struct volume_options *options, int64_t deadline,
                 struct error *err)
{
    cleanup_source struct source source = {0};
    int r = volume_name_check(name, err);

    if (r == 0) /* before anything is changed */
        r = check_free(cluster, name, deadline, err);
    if (r == 0)
        r = read_source(cluster, source_name, deadline, &source, err);
    if (r == 0)
        r = snapshot ? snapshot_find(cluster, source.header.id, snapshot, deadline,
                                     &source.snapshot, err)
                     : take_snapshot(cluster, &source, deadline, err);
    if (r == -ENOENT && snapshot && source.header.id[0])
        r = error_set(err, r, "volume '%s' has no snapshot '%s'", source_name, snapshot);
    if (r == 0) {
        r = make_clone(cluster, &source, name, options, deadline, err);
        if (!snapshot)
            give_up_snapshot(cluster, &source, r == 0 ? deadline : deadline_in_ms(UNDO_MS));
    }
    cluster_explain(cluster, r, err);
    return r < 0 ? error_wrap(err, "cannot clone volume '%s' as '%s'", source_name, name) : 0;
}

int volume_clone_from(struct cluster *cluster, const char *name,
                      const struct volume_options *options, int64_t deadline, struct error *err)
{
    char source[FROM_MAX];
    char *snapshot;
    int r = volume_options_check_access(options, err);

    if (r < 0)
        return r;
    snprintf(source, sizeof(source), "%s", options->from);
    snapshot = strchr(source, '@');
    if (snapshot)
        *snapshot++ = '\0';
    return volume_clone(cluster, source, snapshot, name, options, deadline, err);
}

struct report {
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

static int on_progress(void *arg, uint64_t done, uint64_t total)
{
    const struct report *report = arg;

    report->progress(report->arg, done, total);
    return 0;
}

int volume_flatten(struct cluster *cluster, const char *name,
                   void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   int64_t deadline, struct error *err)
{
    struct report report = {.progress = progress, .arg = arg};
    char host[HOST_NAME_MAX + 1];
    const struct flatten flatten = {
        .host = own_host(host), .progress = progress ? on_progress : NULL, .arg = &report};
    cleanup_volume_facts struct volume_facts facts = {0};
    int r = volume_read(cluster, name, deadline, &facts, err);

    if (r == 0)
        r = volume_check_changeable(&facts, "flattened", err);
    if (r == 0)
        r = image_flatten(cluster, facts.id, &flatten, deadline, err);
    cluster_explain(cluster, r, err);
    return r < 0 ? error_wrap(err, "cannot flatten volume '%s'", name) : 0;
}
