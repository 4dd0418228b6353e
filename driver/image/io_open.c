/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/io_parts.h"

/* Opening an image's I/O with that of its parents, and closing them. */

/* Parents of parents: what the kernel's client follows as well. */
#define PARENTS_MAX 16

static int open_above(struct cluster *cluster, const struct image_header *header, unsigned above,
                      int64_t deadline, struct image_io **ret, struct error *err);

static int open_snapshot_above(struct cluster *cluster, const struct image_header *header,
                               uint64_t snap_id, uint64_t snap_size, unsigned above,
                               int64_t deadline, struct image_io **ret, struct error *err)
{
    struct image_header at_snapshot = *header; /* borrows what it points to */
    int r = 0;

    if (header->parent.pool_id >= 0)
        r = image_parent_overlap(cluster, header->id, snap_id, deadline, &at_snapshot.shows_parent,
                                 &at_snapshot.parent_overlap, err);
    if (r == 0)
        r = open_above(cluster, &at_snapshot, above, deadline, ret, err);
    if (r < 0)
        return r;
    rados_ioctx_snap_set_read((*ret)->io, snap_id);
    (*ret)->is_snapshot = true;
    atomic_store(&(*ret)->size, snap_size);
    return 0;
}

static int open_parent(struct image_io *io, struct cluster *cluster,
                       const struct rbd_parent *parent, unsigned above, int64_t deadline,
                       struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    struct rbd_snapshot snapshot;
    int r;

    if (above == PARENTS_MAX)
        return error_set(err, -ELOOP, "image %s has more than %d parents, one of the other",
                         parent->image_id, PARENTS_MAX);
    r = cluster_open_view(cluster, parent->pool_id, parent->namespace, &io->parent_cluster, err);
    if (r == 0)
        r = image_read_header(io->parent_cluster, parent->image_id, deadline, &header, err);
    if (r == 0)
        r = image_check_readable(&header, err);
    if (r == 0)
        r = image_snapshot(io->parent_cluster, parent->image_id, parent->snap_id, deadline,
                           &snapshot, err);
    if (r == 0)
        r = open_snapshot_above(io->parent_cluster, &header, parent->snap_id, snapshot.size,
                                above + 1, deadline, &io->parent, err);
    return r < 0
               ? error_wrap(err, "cannot open image %s in pool number %lld, the parent of a clone",
                            parent->image_id, (long long)parent->pool_id)
               : 0;
}

static int open_pools(struct image_io *io, struct cluster *cluster,
                      const struct image_header *header, struct error *err)
{
    int64_t pool = header->data_pool_id >= 0 ? header->data_pool_id : cluster_pool_id(cluster);
    int r = cluster_open_pool(cluster, pool, &io->io, err);

    return r < 0 ? r : cluster_open_pool(cluster, pool, &io->bare, err);
}

static int open_above(struct cluster *cluster, const struct image_header *header, unsigned above,
                      int64_t deadline, struct image_io **ret, struct error *err)
{
    struct image_io *io = calloc(1, sizeof(*io));
    int r;

    if (!io)
        return error_set(err, -ENOMEM, "out of memory");
    io->order = header->order;
    snprintf(io->prefix, sizeof(io->prefix), "%s", header->object_prefix);
    TAILQ_INIT(&io->changes);
    copyup_init(io);
    pthread_rwlock_init(&io->context, NULL);
    pthread_mutex_init(&io->idle_lock, NULL);
    clock_init_cond(&io->idle);
    r = open_pools(io, cluster, header, err);
    if (header->shows_parent)
        atomic_store(&io->overlap, header->parent_overlap);
    if (r == 0 && header->shows_parent && header->parent_overlap > 0)
        r = open_parent(io, cluster, &header->parent, above, deadline, err);
    if (r == 0)
        r = image_io_refresh(io, header, err);
    if (r < 0) {
        image_io_close(io);
        return r;
    }
    *ret = io;
    return 0;
}

int image_io_open(struct cluster *cluster, const struct image_header *header, struct image_io **ret,
                  struct error *err)
{
    return open_above(cluster, header, 0, deadline_in_ms(IMAGE_IO_OPEN_MS), ret, err);
}

int image_io_open_snapshot(struct cluster *cluster, const struct image_header *header,
                           uint64_t snap_id, uint64_t snap_size, struct image_io **ret,
                           struct error *err)
{
    return open_snapshot_above(cluster, header, snap_id, snap_size, 0,
                               deadline_in_ms(IMAGE_IO_OPEN_MS), ret, err);
}

void image_io_fail_when_full(struct image_io *io)
{
    rados_set_pool_full_try(io->io);
    rados_set_pool_full_try(io->bare);
}

void image_io_close(struct image_io *io)
{
    if (!io)
        return;
    {
        WITH_LOCK(&io->idle_lock);
        while (io->in_flight > 0)
            pthread_cond_wait(&io->idle, &io->idle_lock);
    }
    image_io_close(io->parent);
    cluster_close(io->parent_cluster);
    if (io->io)
        rados_ioctx_destroy(io->io);
    if (io->bare)
        rados_ioctx_destroy(io->bare);
    copyup_destroy(io);
    pthread_cond_destroy(&io->idle);
    pthread_mutex_destroy(&io->idle_lock);
    pthread_rwlock_destroy(&io->context);
    free(io->snapc.snaps);
    free(io);
}
