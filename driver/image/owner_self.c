/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_self.h"

#define WATCH_TIMEOUT_S 30

int owner_self_begin(struct cluster *cluster, const char *id, const char *host, int64_t deadline,
                     struct owner_self *ret, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    struct ownership *ownership;
    int r = ownership_acquire(cluster, id, host, "", WATCH_TIMEOUT_S, deadline, &header, &ownership,
                              err);

    if (r < 0)
        return r;
    *ret = (struct owner_self){
        .ownership = ownership,
        .image = {.cluster = cluster, .id = id, .cookie = ownership_cookie(ownership)},
    };
    owned_drop_unneeded(&ret->image, &header, deadline);
    owned_release_ids(cluster, &header, deadline);
    return 0;
}

void owner_self_end(struct owner_self *self)
{
    ownership_release(self->ownership);
    self->ownership = NULL;
}
