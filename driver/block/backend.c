/* SPDX-License-Identifier: Apache-2.0 */
#include "block/backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/nbd_device.h"

/* In the order in which they are tried. FUSE has been through everything that tests/crash and
 * tests/hosts do. */
static const struct backend_ops *const backends[] = {
    &fuse_loop_backend,
    &nbd_backend,
};

#define BACKENDS (sizeof(backends) / sizeof(backends[0]))

static bool is_wanted(const char *wanted, const struct backend_ops *ops)
{
    return strcmp(wanted, BACKEND_AUTO) == 0 || strcmp(wanted, ops->name) == 0;
}

bool backend_is_known(const char *wanted)
{
    for (size_t i = 0; i < BACKENDS; i++) {
        if (is_wanted(wanted, backends[i]))
            return true;
    }
    return false;
}

static bool has_left(const struct backend_ops *ops, struct fd_keeper *keeper)
{
    for (const char *const *name = ops->kept; *name; name++) {
        int fd = keeper->fetch(keeper, *name);

        if (fd >= 0) {
            close(fd);
            return true;
        }
    }
    return false;
}

const struct backend_ops *backend_choose(const char *wanted, struct fd_keeper *keeper,
                                         struct error *err)
{
    const struct backend_ops *second_best = NULL;
    char missing[ERROR_TEXT_MAX] = "";

    for (size_t i = 0; i < BACKENDS && keeper; i++) {
        if (has_left(backends[i], keeper))
            return backends[i];
    }
    for (size_t i = 0; i < BACKENDS; i++) {
        const struct backend_ops *ops = backends[i];
        struct error why;
        size_t used = strlen(missing);

        if (!is_wanted(wanted, ops))
            continue;
        if (ops->probe(&why) < 0)
            snprintf(missing + used, sizeof(missing) - used, "%s%s: %.400s", used > 0 ? "; " : "",
                     ops->name, why.text);
        else if (!ops->caution || ops->caution(&why) == 0)
            return ops;
        else if (!second_best)
            second_best = ops;
    }
    if (second_best)
        return second_best;
    error_set(err, -EOPNOTSUPP, "this machine cannot make block devices: %s", missing);
    return NULL;
}

int backend_give_up(dev_t device, struct error *err)
{
    unsigned index;

    /* The FUSE session of another device ended with the last descriptor. */
    return nbd_device_of(device, &index) < 0 ? 0 : nbd_device_disconnect(index, err);
}
