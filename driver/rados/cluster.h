/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <rados/librados.h>
#include <stdint.h>

#include "base/error.h"

/* One client of the Ceph cluster: a rados_t and the pool and namespace that hold the volumes.
 *
 * Two kinds, never mixed in one handle: CONTROL operations fail when the cluster does not answer
 * in time; DATA operations wait for ever, as a disk does. A cluster handle may be used from any
 * thread; connect and close are for one. */

enum cluster_kind {
    CLUSTER_CONTROL,
    CLUSTER_DATA,
};

struct cluster_settings {
    const char *conf;      /* path of ceph.conf */
    const char *client;    /* name without "client.", such as "docker" */
    const char *pool;      /* holds headers, and data unless a volume has a data pool */
    const char *namespace; /* RADOS namespace inside the pool; "" for the default one */

    /* Goes into the locks that are held while an image is made or removed. A lock of another
     * client that carries the same one was left by this client's predecessor, whose death the
     * caller vouches for. NULL: no predecessor is known. */
    const char *token;
};

struct cluster;

/* Connect and open the pool. Blocks up to the deadline; not for completion threads.
 * 0; -ENOENT (no ceph.conf, no keyring or no such pool: err says which), -EACCES or -EPERM (wrong
 * key or caps), -ETIMEDOUT (no monitor answers), -EINVAL (ceph.conf does not parse), or what
 * librados returned. */
int cluster_connect(const struct cluster_settings *settings, enum cluster_kind kind,
                    int64_t deadline, struct cluster **ret, struct error *err);

/* Another pool and namespace of the same cluster, through the same client: what takes a struct
 * cluster works there. To be closed before the one it was made from.
 * 0, -ENOENT (no such pool), -ENOMEM, or what librados returned. */
int cluster_open_view(const struct cluster *cluster, int64_t pool_id, const char *namespace,
                      struct cluster **ret, struct error *err);

void cluster_close(struct cluster *cluster); /* accepts NULL */

rados_t cluster_rados(const struct cluster *cluster);
rados_ioctx_t cluster_io(const struct cluster *cluster); /* the pool and namespace above */
int64_t cluster_pool_id(const struct cluster *cluster);
const char *cluster_pool(const struct cluster *cluster);
const char *cluster_namespace(const struct cluster *cluster);
const char *cluster_token(const struct cluster *cluster);  /* "" when there is none */
uint64_t cluster_client_id(const struct cluster *cluster); /* this instance's global id (gid) */

/* This instance's address as the cluster knows it and blocklists it, "ip:port/nonce"; "" before
 * the first connection. Borrowed. */
const char *cluster_address(const struct cluster *cluster);

/* R is how an operation on CLUSTER ended, ERR its words: when they end with a refusal by the
 * cluster and nothing more, add the rights that this client needs. Its value is R. */
int cluster_explain(const struct cluster *cluster, int r, struct error *err);

/* The id of a pool by name: >= 0, -ENOENT (err names it), or what librados returned. */
int64_t cluster_pool_lookup(struct cluster *cluster, const char *pool, struct error *err);

/* A new ioctx on pool POOL_ID in our namespace, with the same failure rules as cluster_io.
 * The caller destroys it with rados_ioctx_destroy. */
int cluster_open_pool(struct cluster *cluster, int64_t pool_id, rados_ioctx_t *ret,
                      struct error *err);

static inline void cleanup_clusterp(struct cluster **cluster)
{
    cluster_close(*cluster);
}
#define cleanup_cluster __attribute__((cleanup(cleanup_clusterp)))
