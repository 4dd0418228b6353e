/* SPDX-License-Identifier: Apache-2.0 */
#include "images.h"

#include <errno.h>

#include "image/io.h"

/* Reading and writing an image, against a copy in memory. Small objects, so that every request kind
 * meets object borders, heads, tails and whole objects. */

#define ORDER       16
#define OBJECT_SIZE (UINT64_C(1) << ORDER)
#define IMAGE_SIZE  (9 * OBJECT_SIZE + 12288) /* the last object is a short one */

struct fixture {
    struct cluster *cluster;
    const char *name;
    struct image_header header;
    struct image_io *io;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err;

    assert_non_null(f);
    f->cluster = live_connect(CLUSTER_CONTROL);
    f->name = live_name("io");
    f->header = test_image_prepare(f->cluster, f->name, IMAGE_SIZE, ORDER);
    assert_ok(image_io_open(f->cluster, &f->header, &f->io, &err), err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct error err;

    image_io_close(f->io);
    assert_ok(image_abandon(f->cluster, f->header.id, -EIO, &err), err);
    cluster_close(f->cluster);
    free(f);
    return 0;
}

static bool object_exists(struct fixture *f, unsigned number)
{
    char object[128];
    uint64_t size;
    time_t mtime;

    snprintf(object, sizeof(object), "%s.%016x", f->header.object_prefix, number);
    return rados_stat(cluster_io(f->cluster), object, &size, &mtime) == 0;
}

static void an_empty_image_reads_as_zeroes(void **state)
{
    struct fixture *f = *state;
    char *data = malloc(IMAGE_SIZE);

    assert_non_null(data);
    memset(data, 'x', IMAGE_SIZE);
    assert_int_equal(image_run(f->io, IMAGE_READ, 0, IMAGE_SIZE, data), 0);
    for (size_t i = 0; i < IMAGE_SIZE; i++)
        assert_int_equal(data[i], 0);
    assert_false(object_exists(f, 0));
    free(data);
}

static void ranges_outside_are_refused(void **state)
{
    struct fixture *f = *state;
    char data[4096] = {0};

    assert_int_equal(image_run(f->io, IMAGE_READ, IMAGE_SIZE, 4096, data), -EINVAL);
    assert_int_equal(image_run(f->io, IMAGE_WRITE, IMAGE_SIZE - 2048, 4096, data), -EINVAL);
    assert_int_equal(image_run(f->io, IMAGE_DISCARD, 4096, UINT64_MAX, NULL), -EINVAL);
    assert_int_equal(image_run(f->io, IMAGE_DISCARD, UINT64_MAX, 4096, NULL), -EINVAL);
}

static void discard_frees_whole_objects(void **state)
{
    struct fixture *f = *state;
    char *data = malloc(IMAGE_SIZE);

    assert_non_null(data);
    memset(data, 'x', IMAGE_SIZE);
    assert_int_equal(image_run(f->io, IMAGE_WRITE, 0, IMAGE_SIZE, data), 0);
    for (unsigned i = 0; i < 10; i++)
        assert_true(object_exists(f, i));
    assert_int_equal(image_run(f->io, IMAGE_DISCARD, OBJECT_SIZE, 2 * OBJECT_SIZE, NULL), 0);
    assert_false(object_exists(f, 1));
    assert_false(object_exists(f, 2));
    assert_true(object_exists(f, 3));
    assert_int_equal(
        image_run(f->io, IMAGE_WRITE_ZEROES, 9 * OBJECT_SIZE, IMAGE_SIZE - 9 * OBJECT_SIZE, NULL),
        0);
    assert_false(object_exists(f, 9)); /* short, but whole */
    assert_int_equal(image_run(f->io, IMAGE_DISCARD, 0, IMAGE_SIZE, NULL), 0);
    assert_false(object_exists(f, 0));
    free(data);
}

static void random_requests_match_a_copy(void **state)
{
    struct fixture *f = *state;
    unsigned char *copy = calloc(1, IMAGE_SIZE);
    unsigned char *data = malloc(IMAGE_SIZE);
    unsigned seed = 20261124;

    assert_non_null(copy);
    assert_non_null(data);
    for (unsigned i = 0; i < 1500; i++) {
        uint64_t blocks = IMAGE_SIZE / 512;
        uint64_t at = (uint64_t)rand_r(&seed) % blocks;
        uint64_t most = rand_r(&seed) % 4 ? 64 : 400;
        uint64_t n = 1 + (uint64_t)rand_r(&seed) % most;
        unsigned what = (unsigned)rand_r(&seed) % 10;

        if (n > blocks - at)
            n = blocks - at;
        at *= 512;
        n *= 512;
        if (what < 4) {
            memset(data, rand_r(&seed), n);
            memcpy(copy + at, data, n);
            assert_int_equal(image_run(f->io, IMAGE_WRITE, at, n, data), 0);
        } else if (what < 6) {
            memset(copy + at, 0, n);
            assert_int_equal(
                image_run(f->io, what == 4 ? IMAGE_DISCARD : IMAGE_WRITE_ZEROES, at, n, NULL), 0);
        } else if (what < 7) {
            assert_int_equal(image_run(f->io, IMAGE_FLUSH, 0, 0, NULL), 0);
        } else {
            memset(data, 0xee, n);
            assert_int_equal(image_run(f->io, IMAGE_READ, at, n, data), 0);
            if (memcmp(data, copy + at, n) != 0)
                fail_msg("request %u: %llu bytes at %llu differ", i, (unsigned long long)n,
                         (unsigned long long)at);
        }
    }
    assert_int_equal(image_run(f->io, IMAGE_READ, 0, IMAGE_SIZE, data), 0);
    assert_memory_equal(data, copy, IMAGE_SIZE);
    free(data);
    free(copy);
}

static void a_fenced_image_takes_no_request(void **state)
{
    struct fixture *f = *state;
    char data[512] = {0};

    image_io_fence(f->io);
    assert_int_equal(image_run(f->io, IMAGE_WRITE, 0, sizeof(data), data), -ESHUTDOWN);
    assert_int_equal(image_run(f->io, IMAGE_READ, 0, sizeof(data), data), -ESHUTDOWN);
    assert_int_equal(image_run(f->io, IMAGE_FLUSH, 0, 0, NULL), -ESHUTDOWN);
    assert_int_equal(image_io_in_flight(f->io), 0);
    assert_false(object_exists(f, 0));
}

static void a_data_pool_holds_the_data(void **state)
{
    struct fixture *f = *state;
    struct image_spec spec = {.size = MIB, .order = 22};
    struct image_header header = {0};
    struct image_header again = {0};
    struct image_io *io;
    char data[4096];
    char object[128];
    uint64_t size;
    time_t mtime;
    rados_ioctx_t pool;
    struct error err;

    spec.data_pool_id = cluster_pool_lookup(f->cluster, "docker-data", &err);
    assert_true(spec.data_pool_id >= 0);
    assert_ok(image_prepare(f->cluster, live_name("pool"), &spec, soon(), &header, &err), err);
    assert_ok(image_read_header(f->cluster, header.id, soon(), &again, &err), err);
    assert_int_equal(again.data_pool_id, spec.data_pool_id);
    assert_true(again.features & RBD_FEATURE_DATA_POOL);
    assert_string_equal(again.object_prefix, header.object_prefix);
    assert_ok(image_io_open(f->cluster, &again, &io, &err), err);
    memset(data, 'p', sizeof(data));
    assert_int_equal(image_run(io, IMAGE_WRITE, 0, sizeof(data), data), 0);
    image_io_close(io);
    snprintf(object, sizeof(object), "%s.%016x", header.object_prefix, 0);
    assert_int_equal(rados_stat(cluster_io(f->cluster), object, &size, &mtime), -ENOENT);
    assert_ok(cluster_open_pool(f->cluster, spec.data_pool_id, &pool, &err), err);
    assert_int_equal(rados_stat(pool, object, &size, &mtime), 0);
    image_header_free(&again);
    assert_ok(image_abandon(f->cluster, header.id, -EIO, &err), err);
    assert_int_equal(rados_stat(pool, object, &size, &mtime), -ENOENT);
    rados_ioctx_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_image_reads_as_zeroes, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_outside_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(discard_frees_whole_objects, setup, teardown),
        cmocka_unit_test_setup_teardown(random_requests_match_a_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fenced_image_takes_no_request, setup, teardown),
        cmocka_unit_test_setup_teardown(a_data_pool_holds_the_data, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
