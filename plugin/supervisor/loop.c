/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"

int loop_open(struct loop *loop, struct error *err)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        return error_errno(err, -errno, "cannot make an epoll set");
    return 0;
}

int loop_add(const struct loop *loop, int fd, enum loop_source source, uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)source << 32 | index};

    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void loop_close(const struct loop *loop, int *fd)
{
    if (*fd < 0)
        return;
    /* By hand: an epoll set keeps a closed descriptor as long as another process has a copy. */
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, *fd, NULL);
    close(*fd);
    *fd = -1;
}

struct loop_event loop_wait(const struct loop *loop, int64_t deadline)
{
    struct epoll_event event;
    int timeout = deadline == INT64_MAX ? -1 : deadline_left_ms(deadline);

    if (epoll_wait(loop->epoll, &event, 1, timeout) != 1)
        return (struct loop_event){.source = LOOP_TIMEOUT};
    return (struct loop_event){.source = (enum loop_source)(event.data.u64 >> 32),
                               .index = (uint32_t)event.data.u64};
}
