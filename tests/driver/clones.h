/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "images.h"
#include "stock.h"

#include <errno.h>

#include "image/clone.h"
#include "image/flatten.h"
#include "image/io.h"
#include "image/snapshot.h"

/* For tests of clones: a parent with the snapshot "base", and what is said of its clones. */

#define ORDER   16
#define OBJECT  (UINT64_C(1) << ORDER)
#define OBJECTS 12
#define SIZE    (OBJECTS * OBJECT)

struct fixture {
    struct cluster *control;
    struct cluster *data;
    const char *name;
    struct image_header header;
    struct snapshot snapshot; /* "base": objects 0 to 7 and 10 hold data */
    uint8_t base[SIZE];
};

static inline void write_some(struct fixture *f, const char *id, uint64_t offset, size_t len,
                              int byte)
{
    struct image_header header = {0};
    struct image_io *io;
    struct error err;
    uint8_t *data = malloc(len);

    assert_non_null(data);
    memset(data, byte, len);
    assert_ok(image_read_header(f->control, id, soon(), &header, &err), err);
    assert_ok(image_io_open(f->data, &header, &io, &err), err);
    assert_int_equal(image_run(io, byte ? IMAGE_WRITE : IMAGE_DISCARD, offset, len, data), 0);
    assert_int_equal(image_run(io, IMAGE_FLUSH, 0, 0, NULL), 0);
    image_io_close(io);
    image_header_free(&header);
    free(data);
}

static inline void make_parent(struct fixture *f)
{
    struct error err;

    f->header = test_image_make(f->control, f->name, SIZE, ORDER);
    write_some(f, f->header.id, 0, 8 * OBJECT, 'b');
    write_some(f, f->header.id, 10 * OBJECT + 5000, 9000, 'c');
    memset(f->base, 'b', 8 * OBJECT);
    memset(f->base + 10 * OBJECT + 5000, 'c', 9000);
    assert_ok(snapshot_create(f->control, f->header.id, "base", "host", soon(), &f->snapshot, &err),
              err);
    write_some(f, f->header.id, 0, SIZE, 'X'); /* what no clone may ever show */
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->control = live_connect(CLUSTER_CONTROL);
    f->data = live_connect(CLUSTER_DATA);
    f->name = live_name("parent");
    make_parent(f);
    *state = f;
    return 0;
}

static inline void remove_image(struct fixture *f, const char *name)
{
    struct spawn_result result;
    char id[IMAGE_ID_MAX];
    struct error err;
    int r = -EAGAIN;

    stock_try(&result, STOCK("snap", "purge", "--no-progress", name));
    assert_ok(image_find(f->control, name, soon(), id, &err), err);
    assert_ok(image_unpublish(f->control, name, id, MARK, soon(), &err), err);
    for (unsigned i = 0; i < 5 && r == -EAGAIN; i++) /* much to delete */
        r = image_delete(f->control, id, soon(), &err);
    assert_ok(r, err);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    remove_image(f, f->name);
    image_header_free(&f->header);
    cluster_close(f->data);
    cluster_close(f->control);
    free(f);
    return 0;
}

static inline struct rbd_parent parent_spec(struct fixture *f, const char *id, uint64_t snap_id)
{
    struct rbd_parent parent = {.pool_id = cluster_pool_id(f->control), .snap_id = snap_id};

    snprintf(parent.image_id, sizeof(parent.image_id), "%s", id);
    return parent;
}

/* A clone of SIZE bytes of the snapshot; its id. */
static inline void make_clone(struct fixture *f, const char *name, const char *parent_id,
                              uint64_t snap_id, uint64_t overlap, uint64_t size, uint8_t order,
                              char id[IMAGE_ID_MAX])
{
    struct rbd_parent parent = parent_spec(f, parent_id, snap_id);
    struct image_spec spec = test_image_spec(size, order);
    struct image_header header = {0};
    struct error err;

    spec.parent = &parent;
    spec.overlap = overlap;
    assert_ok(image_prepare(f->control, name, &spec, soon(), &header, &err), err);
    test_image_publish(f->control, name, header.id);
    snprintf(id, IMAGE_ID_MAX, "%s", header.id);
    image_header_free(&header);
}

/* What we read of an image, and what rbd exports, are both DATA. */
static inline void assert_holds(struct fixture *f, const char *name, const uint8_t *data,
                                size_t size)
{
    uint8_t *ours = malloc(size);
    uint8_t *theirs = stock_export(name, size);
    struct image_header header = {0};
    char id[IMAGE_ID_MAX];
    struct image_io *io;
    struct error err;

    assert_non_null(ours);
    assert_ok(image_find(f->control, name, soon(), id, &err), err);
    assert_ok(image_read_header(f->control, id, soon(), &header, &err), err);
    assert_int_equal(header.size, size);
    assert_ok(image_io_open(f->data, &header, &io, &err), err);
    memset(ours, 0xee, size);
    assert_int_equal(image_run(io, IMAGE_READ, 0, size, ours), 0);
    image_io_close(io);
    image_header_free(&header);
    assert_int_equal(memcmp(theirs, data, size), 0);
    assert_int_equal(memcmp(ours, data, size), 0);
    free(ours);
    free(theirs);
}

static inline void assert_snapshot_holds(const char *name, const char *snapshot,
                                         const uint8_t *data, size_t size)
{
    char spec[256];
    uint8_t *theirs;

    snprintf(spec, sizeof(spec), "%s@%s", name, snapshot);
    theirs = stock_export(spec, size);
    assert_int_equal(memcmp(theirs, data, size), 0);
    free(theirs);
}

static inline struct image_header header_of(struct fixture *f, const char *id)
{
    struct image_header header = {0};
    struct error err;

    assert_ok(image_read_header(f->control, id, soon(), &header, &err), err);
    return header;
}

static inline unsigned count_children(struct fixture *f)
{
    struct children children = {0};
    unsigned count;
    struct error err;

    assert_ok(clone_children(f->control, f->header.id, f->snapshot.id, soon(), &children, &err),
              err);
    count = (unsigned)children.count;
    children_free(&children);
    return count;
}

static inline int flatten(struct fixture *f, const char *id, struct error *err)
{
    const struct flatten options = {.host = "host"};

    return image_flatten(f->control, id, &options, soon(), err);
}

static inline void stock_clone(const char *parent, const char *name, const char *format,
                               const char *features)
{
    char from[300];
    char to[300];

    snprintf(from, sizeof(from), "docker/%s", parent);
    snprintf(to, sizeof(to), "docker/%s", name);
    stock(STOCK("clone", "--rbd-default-clone-format", format, "--image-feature", features, from,
                to));
}
