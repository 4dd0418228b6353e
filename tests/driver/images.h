/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "live.h"

#include "image/image.h"
#include "image/lifecycle.h"

/* Images of a test's own. */

/* The metadata by which the library knows its own from others'. */
#define MARK "docker-volume-rados.test"

static inline struct image_spec test_image_spec(uint64_t size, unsigned order)
{
    static const struct rbd_pair mark = {(char *)MARK, (char *)"1", 1};

    return (struct image_spec){.size = size,
                               .order = (uint8_t)order,
                               .data_pool_id = -1,
                               .metadata = &mark,
                               .metadata_count = 1};
}

/* One that has no name yet. */
static inline struct image_header test_image_prepare(struct cluster *cluster, const char *name,
                                                     uint64_t size, unsigned order)
{
    const struct image_spec spec = test_image_spec(size, order);
    struct image_header header = {0};
    struct error err;

    assert_ok(image_prepare(cluster, name, &spec, soon(), &header, &err), err);
    return header;
}

static inline void test_image_publish(struct cluster *cluster, const char *name, const char *id)
{
    struct error err;

    assert_ok(image_publish(cluster, name, id, soon(), &err), err);
}

static inline struct image_header test_image_make(struct cluster *cluster, const char *name,
                                                  uint64_t size, unsigned order)
{
    struct image_header header = test_image_prepare(cluster, name, size, order);

    test_image_publish(cluster, name, header.id);
    return header;
}

static inline void test_image_remove(struct cluster *cluster, const char *name, const char *id)
{
    struct error err;

    assert_ok(image_unpublish(cluster, name, id, MARK, soon(), &err), err);
    assert_ok(image_delete(cluster, id, soon(), &err), err);
}
