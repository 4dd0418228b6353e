/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

#define FIRST_PASSED_FD 3
#define FIRST_FREE_FD   5 /* below are the numbers that children get, see child.h */

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static int take_listener(int *ret, struct error *err)
{
    const char *pid = getenv("LISTEN_PID");
    const char *count = getenv("LISTEN_FDS");
    const int passed = FIRST_PASSED_FD;
    char self[16];
    int fd;

    snprintf(self, sizeof(self), "%d", (int)getpid());
    if (!pid || !count || strcmp(pid, self) != 0)
        return 0;
    if (strcmp(count, "1") != 0)
        return error_set(err, -EINVAL, "LISTEN_FDS is \"%.16s\": exactly one socket can be passed",
                         count);
    if (socket_option(passed, SO_DOMAIN) != AF_UNIX ||
        socket_option(passed, SO_TYPE) != SOCK_STREAM || socket_option(passed, SO_ACCEPTCONN) != 1)
        return error_set(err, -EINVAL,
                         "the passed descriptor 3 is no listening Unix stream socket");
    fd = fcntl(passed, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    if (fd < 0)
        return error_errno(err, -errno, "cannot take the passed descriptor 3");
    close(passed);
    *ret = fd;
    return 0;
}

/* Written once, at the start. */
static struct sockaddr_un notify_address;
static socklen_t notify_len; /* 0: nobody wants to know */

static void take_notify_socket(void)
{
    const char *where = getenv("NOTIFY_SOCKET");

    if (!where || strlen(where) >= sizeof(notify_address.sun_path))
        return;
    notify_address.sun_family = AF_UNIX;
    memcpy(notify_address.sun_path, where, strlen(where) + 1);
    notify_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(where));
    if (where[0] == '@')
        notify_address.sun_path[0] = '\0';
}

int systemd_take(int *ret_listener, struct error *err)
{
    int rc;

    *ret_listener = -1;
    rc = take_listener(ret_listener, err);
    take_notify_socket();
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("NOTIFY_SOCKET");
    return rc;
}

void systemd_notify(const char *state)
{
    cleanup_close int fd = -1;

    if (notify_len == 0)
        return;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&notify_address,
                         notify_len) < 0)
        log_warning("cannot send \"%s\" to $NOTIFY_SOCKET: %s", state, error_words(-errno));
}
