/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For tests on a real cluster: CEPH_CONF names its ceph.conf, the client is client.docker, the pool
 * "docker". Each test makes images with names of its own and leaves none behind. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "rados/cluster.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static inline int64_t soon(void)
{
    return deadline_in_ms(30000);
}

static inline struct cluster_settings live_settings(void)
{
    const char *conf = getenv("CEPH_CONF");

    if (!conf) {
        fprintf(stderr, "CEPH_CONF is not set: export CEPH_CONF=$(scripts/dev-cluster conf)\n");
        exit(1);
    }
    return (struct cluster_settings){
        .conf = conf, .client = "docker", .pool = "docker", .namespace = ""};
}

/* TOKEN: see cluster.h. */
static inline struct cluster *live_connect_as(enum cluster_kind kind, const char *token)
{
    struct cluster_settings settings = live_settings();
    struct cluster *cluster = NULL;
    struct error err = {0};

    settings.token = token;

    if (cluster_connect(&settings, kind, soon(), &cluster, &err) < 0)
        fail_msg("connect: %s", err.text);
    return cluster;
}

static inline struct cluster *live_connect(enum cluster_kind kind)
{
    return live_connect_as(kind, NULL);
}

/* A name no other run uses. */
static inline const char *live_name(const char *what)
{
    static char names[8][64];
    static unsigned next;
    char *name = names[next++ % 8];

    snprintf(name, sizeof(names[0]), "test-%s-%d-%u", what, getpid(), next);
    return name;
}

#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        int ok_r_ = (call);                                                                        \
        if (ok_r_ < 0)                                                                             \
            fail_msg("%s: %d %s", #call, ok_r_, (err).text);                                       \
    } while (0)
