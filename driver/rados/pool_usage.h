/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "rados/cluster.h"

/* How full a pool is and how safe what is in it, as the monitors tell it. */

struct pool_usage {
    uint64_t stored;    /* bytes of data, before replication */
    uint64_t available; /* bytes of data that would still fit */
    bool full;          /* writes wait: the cluster, or the pool's quota, is full */
};

/* Ask the monitors: 0, -ETIMEDOUT, or another errno. Blocks for up to the monitors' own time limit
 * (cluster.c); any thread but librados' own. */
int pool_usage_read(struct cluster *cluster, struct pool_usage *ret, struct error *err);

/* Is there room for more in POOL? 0; -ENOSPC (full) or -EDQUOT (its quota is used up); or another
 * errno: nobody can tell now. As pool_usage_read otherwise. */
int pool_check_space(struct cluster *cluster, const char *pool, struct error *err);

/* On how many disks each piece of POOL's data is (an erasure-coded pool: data and parity). 0, or
 * errno as pool_usage_read. */
int pool_copies_read(struct cluster *cluster, const char *pool, unsigned *ret, struct error *err);

/* Out of the answer to "osd pool ls detail" (JSON): 0; -ENOENT when there is no pool of this name
 * in it; or -EBADMSG. Pure. */
int pool_copies_decode(const char *pool, const char *pools, size_t pools_len, unsigned *ret);

/* Out of the answer to "osd pool ls detail" (JSON): 0, -ENOSPC, -EDQUOT; -ENOENT when there is no
 * pool of this name in it; or -EBADMSG. Pure. */
int pool_check_space_decode(const char *pool, const char *pools, size_t pools_len);

/* Out of the answers to "df" and "osd pool ls detail" (JSON). 0; -ENOENT when there is no pool of
 * this name in them; or -EBADMSG. Pure. */
int pool_usage_decode(const char *pool, const char *df, size_t df_len, const char *pools,
                      size_t pools_len, struct pool_usage *ret);
