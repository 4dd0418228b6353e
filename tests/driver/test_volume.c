/* SPDX-License-Identifier: Apache-2.0 */
#include "live.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include "image/image.h"
#include "image/io.h"
#include "image/lifecycle.h"
#include "image/ownership.h"
#include "volume/metadata.h"
#include "volume/volume.h"

#define SCRATCH "/var/tmp"

static int setup(void **state)
{
    *state = live_connect(CLUSTER_CONTROL);
    return 0;
}

static int teardown(void **state)
{
    cluster_close(*state);
    return 0;
}

static void set(struct volume_options *options, const char *key, const char *value)
{
    struct error err;

    assert_ok(volume_options_set(options, key, value, &err), err);
}

static struct volume_options small(void)
{
    struct volume_options options;

    volume_options_init(&options, 10 * GIB, FILESYSTEM_EXT4);
    set(&options, "size", "64M");
    return options;
}

static void remove_volume(struct cluster *cluster, const char *name)
{
    struct error err;
    bool more;

    assert_ok(volume_remove(cluster, name, 0, soon(), &more, &err), err);
    assert_false(more);
}

static void facts_are_what_was_asked_for(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("facts");
    struct volume_options options = small();
    struct volume_facts facts = {0};
    struct error err;

    set(&options, "uid", "999");
    set(&options, "gid", "998");
    set(&options, "mode", "0700");
    set(&options, "owner", "the database team");
    set(&options, "label.app", "shop");
    set(&options, "label.tier", "gold");
    set(&options, "mount-options", "noatime");
    set(&options, "object-size", "1M");
    assert_ok(volume_create(cluster, name, &options, SCRATCH, soon(), &err), err);
    assert_ok(volume_read(cluster, name, soon(), &facts, &err), err);
    assert_int_equal(facts.size, 64 * MIB);
    assert_int_equal(facts.object_size, MIB);
    assert_true(facts.formatted);
    assert_int_equal(facts.fs, FILESYSTEM_EXT4);
    assert_string_equal(facts.uid, "999");
    assert_string_equal(facts.gid, "998");
    assert_string_equal(facts.mode, "0700");
    assert_string_equal(facts.owner, "the database team");
    assert_string_equal(facts.mount_options, "noatime");
    assert_int_equal(facts.labels.count, 2);
    assert_string_equal(facts.labels.items[0].key, "app");
    assert_string_equal(facts.labels.items[1].value, "gold");
    assert_string_equal(facts.unwritable, "");
    assert_false(facts.protect);
    assert_int_equal(facts.lock.count, 0);
    assert_true(facts.used == UINT64_MAX);
    assert_true(facts.created.tv_sec > 1700000000);
    volume_facts_free(&facts);

    /* the same again is success, whatever part of it is named; anything else is an error */
    assert_ok(volume_create(cluster, name, &options, SCRATCH, soon(), &err), err);
    volume_options_free(&options);
    volume_options_init(&options, 10 * GIB, FILESYSTEM_XFS);
    assert_ok(volume_create(cluster, name, &options, SCRATCH, soon(), &err), err);
    set(&options, "owner", "somebody else");
    assert_int_equal(volume_create(cluster, name, &options, SCRATCH, soon(), &err), -EEXIST);
    assert_non_null(strstr(err.text, "owner"));
    assert_non_null(strstr(err.text, "the database team"));
    volume_options_free(&options);
    volume_options_init(&options, 10 * GIB, FILESYSTEM_EXT4);
    set(&options, "label.app", "bank");
    assert_int_equal(volume_create(cluster, name, &options, SCRATCH, soon(), &err), -EEXIST);
    assert_non_null(strstr(err.text, "label.app"));
    volume_options_free(&options);

    remove_volume(cluster, name);
    assert_int_equal(volume_read(cluster, name, soon(), &facts, &err), -ENOENT);
}

static void protected_volumes_stay(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("protected");
    struct volume_options options = small();
    struct volume_facts facts = {0};
    struct error err;
    bool more;

    set(&options, "protect", "true");
    assert_ok(volume_create(cluster, name, &options, SCRATCH, soon(), &err), err);
    assert_int_equal(volume_remove(cluster, name, 0, soon(), &more, &err), -EPERM);
    assert_non_null(strstr(err.text, "protected"));
    assert_ok(volume_read(cluster, name, soon(), &facts, &err), err);
    assert_ok(image_set_metadata(cluster, facts.id, META_PROTECT, NULL, soon(), &err), err);
    volume_facts_free(&facts);
    remove_volume(cluster, name);
    volume_options_free(&options);
}

static void what_was_used_is_remembered(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("used");
    struct volume_options options = small();
    struct volume_facts facts = {0};
    struct error err;
    char id[IMAGE_ID_MAX];

    assert_ok(volume_create(cluster, name, &options, SCRATCH, soon(), &err), err);
    assert_ok(image_find(cluster, name, soon(), id, &err), err);
    assert_ok(volume_record_used(cluster, id, 12345678, soon(), &err), err);
    assert_ok(volume_read(cluster, name, soon(), &facts, &err), err);
    assert_int_equal(facts.used, 12345678);
    volume_facts_free(&facts);
    /* and never brings a removed image's header back */
    assert_int_equal(volume_record_used(cluster, "00aa00aa", 1, soon(), &err), -ENOENT);
    /* nonsense in the metadata is no number */
    assert_ok(image_set_metadata(cluster, id, META_USED, "-5", soon(), &err), err);
    assert_ok(volume_read(cluster, name, soon(), &facts, &err), err);
    assert_true(facts.used == UINT64_MAX);
    volume_facts_free(&facts);
    remove_volume(cluster, name);
    volume_options_free(&options);
}

static void bad_wishes_leave_nothing(void **state)
{
    struct cluster *cluster = *state;
    struct volume_options options = small();
    struct volume_facts facts = {0};
    struct error err;
    const char *name = live_name("bad");

    set(&options, "data-pool", "no-such-pool");
    assert_int_equal(volume_create(cluster, name, &options, SCRATCH, soon(), &err), -ENOENT);
    assert_non_null(strstr(err.text, "no-such-pool"));
    assert_int_equal(volume_create(cluster, "../x", &options, SCRATCH, soon(), &err), -EINVAL);
    volume_options_free(&options);
    options = small();
    set(&options, "fs", "xfs");
    set(&options, "size", "300M");
    assert_true(volume_create(cluster, name, &options, "/nonexistent", soon(), &err) < 0);
    assert_non_null(strstr(err.text, "/nonexistent"));
    assert_int_equal(volume_read(cluster, name, soon(), &facts, &err), -ENOENT);
    volume_options_free(&options);
}

struct racer {
    const char *name;
    const char *owner;
    int result;
    struct error err;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct cluster *cluster = live_connect(CLUSTER_CONTROL);
    struct volume_options options = small();

    volume_options_set(&options, "owner", racer->owner, NULL);
    racer->result = volume_create(cluster, racer->name, &options, SCRATCH, soon(), &racer->err);
    volume_options_free(&options);
    cluster_close(cluster);
    return NULL;
}

static void of_two_creators_one_wins(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("race");
    struct racer racers[4] = {{.owner = "a"}, {.owner = "b"}, {.owner = "c"}, {.owner = "d"}};
    struct volume_facts facts = {0};
    pthread_t threads[4];
    unsigned winners = 0;
    struct error err;

    for (unsigned i = 0; i < 4; i++) {
        racers[i].name = name;
        pthread_create(&threads[i], NULL, race, &racers[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_ok(volume_read(cluster, name, soon(), &facts, &err), err);
    for (unsigned i = 0; i < 4; i++) {
        winners += racers[i].result == 0;
        if (racers[i].result == 0)
            assert_string_equal(racers[i].owner, facts.owner);
        else if (racers[i].result != -EEXIST)
            fail_msg("%d %s", racers[i].result, racers[i].err.text);
    }
    assert_int_equal(winners, 1);
    volume_facts_free(&facts);
    remove_volume(cluster, name);
}

static void xfs_and_a_big_one(void **state)
{
    struct cluster *cluster = *state;
    const char *name = live_name("big");
    struct volume_options options;
    struct volume_facts facts = {0};
    struct error err;
    uint32_t block;

    volume_options_init(&options, 10 * GIB, FILESYSTEM_XFS);
    set(&options, "size", "100G");
    assert_ok(volume_create(cluster, name, &options, SCRATCH, soon(), &err), err);
    assert_ok(volume_read(cluster, name, soon(), &facts, &err), err);
    assert_int_equal(facts.fs, FILESYSTEM_XFS);
    assert_int_equal(facts.size, 100 * GIB);
    assert_ok(volume_logical_block(cluster, &facts, soon(), &block, &err), err);
    assert_int_equal(block, 4096);
    facts.formatted = false; /* as if we had not made it: the image itself must tell */
    assert_ok(volume_logical_block(cluster, &facts, soon(), &block, &err), err);
    assert_int_equal(block, 4096);
    volume_facts_free(&facts);
    remove_volume(cluster, name);
    volume_options_free(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_what_was_asked_for), cmocka_unit_test(protected_volumes_stay),
        cmocka_unit_test(what_was_used_is_remembered),  cmocka_unit_test(bad_wishes_leave_nothing),
        cmocka_unit_test(of_two_creators_one_wins),     cmocka_unit_test(xfs_and_a_big_one),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
