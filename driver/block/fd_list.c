/* SPDX-License-Identifier: Apache-2.0 */
#include "block/fd_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned find(const struct fd_list *list, const char *name)
{
    unsigned i = 0;

    while (i < list->count && strcmp(list->items[i].name, name) != 0)
        i++;
    return i;
}

int fd_raise(int fd, int below)
{
    int raised = fd > below ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, below + 1);

    if (raised < 0)
        return fd;
    close(fd);
    return raised;
}

static void order(struct fd_list *list)
{
    for (unsigned i = list->count; i-- > 1;)
        list->items[i - 1].fd = fd_raise(list->items[i - 1].fd, list->items[i].fd);
}

int fd_list_put(struct fd_list *list, const char *name, int fd)
{
    unsigned i = find(list, name);

    if (i == FD_LIST_MAX) {
        close(fd);
        return -ENOSPC;
    }
    if (i < list->count)
        close(list->items[i].fd);
    else
        list->count++;
    snprintf(list->items[i].name, sizeof(list->items[i].name), "%s", name);
    list->items[i].fd = fd;
    order(list);
    return 0;
}

int fd_list_get(const struct fd_list *list, const char *name)
{
    unsigned i = find(list, name);

    return i < list->count ? list->items[i].fd : -1;
}

void fd_list_remove(struct fd_list *list, const char *name)
{
    unsigned i = find(list, name);

    if (i == list->count)
        return;
    close(list->items[i].fd);
    list->count--;
    memmove(&list->items[i], &list->items[i + 1], (list->count - i) * sizeof(list->items[0]));
}

void fd_list_drop(struct fd_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        close(list->items[i].fd);
    list->count = 0;
}
