/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/metrics_listen.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "plugin/address.h"
#include "plugin/server/call.h"
#include "plugin/server/http.h"
#include "plugin/server/monitoring.h"

#define BACKLOG         16
#define CONNECTIONS_MAX 16

struct metrics_listener {
    struct http *http;
    int fd;
};

static int open_socket(const char *text, int *ret, struct error *err)
{
    union address address;
    const int on = 1;
    cleanup_close int fd = -1;

    if (address_parse(text, &address) < 0)
        return error_set(err, -EINVAL, "'%s' is no address", text);
    fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, -errno, "cannot make a socket for metrics");
    /* Started again at once, it may have the address of connections that are still closing; and at
     * boot the host may not have the address yet (IP_FREEBIND serves IPv6 too). */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) < 0 ||
        bind(fd, &address.any, address_len(&address)) < 0 || listen(fd, BACKLOG) < 0)
        return error_errno(err, -errno, "cannot listen on %s for metrics (see --metrics-address)",
                           text);
    *ret = steal_fd(&fd);
    return 0;
}

int metrics_listen(const char *address, struct volume_driver *driver, struct metrics_listener **ret,
                   struct error *err)
{
    static const struct endpoint *const tables[] = {monitoring_endpoints, NULL};
    struct metrics_listener *listener = calloc(1, sizeof(*listener));
    struct calls *calls = calls_new(driver);
    int r;

    if (!listener || !calls)
        return error_errno(err, -ENOMEM, "cannot serve metrics"); /* the process goes on without */
    r = open_socket(address, &listener->fd, err);
    if (r == 0)
        r = http_start(listener->fd, CONNECTIONS_MAX, tables, driver, calls, &listener->http, err);
    if (r == 0)
        *ret = listener;
    return r;
}

void metrics_listener_stop(struct metrics_listener *listener, int64_t deadline)
{
    if (listener)
        http_stop(listener->http, deadline);
}
