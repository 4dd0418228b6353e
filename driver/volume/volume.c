/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "image/io.h"
#include "image/lifecycle.h"
#include "rados/pool_usage.h"
#include "volume/filesystem.h"
#include "volume/metadata.h"

/* Time kept back from a removal's deadline for its answer; what is not deleted by then is left to
 * the sweep. */
#define REMOVE_RESERVE_MS 5000

#define SNAPSHOTS_LOOKED_AT 8
#define SNAPSHOT_OF_USER    0 /* rbd_snapshot's namespace_type */

void volume_facts_free(struct volume_facts *facts)
{
    rbd_pairs_free(&facts->labels);
    rbd_pairs_free(&facts->takeovers);
    rbd_pairs_free(&facts->restores);
    *facts = (struct volume_facts){0};
}

int volume_read(struct cluster *cluster, const char *name, int64_t deadline,
                struct volume_facts *ret, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    char id[IMAGE_ID_MAX];
    int r = image_find(cluster, name, deadline, id, err);

    if (r < 0)
        return cluster_explain(cluster, r, err);
    r = image_read_header(cluster, id, deadline, &header, err);
    if (r == -ENOENT) /* a removal by other tools that was cut short leaves this */
        return error_set(err, -ESTALE,
                         "volume '%s' leads to image %s, which is gone: finish its removal with "
                         "'rbd rm %s/%s'",
                         name, id, cluster_pool(cluster), name);
    if (r == 0)
        r = metadata_to_facts(&header, name, ret);
    cluster_explain(cluster, r, err);
    return r < 0 ? error_wrap(err, "cannot read volume '%s'", name) : 0;
}

int volume_check_changeable(const struct volume_facts *facts, const char *doing, struct error *err)
{
    if (!facts->read_only)
        return 0;
    return error_set(err, -EROFS,
                     "volume '%s' shows '%s' as it is (access=ro) and is not %s: make a volume "
                     "that can be with 'radosvol clone %s NEW'",
                     facts->name, facts->from, doing, facts->name);
}

const char *volume_data_pool(const struct cluster *cluster, const struct volume_facts *facts)
{
    return facts->data_pool[0] != '\0' ? facts->data_pool : cluster_pool(cluster);
}

int volume_check_space(struct cluster *cluster, const char *pool, struct error *err)
{
    struct error why;
    int r = pool_check_space(cluster, pool, &why);

    if (r != -ENOSPC && r != -EDQUOT)
        return r;
    return error_set(err, r,
                     "%.256s: writes that need space wait until there is some (or fail, with "
                     "WHEN_FULL=fail); add OSDs, raise the quota, or remove something",
                     why.text);
}

int volume_newest_snapshot(struct cluster *cluster, const char *id, int64_t deadline,
                           struct timespec *ret, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(cluster, id, deadline, &header, err);

    for (size_t i = 0; r == 0 && i < header.snapc.count && i < SNAPSHOTS_LOOKED_AT; i++) {
        struct rbd_snapshot snapshot;

        r = image_snapshot(cluster, id, header.snapc.snaps[i], deadline, &snapshot, err);
        if (r == 0 && snapshot.namespace_type == SNAPSHOT_OF_USER) {
            *ret = snapshot.created;
            return 0;
        }
        if (r == -ENOENT) /* removed meanwhile */
            r = 0;
    }
    return r < 0 ? r : error_set(err, -ENODATA, "image %s has no snapshot", id);
}

int volume_list(struct cluster *cluster, int64_t deadline, struct rbd_pairs *ret, struct error *err)
{
    return cluster_explain(cluster, image_list(cluster, deadline, ret, err), err);
}

int volume_remove(struct cluster *cluster, const char *name, unsigned keep_s, int64_t deadline,
                  bool *ret_more, struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    int r = volume_read(cluster, name, deadline, &facts, err);

    *ret_more = false;
    if (r < 0)
        return r;
    if (facts.protect)
        return error_set(err, -EPERM,
                         "volume '%s' is protected (it was created with protect=true): take the "
                         "protection off with 'rbd image-meta remove %s/%s " META_PROTECT "'",
                         name, cluster_pool(cluster), name);
    r = keep_s > 0 ? image_trash(cluster, name, facts.id, keep_s, deadline, err)
                   : image_unpublish(cluster, name, facts.id, META_REMOVING, deadline, err);
    cluster_explain(cluster, r, err);
    if (r < 0)
        return error_wrap(err, "cannot remove volume '%s'", name);
    if (keep_s > 0)
        return 0;
    /* The volume is gone; how fast its space follows is not the caller's concern. */
    *ret_more = image_delete(cluster, facts.id, deadline - REMOVE_RESERVE_MS * NS_PER_MS, NULL) < 0;
    return 0;
}

int volume_sweep(struct cluster *cluster, int64_t deadline, struct error *err)
{
    return cluster_explain(cluster, image_sweep(cluster, META_PREFIX, deadline, err), err);
}

int volume_record_used(struct cluster *cluster, const char *id, uint64_t used, int64_t deadline,
                       struct error *err)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, used);
    return image_set_metadata(cluster, id, META_USED, text, deadline, err);
}

int volume_logical_block(struct cluster *cluster, const struct volume_facts *facts,
                         int64_t deadline, uint32_t *ret, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    uint8_t superblock[4096] = {0};
    struct image_io *io;
    int r;

    *ret = 4096;
    if (facts->formatted)
        return 0;
    r = image_read_header(cluster, facts->id, deadline, &header, err);
    if (r < 0)
        return r;
    r = image_io_open(cluster, &header, &io, err);
    if (r < 0)
        return r;
    r = header.size >= sizeof(superblock)
            ? image_run(io, IMAGE_READ, 0, sizeof(superblock), superblock)
            : -EINVAL;
    image_io_close(io);
    if (r < 0)
        return error_errno(err, r, "cannot read the first block of volume '%s'", facts->name);
    *ret = filesystem_logical_block(superblock);
    return 0;
}
