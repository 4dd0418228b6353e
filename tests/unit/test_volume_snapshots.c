/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "volume/snapshots.h"

static char volume[RBD_NAME_MAX];
static char snapshot[SNAPSHOT_NAME_MAX];

static void refuse(const char *text, const char *words)
{
    struct error err = {0};

    assert_int_equal(volume_parse_snapshot(text, volume, snapshot, &err), -EINVAL);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
}

static void two_names(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(volume_parse_snapshot("db@monday", volume, snapshot, &err), 0);
    assert_string_equal(volume, "db");
    assert_string_equal(snapshot, "monday");
    /* Stock tools name images in ways that Docker would not. */
    assert_int_equal(volume_parse_snapshot("my db@20261124-101530.123Z", volume, snapshot, &err),
                     0);
    assert_string_equal(volume, "my db");
    assert_string_equal(snapshot, "20261124-101530.123Z");
}

static void what_is_no_snapshot(void **state)
{
    (void)state;
    refuse("", "VOLUME@SNAPSHOT");
    refuse("db", "VOLUME@SNAPSHOT");
    refuse("@monday", "VOLUME@SNAPSHOT");
    refuse("db@", "1 to 255 bytes");
    refuse("db@a@b", "'a@b'");
    refuse("db@a b", "'a b'");
    refuse("db@.hidden", "'.hidden'");
}

static void long_names(void **state)
{
    struct error err = {0};
    char text[1024];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[255] = '@';
    text[511] = '\0';
    assert_int_equal(volume_parse_snapshot(text, volume, snapshot, &err), 0);
    assert_int_equal(strlen(volume), 255);
    assert_int_equal(strlen(snapshot), 255);
    text[511] = 'x';
    text[512] = '\0';
    refuse(text, "1 to 255 bytes");
    text[255] = 'x';
    text[256] = '@';
    refuse(text, "VOLUME@SNAPSHOT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_names),
        cmocka_unit_test(what_is_no_snapshot),
        cmocka_unit_test(long_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
