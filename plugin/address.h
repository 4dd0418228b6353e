/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

/* TCP addresses to listen on, as text: "127.0.0.1:9128", "[::1]:9128", or ":9128" for every address
 * of the host. No names: nothing here asks a resolver. */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* 0, or -EINVAL. */
int address_parse(const char *text, union address *ret);

socklen_t address_len(const union address *address);
