/* SPDX-License-Identifier: Apache-2.0 */
#include "stock.h"

#include <errno.h>

#include "image/clone.h"
#include "image/image.h"
#include "image/io.h"
#include "image/snapshot.h"
#include "volume/clone.h"
#include "volume/metadata.h"
#include "volume/resize.h"
#include "volume/snapshots.h"
#include "volume/volume.h"

/* Volumes out of volumes: what a clone has of its source, what of its own, and what is refused. */

#define SCRATCH "/var/tmp"
#define SIZE    (64 * MIB)

struct fixture {
    struct cluster *cluster;
    const char *name;
    char id[IMAGE_ID_MAX];
};

static void set(struct volume_options *options, const char *key, const char *value)
{
    struct error err;

    assert_ok(volume_options_set(options, key, value, &err), err);
}

static struct volume_options defaults(void)
{
    struct volume_options options;

    volume_options_init(&options, 10 * GIB, FILESYSTEM_XFS);
    return options;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct volume_options options = defaults();
    struct error err;

    assert_non_null(f);
    f->cluster = live_connect(CLUSTER_CONTROL);
    f->name = live_name("source");
    set(&options, "size", "64M");
    set(&options, "fs", "ext4");
    set(&options, "object-size", "1M");
    set(&options, "mount-options", "noatime");
    set(&options, "uid", "999");
    set(&options, "owner", "who asked");
    set(&options, "protect", "true");
    set(&options, "label.tier", "gold");
    assert_ok(volume_create(f->cluster, f->name, &options, SCRATCH, soon(), &err), err);
    volume_options_free(&options);
    assert_ok(image_find(f->cluster, f->name, soon(), f->id, &err), err);
    assert_ok(image_set_metadata(f->cluster, f->id, "docker-volume-rados.takeover.2026", "x",
                                 soon(), &err),
              err);
    *state = f;
    return 0;
}

static void remove_volume(struct fixture *f, const char *name)
{
    bool more;
    struct error err;

    assert_ok(volume_remove(f->cluster, name, 0, soon(), &more, &err), err);
    if (more)
        assert_ok(volume_sweep(f->cluster, soon(), &err), err);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct spawn_result result;
    struct error err;

    assert_ok(image_set_metadata(f->cluster, f->id, META_PROTECT, NULL, soon(), &err), err);
    stock_try(&result, STOCK("snap", "purge", "--no-progress", f->name));
    remove_volume(f, f->name);
    cluster_close(f->cluster);
    free(f);
    return 0;
}

static void take(struct fixture *f, const char *name)
{
    struct snapshot snapshot;
    struct error err;

    assert_ok(snapshot_create(f->cluster, f->id, name, "host", soon(), &snapshot, &err), err);
}

static void assert_same(const char *a, const char *b)
{
    uint8_t *first = stock_export(a, SIZE);
    uint8_t *second = stock_export(b, SIZE);

    assert_int_equal(memcmp(first, second, SIZE), 0);
    free(first);
    free(second);
}

static void a_clone_of_a_snapshot(void **state)
{
    struct fixture *f = *state;
    struct volume_options options = defaults();
    cleanup_volume_facts struct volume_facts facts = {0};
    const char *name = live_name("clone");
    char spec[128];
    char id[IMAGE_ID_MAX];
    struct image_header header = {0};
    struct image_io *io;
    struct error err;

    take(f, "monday");
    /* damage the source afterwards */
    assert_ok(image_read_header(f->cluster, f->id, soon(), &header, &err), err);
    assert_ok(image_io_open(f->cluster, &header, &io, &err), err);
    assert_int_equal(image_run(io, IMAGE_DISCARD, 0, SIZE, NULL), 0);
    image_io_close(io);
    image_header_free(&header);

    set(&options, "label.for", "test");
    assert_ok(volume_clone(f->cluster, f->name, "monday", name, &options, soon(), &err), err);
    volume_options_free(&options);
    assert_ok(volume_read(f->cluster, name, soon(), &facts, &err), err);
    assert_int_equal(facts.size, SIZE);
    assert_int_equal(facts.object_size, MIB);
    assert_true(facts.formatted);
    assert_int_equal(facts.fs, FILESYSTEM_EXT4);
    assert_string_equal(facts.mount_options, "noatime");
    assert_string_equal(facts.uid, "999");
    assert_string_equal(facts.owner, "");
    assert_string_equal(facts.unwritable, "");
    assert_false(facts.protect);
    assert_int_equal(facts.takeovers.count, 0);
    assert_int_equal(facts.labels.count, 1);
    assert_string_equal(facts.labels.items[0].key, "for");
    snprintf(spec, sizeof(spec), "%s@monday", f->name);
    assert_same(name, spec);
    assert_ok(volume_flatten(f->cluster, name, NULL, NULL, soon(), &err), err);
    assert_same(name, spec);
    assert_ok(image_find(f->cluster, name, soon(), id, &err), err);
    assert_ok(image_read_header(f->cluster, id, soon(), &header, &err), err);
    assert_int_equal(header.parent.pool_id, -1);
    image_header_free(&header);
    remove_volume(f, name);
}

static void a_clone_of_now_leaves_no_snapshot(void **state)
{
    struct fixture *f = *state;
    struct volume_options options = defaults();
    struct snapshots list = {0};
    const char *name = live_name("clone");
    struct error err;
    bool more;

    assert_ok(volume_clone(f->cluster, f->name, NULL, name, &options, soon(), &err), err);
    assert_same(name, f->name);
    assert_ok(snapshot_list(f->cluster, f->id, false, soon(), &list, &err), err);
    assert_int_equal(list.count, 0); /* it is in the trash of the image */
    snapshots_free(&list);
    assert_ok(image_set_metadata(f->cluster, f->id, META_PROTECT, NULL, soon(), &err), err);
    assert_int_equal(volume_remove(f->cluster, f->name, 0, soon(), &more, &err), -ENOTEMPTY);
    assert_non_null(strstr(err.text, name));
    remove_volume(f, name);
    assert_ok(snapshot_list(f->cluster, f->id, true, soon(), &list, &err), err);
    assert_int_equal(list.count, 0);
    snapshots_free(&list);
}

static void create_with_from(void **state)
{
    struct fixture *f = *state;
    struct volume_options options = defaults();
    cleanup_volume_facts struct volume_facts facts = {0};
    const char *name = live_name("clone");
    char from[128];
    struct error err;

    take(f, "monday");
    snprintf(from, sizeof(from), "%s@monday", f->name);
    set(&options, "from", from);
    set(&options, "size", "96M");
    set(&options, "data-pool", "docker-data");
    set(&options, "object-size", "4M");
    for (unsigned i = 0; i < 2; i++) /* the second time it exists, just so */
        assert_ok(volume_create(f->cluster, name, &options, SCRATCH, soon(), &err), err);
    assert_ok(volume_read(f->cluster, name, soon(), &facts, &err), err);
    assert_int_equal(facts.size, 96 * MIB);
    assert_int_equal(facts.object_size, 4 * MIB);
    assert_string_equal(facts.from, from);
    assert_string_equal(facts.data_pool, "docker-data");
    set(&options, "from", "another");
    assert_int_equal(volume_create(f->cluster, name, &options, SCRATCH, soon(), &err), -EEXIST);
    assert_non_null(strstr(err.text, "from"));
    remove_volume(f, name);
}

static void assert_unchangeable(struct fixture *f, const char *name)
{
    const struct rollback rollback = {.snapshot = "none", .host = "host"};
    cleanup_volume_facts struct volume_facts facts = {0};
    struct rollback_result result;
    struct error err;

    assert_int_equal(volume_flatten(f->cluster, name, NULL, NULL, soon(), &err), -EROFS);
    assert_non_null(strstr(err.text, "is not flattened"));
    assert_int_equal(volume_restore(f->cluster, name, &rollback, soon(), &result, &err), -EROFS);
    assert_non_null(strstr(err.text, "is not restored"));
    assert_int_equal(volume_resize(f->cluster, name, 2 * SIZE, "host", soon(), &facts, &err),
                     -EROFS);
    assert_non_null(strstr(err.text, "is not resized"));
}

static void create_with_access(void **state)
{
    struct fixture *f = *state;
    struct volume_options options = defaults();
    cleanup_volume_facts struct volume_facts facts = {0};
    const char *name = live_name("view");
    const char *again = live_name("again");
    char from[128];
    struct error err;

    take(f, "monday");
    set(&options, "access", "ro");
    assert_int_equal(volume_create(f->cluster, name, &options, SCRATCH, soon(), &err), -EINVAL);
    assert_non_null(strstr(err.text, "from=<volume>@<snapshot>"));
    snprintf(from, sizeof(from), "%s@monday", f->name);
    set(&options, "from", from);
    for (unsigned i = 0; i < 2; i++) /* the second time it exists, just so */
        assert_ok(volume_create(f->cluster, name, &options, SCRATCH, soon(), &err), err);
    assert_ok(volume_read(f->cluster, name, soon(), &facts, &err), err);
    assert_true(facts.read_only);
    assert_string_equal(facts.from, from);
    assert_int_equal(facts.size, SIZE);
    assert_same(name, from);
    set(&options, "access", "rw");
    assert_int_equal(volume_create(f->cluster, name, &options, SCRATCH, soon(), &err), -EEXIST);
    assert_non_null(strstr(err.text, "access 'ro', not 'rw'"));
    assert_unchangeable(f, name);

    /* One out of it is a volume like any other. */
    assert_ok(volume_clone(f->cluster, name, NULL, again, &options, soon(), &err), err);
    volume_facts_free(&facts);
    assert_ok(volume_read(f->cluster, again, soon(), &facts, &err), err);
    assert_false(facts.read_only);
    assert_same(again, from);
    remove_volume(f, again);
    remove_volume(f, name);
}

static void refuses(struct fixture *f, const char *source, const char *snapshot, const char *key,
                    const char *value, int code, const char *words)
{
    struct volume_options options = defaults();
    const char *name = live_name("clone");
    char id[IMAGE_ID_MAX];
    struct snapshots list = {0};
    struct error err;

    if (key)
        set(&options, key, value);
    assert_int_equal(volume_clone(f->cluster, source, snapshot, name, &options, soon(), &err),
                     code);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in '%s'", words, err.text);
    assert_int_equal(image_find(f->cluster, name, soon(), id, &err), -ENOENT);
    assert_ok(snapshot_list(f->cluster, f->id, true, soon(), &list, &err), err);
    assert_int_equal(list.count, 1); /* "monday" */
    snapshots_free(&list);
}

/* With access=ro, as create asks for it. */
static void refuses_from(struct fixture *f, const char *snapshot, const char *key,
                         const char *value, const char *words)
{
    struct volume_options options = defaults();
    char name[128];
    char from[128];
    char id[IMAGE_ID_MAX];
    struct error err;

    snprintf(name, sizeof(name), "%s-view", f->name);
    snprintf(from, sizeof(from), "%s@%s", f->name, snapshot);
    set(&options, "from", from);
    set(&options, "access", "ro");
    set(&options, key, value);
    assert_int_equal(volume_create(f->cluster, name, &options, SCRATCH, soon(), &err), -EINVAL);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in '%s'", words, err.text);
    assert_int_equal(image_find(f->cluster, name, soon(), id, &err), -ENOENT);
}

static void what_cannot_be_is_refused_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct volume_options options = defaults();
    struct error err;

    take(f, "monday");
    refuses(f, "no-such-volume", NULL, NULL, NULL, -ENOENT, "no volume 'no-such-volume'");
    refuses(f, f->name, "tuesday", NULL, NULL, -ENOENT, "no snapshot 'tuesday'");
    refuses(f, f->name, "monday", "size", "32M", -EINVAL,
            "64M, and the clone cannot be smaller "
            "(32M)");
    refuses(f, f->name, NULL, "fs", "xfs", -EINVAL, "'ext4', and cannot have 'xfs'");
    refuses(f, f->name, NULL, "uid", "1000", -EINVAL, "'999', and cannot have '1000'");
    refuses_from(f, "monday", "size", "96M", "64M, and with access=ro its file system cannot grow");
    refuses_from(f, "monday", "uid", "999", "option 'uid' would have to be written");
    refuses(f, f->name, NULL, "data-pool", "no-such-pool", -ENOENT, "no-such-pool");
    assert_int_equal(volume_clone(f->cluster, f->name, NULL, f->name, &options, soon(), &err),
                     -EEXIST);
    assert_int_equal(volume_clone(f->cluster, f->name, NULL, "a/b", &options, soon(), &err),
                     -EINVAL);
    assert_int_equal(volume_flatten(f->cluster, "no-such-volume", NULL, NULL, soon(), &err),
                     -ENOENT);
    assert_ok(volume_flatten(f->cluster, f->name, NULL, NULL, soon(), &err), err); /* no clone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_clone_of_a_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clone_of_now_leaves_no_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(create_with_from, setup, teardown),
        cmocka_unit_test_setup_teardown(create_with_access, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused_and_changes_nothing, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
