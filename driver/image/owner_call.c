/* SPDX-License-Identifier: Apache-2.0 */
#include "image/owner_call.h"

#include "image/owner_ask.h"
#include "image/owner_self.h"

static int ask(struct cluster *cluster, const char *id, const struct lock_holder *holder,
               const struct header_notify *request, int64_t deadline, struct error *err)
{
    struct owner_ask *asked;
    int r = owner_ask_open(cluster, id, holder, deadline, &asked, err);

    if (r < 0)
        return r;
    r = owner_ask_work(asked, request, deadline, err);
    owner_ask_close(asked);
    return r;
}

static int do_it_ourselves(struct cluster *cluster, const char *id, const char *host,
                           owner_work work, void *arg, int64_t deadline, struct error *err)
{
    struct owner_self self;
    int r = owner_self_begin(cluster, id, host, deadline, &self, err);

    if (r < 0)
        return r;
    r = work(arg, &self.image, deadline, err);
    if (r == 0)
        image_announce(cluster, id, deadline);
    owner_self_end(&self);
    return r;
}

int owner_call(struct cluster *cluster, const char *id, const char *host,
               const struct header_notify *request, owner_work work, void *arg, int64_t deadline,
               struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(cluster, id, deadline, &header, err);

    if (r < 0)
        return r;
    r = header.lock.count > 0 ? ask(cluster, id, &header.lock.holder, request, deadline, err)
                              : OWNER_SAYS_NOTHING;
    return r == OWNER_SAYS_NOTHING ? do_it_ourselves(cluster, id, host, work, arg, deadline, err)
                                   : r;
}
