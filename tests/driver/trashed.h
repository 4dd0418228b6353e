/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "images.h"

#include <errno.h>

#include "image/io.h"
#include "image/trash.h"

/* For tests of the trash: an image with some data, what becomes of it, and how to see that. */

#define WEEK (7 * 86400)

/* An image called NAME, with a pattern in its first blocks. */
static inline struct image_header make(struct cluster *cluster, const char *name)
{
    struct image_header header = test_image_prepare(cluster, name, 16 * MIB, 22);
    struct image_io *io;
    char data[4096];
    struct error err;

    memset(data, 'x', sizeof(data));
    assert_ok(image_io_open(cluster, &header, &io, &err), err);
    assert_int_equal(image_run(io, IMAGE_WRITE, 0, sizeof(data), data), 0);
    assert_int_equal(image_run(io, IMAGE_WRITE, 8 * MIB, sizeof(data), data), 0);
    image_io_close(io);
    test_image_publish(cluster, name, header.id);
    return header;
}

static inline void assert_data(struct cluster *cluster, const char *id)
{
    struct image_header header = {0};
    struct image_io *io;
    char data[4096];
    struct error err;

    assert_ok(image_read_header(cluster, id, soon(), &header, &err), err);
    assert_ok(image_io_open(cluster, &header, &io, &err), err);
    for (uint64_t at = 0; at <= 8 * MIB; at += 8 * MIB) {
        memset(data, 0, sizeof(data));
        assert_int_equal(image_run(io, IMAGE_READ, at, sizeof(data), data), 0);
        for (size_t i = 0; i < sizeof(data); i++)
            assert_int_equal(data[i], 'x');
    }
    image_io_close(io);
    image_header_free(&header);
}

static inline void put(struct cluster *cluster, const char *name, const char *id, unsigned keep_s)
{
    struct error err;

    assert_ok(image_trash(cluster, name, id, keep_s, soon(), &err), err);
}

static inline void restore(struct cluster *cluster, const char *id, const char *name)
{
    struct error err;

    assert_ok(image_restore(cluster, id, name, soon(), &err), err);
}

static inline void purge(struct cluster *cluster, const char *id)
{
    struct error err;

    assert_ok(image_purge(cluster, id, PURGE_ANY, soon(), &err), err);
}

static inline void sweep(struct cluster *cluster)
{
    struct error err = {0};
    int r = image_sweep(cluster, MARK, soon(), &err);

    assert_true(r == 0 || r == -EAGAIN); /* others' images may be under way */
}

static inline struct rbd_trash_spec entry_of(struct cluster *cluster, const char *id)
{
    struct rbd_trash_spec spec;

    assert_int_equal(trash_get(cluster, id, soon(), &spec), 0);
    return spec;
}

static inline void assert_no_entry(struct cluster *cluster, const char *id)
{
    struct rbd_trash_spec spec;

    assert_int_equal(trash_get(cluster, id, soon(), &spec), -ENOENT);
}

static inline bool leads_to(struct cluster *cluster, const char *name, const char *id)
{
    char found[IMAGE_ID_MAX];
    int r = image_find(cluster, name, soon(), found, NULL);

    assert_true(r == 0 || r == -ENOENT);
    return r == 0 && strcmp(found, id) == 0;
}

static inline bool is_listed(struct cluster *cluster, const char *name)
{
    struct rbd_pairs list = {0};
    struct error err;
    bool found = false;

    assert_ok(image_list(cluster, soon(), &list, &err), err);
    for (size_t i = 0; i < list.count; i++)
        found |= strcmp(list.items[i].key, name) == 0;
    rbd_pairs_free(&list);
    return found;
}

static inline void assert_alive(struct cluster *cluster, const char *name, const char *id)
{
    assert_true(leads_to(cluster, name, id));
    assert_true(is_listed(cluster, name));
    assert_no_entry(cluster, id);
    assert_data(cluster, id);
}

static inline void assert_kept(struct cluster *cluster, const char *name, const char *id)
{
    assert_false(leads_to(cluster, name, id));
    assert_int_equal(entry_of(cluster, id).state, RBD_TRASH_NORMAL);
    assert_int_equal(entry_of(cluster, id).source, RBD_TRASH_USER);
    assert_data(cluster, id);
}

/* Nothing at all is left in the pool: no object has the image's id in its name. */
static inline void assert_gone(struct cluster *cluster, const char *id)
{
    rados_list_ctx_t list;
    const char *object;

    assert_no_entry(cluster, id);
    assert_int_equal(rados_nobjects_list_open(cluster_io(cluster), &list), 0);
    while (rados_nobjects_list_next(list, &object, NULL, NULL) == 0) {
        if (strstr(object, id))
            fail_msg("object %s is left", object);
    }
    rados_nobjects_list_close(list);
}

static inline void remove_image(struct cluster *cluster, const char *name, const char *id)
{
    put(cluster, name, id, 0);
    purge(cluster, id);
    assert_gone(cluster, id);
}
