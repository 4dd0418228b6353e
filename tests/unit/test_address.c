/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/address.h"

static void test_good(void **state)
{
    union address address;

    (void)state;
    assert_int_equal(address_parse("127.0.0.1:9128", &address), 0);
    assert_int_equal(address.v4.sin_family, AF_INET);
    assert_int_equal(ntohs(address.v4.sin_port), 9128);
    assert_int_equal(ntohl(address.v4.sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(address_len(&address), sizeof(struct sockaddr_in));

    assert_int_equal(address_parse("[::1]:1", &address), 0);
    assert_int_equal(address.v6.sin6_family, AF_INET6);
    assert_int_equal(ntohs(address.v6.sin6_port), 1);
    assert_memory_equal(&address.v6.sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
    assert_int_equal(address_len(&address), sizeof(struct sockaddr_in6));

    assert_int_equal(address_parse(":65535", &address), 0);
    assert_int_equal(address.v6.sin6_family, AF_INET6);
    assert_memory_equal(&address.v6.sin6_addr, &in6addr_any, sizeof(in6addr_any));
}

static void test_bad(void **state)
{
    static const char *const bad[] = {
        "",
        ":",
        "9128",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1: 80",
        "127.0.0.1:80x",
        "localhost:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[]:80",
        "[127.0.0.1]:80",
        "[::1:80",
        "1.2.3:80",
        "1.2.3.4.5:80",
        "[:80",
        "127.0.0.1:000080",
        "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd]:80",
    };
    union address address;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (address_parse(bad[i], &address) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
