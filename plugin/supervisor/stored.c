/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned find(const struct stored *stored, const char *name)
{
    unsigned i = 0;

    while (i < stored->count && strcmp(stored->items[i].name, name) != 0)
        i++;
    return i;
}

int stored_put(struct stored *stored, const char *name, int fd)
{
    unsigned i = find(stored, name);

    if (i == KEEPER_FDS_MAX) {
        close(fd);
        return -ENOSPC;
    }
    if (i < stored->count)
        close(stored->items[i].fd);
    else
        stored->count++;
    snprintf(stored->items[i].name, sizeof(stored->items[i].name), "%s", name);
    stored->items[i].fd = fd;
    return 0;
}

void stored_remove(struct stored *stored, const char *name)
{
    unsigned i = find(stored, name);

    if (i == stored->count)
        return;
    close(stored->items[i].fd);
    stored->count--;
    memmove(&stored->items[i], &stored->items[i + 1],
            (stored->count - i) * sizeof(stored->items[0]));
}

void stored_drop(struct stored *stored)
{
    for (unsigned i = 0; i < stored->count; i++)
        close(stored->items[i].fd);
    stored->count = 0;
}

int stored_send(const struct stored *stored, int socket)
{
    for (unsigned i = 0; i < stored->count; i++) {
        int rc = keeper_send(socket, stored->items[i].name, stored->items[i].fd);

        if (rc < 0)
            return rc;
    }
    return keeper_send(socket, "", -1);
}
