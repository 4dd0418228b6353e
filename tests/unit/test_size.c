/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "volume/options.h"

static uint64_t parsed(const char *text)
{
    uint64_t size = 7;

    if (size_parse(text, &size) < 0) {
        assert_int_equal(size, 7); /* untouched on failure */
        return 0;
    }
    return size;
}

static void test_units(void **state)
{
    (void)state;
    assert_int_equal(parsed("4096"), 4096);
    assert_int_equal(parsed("8192B"), 8192);
    assert_int_equal(parsed("8K"), 8192);
    assert_int_equal(parsed("512M"), UINT64_C(512) << 20);
    assert_int_equal(parsed("10G"), UINT64_C(10) << 30);
    assert_int_equal(parsed("1T"), UINT64_C(1) << 40);
    assert_int_equal(parsed("1P"), UINT64_C(1) << 50);
    assert_int_equal(parsed("10g"), UINT64_C(10) << 30);
    assert_int_equal(parsed("10Gi"), UINT64_C(10) << 30);
    assert_int_equal(parsed("10GB"), UINT64_C(10) << 30);
    assert_int_equal(parsed("10gib"), UINT64_C(10) << 30);
    assert_int_equal(parsed("0010G"), UINT64_C(10) << 30);
}

static void test_fractions(void **state)
{
    (void)state;
    assert_int_equal(parsed("1.5G"), UINT64_C(1536) << 20);
    assert_int_equal(parsed("0.5K"), 4096);
    assert_int_equal(parsed("1.000000001G"), (UINT64_C(1) << 30) + 4096);
    assert_int_equal(parsed("2.25TiB"), UINT64_C(2304) << 30);
    assert_int_equal(parsed("1.0000000001G"), 0); /* ten digits */
    assert_int_equal(parsed("1.G"), 0);
    assert_int_equal(parsed(".5G"), 0);
    assert_int_equal(parsed("1.5"), 0);
    assert_int_equal(parsed("1.5B"), 0);
    assert_int_equal(parsed("1.2.3G"), 0);
}

static void test_rounds_up(void **state)
{
    uint64_t size;

    (void)state;
    assert_int_equal(parsed("1"), 4096);
    assert_int_equal(parsed("4097"), 8192);
    assert_int_equal(parsed("5K"), 8192);
    assert_int_equal(size_parse_exact("4097", &size), 0);
    assert_int_equal(size, 4097);
    assert_int_equal(size_parse_exact("0.3K", &size), 0);
    assert_int_equal(size, 308); /* 307.2 */
}

static void test_refused(void **state)
{
    static const char *const texts[] = {
        "",    "0",   "0G",  "0.0G", "G",    "5X",  "-1",     "+1",   " 1G",  "1G ",
        "1 G", "1GG", "1iB", "1BB",  "0x10", "1e3", "10GiBs", "1Gb1", "\xff", "1\xc2\xb5",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(parsed(texts[i]), 0);
}

static void test_limits(void **state)
{
    uint64_t size;

    (void)state;
    assert_int_equal(parsed("8191P"), UINT64_C(8191) << 50);
    assert_int_equal(parsed("8192P"), 0); /* 2^63: no file has such an offset */
    assert_int_equal(parsed("9223372036854771712"), INT64_MAX - 4095);
    assert_int_equal(parsed("9223372036854771713"), 0); /* rounded up it would be 2^63 */
    assert_int_equal(size_parse_exact("9223372036854775807", &size), 0);
    assert_int_equal(size_parse_exact("9223372036854775808", &size), -EINVAL);
    assert_int_equal(parsed("18446744073709551615"), 0);
    assert_int_equal(parsed("18446744073709551616"), 0);
    assert_int_equal(parsed("18446744073709551615P"), 0);
    assert_int_equal(parsed("99999999999999999999999999999999999999999999999999G"), 0);
}

static void assert_formats(uint64_t size, const char *expected)
{
    char text[24];

    size_format(size, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void test_format(void **state)
{
    (void)state;
    assert_formats(0, "0");
    assert_formats(4096, "4K");
    assert_formats(UINT64_C(10) << 30, "10G");
    assert_formats(UINT64_C(1536) << 20, "1536M");
    assert_formats((UINT64_C(10) << 30) + 4096, "10485764K");
    assert_formats(UINT64_C(1) << 40, "1T");
    assert_formats(UINT64_C(2048) << 50, "2048P");
    assert_formats(4097, "4097");
    assert_formats(UINT64_MAX, "18446744073709551615");
}

static void test_format_parses_back(void **state)
{
    (void)state;
    for (unsigned shift = 12; shift < 62; shift++) {
        uint64_t size = (UINT64_C(1) << shift) + 4096;
        char text[24];

        size_format(size, text, sizeof(text));
        assert_int_equal(parsed(text), size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_fractions),
        cmocka_unit_test(test_rounds_up),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_format_parses_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
