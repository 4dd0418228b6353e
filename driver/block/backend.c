/* SPDX-License-Identifier: Apache-2.0 */
#include "block/backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Best first. */
static const struct backend_ops *const backends[] = {
    &fuse_loop_backend,
};

const struct backend_ops *backend_choose(struct error *err)
{
    char missing[ERROR_TEXT_MAX] = "";

    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        struct error why;
        size_t used = strlen(missing);

        if (backends[i]->probe(&why) == 0)
            return backends[i];
        snprintf(missing + used, sizeof(missing) - used, "%s%s: %.400s", used > 0 ? "; " : "",
                 backends[i]->name, why.text);
    }
    error_set(err, -EOPNOTSUPP, "this machine cannot make block devices: %s", missing);
    return NULL;
}
