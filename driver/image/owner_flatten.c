/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_flatten.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/thread.h"
#include "image/flatten_steps.h"

#define PARALLEL 4

struct owner_flatten {
    pthread_t thread;
    struct image_io *io;
    uint64_t overlap;
    struct owner_flatten_hooks hooks;
};

static void *copy(void *arg)
{
    struct owner_flatten *flatten = arg;
    const struct flatten_copy how = {
        .parallel = PARALLEL, .look = flatten->hooks.look, .arg = flatten->hooks.arg};

    flatten->hooks.ended(flatten->hooks.arg, flatten_copy(flatten->io, flatten->overlap, &how));
    return NULL;
}

int owner_flatten_start(struct image_io *io, uint64_t overlap,
                        const struct owner_flatten_hooks *hooks, struct owner_flatten **ret)
{
    struct owner_flatten *flatten = calloc(1, sizeof(*flatten));
    int r;

    if (!flatten)
        return -ENOMEM;
    flatten->io = io;
    flatten->overlap = overlap;
    flatten->hooks = *hooks;
    r = thread_start(&flatten->thread, copy, flatten);
    if (r < 0)
        free(flatten);
    else
        *ret = flatten;
    return r;
}

void owner_flatten_join(struct owner_flatten *flatten)
{
    if (!flatten)
        return;
    pthread_join(flatten->thread, NULL);
    free(flatten);
}
