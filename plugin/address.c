/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

static int parse_port(const char *text, in_port_t *ret)
{
    unsigned port = 0;

    if (strnlen(text, 6) > 5)
        return -EINVAL;
    for (const char *p = text; *p; p++) {
        if (!isdigit((unsigned char)*p))
            return -EINVAL;
        port = port * 10 + (unsigned)(*p - '0');
    }
    if (port == 0 || port > 65535)
        return -EINVAL;
    *ret = htons((uint16_t)port);
    return 0;
}

int address_parse(const char *text, union address *ret)
{
    const char *colon = strrchr(text, ':');
    union address address = {0};
    char host[INET6_ADDRSTRLEN + 2];
    size_t len = colon ? (size_t)(colon - text) : sizeof(host);
    in_port_t port;

    if (len >= sizeof(host) || parse_port(colon + 1, &port) < 0)
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    if (len == 0) {
        /* Linux serves IPv4 on it too. */
        address.v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = in6addr_any};
    } else if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
        if (inet_pton(AF_INET6, host + 1, &address.v6.sin6_addr) != 1)
            return -EINVAL;
    } else {
        address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
        if (inet_pton(AF_INET, host, &address.v4.sin_addr) != 1)
            return -EINVAL;
    }
    *ret = address;
    return 0;
}

socklen_t address_len(const union address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}
