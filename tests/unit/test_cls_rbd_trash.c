/* SPDX-License-Identifier: Apache-2.0 */
#include "hex.h"

#include "rados/cls_rbd.h"

/* The trash in the inputs and answers of the "rbd" class. Samples named REAL_ were answered by
 * the OSDs of Ceph 16.2.15 for an image that its own rbd command had moved there. */

#define REAL_TRASH_SPEC                                                                            \
    "02 01 27000000 | 00 | 11000000 'bytes-probe-clone' | 0d74056b 7f329e18 | 9ad8db70 7f329e18"   \
    "00"
#define REAL_TRASH_LIST "01000000 | 0c000000 '375cdccacd41' |" REAL_TRASH_SPEC

static const struct rbd_trash_spec trash_spec = {
    .source = RBD_TRASH_USER,
    .state = RBD_TRASH_NORMAL,
    .name = "bytes-probe-clone",
    .deleted = {.tv_sec = 0x6b05740d, .tv_nsec = 0x189e327f},
    .deferred_until = {.tv_sec = 0x70dbd89a, .tv_nsec = 0x189e327f},
};

static void assert_trash_spec(const struct rbd_trash_spec *spec, const struct rbd_trash_spec *want)
{
    assert_int_equal(spec->source, want->source);
    assert_int_equal(spec->state, want->state);
    assert_string_equal(spec->name, want->name);
    assert_int_equal(spec->deleted.tv_sec, want->deleted.tv_sec);
    assert_int_equal(spec->deleted.tv_nsec, want->deleted.tv_nsec);
    assert_int_equal(spec->deferred_until.tv_sec, want->deferred_until.tv_sec);
    assert_int_equal(spec->deferred_until.tv_nsec, want->deferred_until.tv_nsec);
}

static void test_encode_trash(void **state)
{
    cleanup_encoder struct encoder e = {0};
    struct rbd_trash_spec spec = trash_spec;

    (void)state;
    rbd_encode_trash_add(&e, "375cdccacd41", &trash_spec);
    assert_encoded(&e, "0c000000 '375cdccacd41' |" REAL_TRASH_SPEC);
    rbd_encode_trash_state_set(&e, "c0ffee", RBD_TRASH_STATE_REMOVING, RBD_TRASH_NORMAL);
    assert_encoded(&e, "06000000 'c0ffee' 02 00");

    /* times the field cannot say become the nearest it can */
    spec = (struct rbd_trash_spec){.source = RBD_TRASH_USER_PARENT, .state = RBD_TRASH_MOVING};
    spec.deleted.tv_sec = -1;
    spec.deferred_until.tv_sec = INT64_C(1) << 33;
    rbd_encode_trash_add(&e, "x", &spec);
    assert_encoded(&e, "01000000 'x' | 02 01 16000000 | 04 | 00000000 | 00000000 00000000"
                       "ffffffff 00000000 | 01");
}

static int try_trash_spec(struct decoder d)
{
    struct rbd_trash_spec spec;

    return rbd_decode_trash_spec(d, &spec);
}

static void test_trash_spec(void **state)
{
    struct rbd_trash_spec spec;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_trash_spec(hex_decoder(REAL_TRASH_SPEC, &bytes), &spec), 0);
    free(bytes);
    assert_trash_spec(&spec, &trash_spec);
    assert_truncated(REAL_TRASH_SPEC, 0, try_trash_spec);
}

static void test_trash_spec_versions(void **state)
{
    struct rbd_trash_spec spec = {.source = 77};
    uint8_t *bytes;

    (void)state;
    assert_int_equal(
        rbd_decode_trash_spec(hex_decoder("03 03 16000000 00 00000000 00000000 00000000"
                                          "00000000 00000000 00",
                                          &bytes),
                              &spec),
        -EBADMSG);
    free(bytes);
    assert_int_equal(spec.source, 77);
    /* version 1 had no state yet; a newer one says more than we ask */
    assert_int_equal(rbd_decode_trash_spec(hex_decoder("01 01 16000000 03 01000000 'a' 01000000"
                                                       "02000000 03000000 04000000",
                                                       &bytes),
                                           &spec),
                     0);
    free(bytes);
    assert_int_equal(spec.source, RBD_TRASH_REMOVING);
    assert_int_equal(spec.state, RBD_TRASH_NORMAL);
    assert_string_equal(spec.name, "a");
    assert_int_equal(rbd_decode_trash_spec(hex_decoder("03 02 19000000 03 01000000 'a' 01000000"
                                                       "02000000 03000000 04000000 03 ffff",
                                                       &bytes),
                                           &spec),
                     0);
    free(bytes);
    assert_int_equal(spec.state, RBD_TRASH_RESTORING);
    assert_int_equal(spec.deferred_until.tv_nsec, 4);
}

static int try_trash_list(struct decoder d)
{
    struct rbd_trash_entry *entries = NULL;
    size_t count;
    int r = rbd_decode_trash_list(d, &entries, &count);

    free(entries);
    return r;
}

static void test_trash_list(void **state)
{
    struct rbd_trash_entry *entries = NULL;
    size_t count = 77;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rbd_decode_trash_list(hex_decoder(REAL_TRASH_LIST, &bytes), &entries, &count),
                     0);
    free(bytes);
    assert_int_equal(count, 1);
    assert_string_equal(entries[0].id, "375cdccacd41");
    assert_trash_spec(&entries[0].spec, &trash_spec);
    free(entries);

    assert_int_equal(rbd_decode_trash_list(hex_decoder("00000000", &bytes), &entries, &count), 0);
    free(bytes);
    assert_int_equal(count, 0);
    assert_null(entries);
    assert_truncated(REAL_TRASH_LIST, 0, try_trash_list);
}

static void test_trash_list_hostile(void **state)
{
    struct rbd_trash_entry *entries = NULL;
    size_t count = 77;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(
        rbd_decode_trash_list(hex_decoder("ffffffff |" REAL_TRASH_SPEC, &bytes), &entries, &count),
        -EBADMSG);
    free(bytes);
    assert_int_equal(
        rbd_decode_trash_list(
            hex_decoder("02000000 | 0c000000 '375cdccacd41' |" REAL_TRASH_SPEC, &bytes), &entries,
            &count),
        -EBADMSG);
    free(bytes);
    assert_int_equal(count, 77);
    assert_null(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_trash),        cmocka_unit_test(test_trash_spec),
        cmocka_unit_test(test_trash_spec_versions), cmocka_unit_test(test_trash_list),
        cmocka_unit_test(test_trash_list_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
