/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/displace.h"

#include <errno.h>

#include "image/image.h"
#include "image/names.h"
#include "image/ownership.h"
#include "image/takeover.h"

/* A holder that lost its watch for a moment renews its lock under another cookie. When that happens
 * between our look and our fence, the lock to break is not the one we looked at; a fenced client
 * cannot do it again. */
#define ATTEMPTS_MAX 3

/* Is it still the lock that FACTS show? */
static int check_holder(const struct lock_info *lock, const struct volume_facts *facts,
                        struct error *err)
{
    char holder[512];

    if (lock->count == 0)
        return error_set(err, -ENOENT, "nobody holds volume '%s' any more", facts->name);
    if (lock->holder.client_id == facts->lock.holder.client_id)
        return 0;
    ownership_describe(lock, holder, sizeof(holder));
    return error_set(err, -EBUSY, "volume '%s' is held by another client now, %s: look again",
                     facts->name, holder);
}

static int check_kind(struct cluster *cluster, const struct volume_facts *facts,
                      const struct lock_info *lock, int64_t deadline, struct error *err)
{
    enum holder_life life;
    int r = takeover_look(cluster, facts->id, lock, deadline, &life, err);

    if (r < 0 || life != HOLDER_FOREIGN)
        return r;
    return error_set(
        err, -EOPNOTSUPP,
        "the lock of volume '%s' was made by hand or by another program: see 'rbd lock "
        "ls %s/%s', and remove it with 'rbd lock rm' once its purpose is served",
        facts->name, cluster_pool(cluster), facts->name);
}

int volume_displace(struct cluster *cluster, const struct volume_facts *facts, const char *new_host,
                    const char *why, int64_t deadline, struct error *err)
{
    int r = 0;

    for (unsigned attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        cleanup_image_header struct image_header header = {0};

        r = image_read_header(cluster, facts->id, deadline, &header, err);
        if (r < 0)
            return r;
        r = check_holder(&header.lock, facts, attempt == 0 ? err : NULL);
        if (r < 0 && attempt > 0) /* the lock is gone, and somebody may have been quick */
            break;
        if (r == 0 && attempt == 0)
            r = check_kind(cluster, facts, &header.lock, deadline, err);
        if (r == 0)
            r = takeover_fence(cluster, facts->id, RBD_LOCK_NAME, &header.lock.holder, deadline,
                               err);
        if (r < 0)
            return error_wrap(err, "cannot take volume '%s' over", facts->name);
    }
    if (r == 0)
        return error_set(
            err, -EBUSY,
            "client %llu is fenced, but its lock on volume '%s' came back each time it "
            "was broken: see 'rbd lock ls %s/%s'",
            (unsigned long long)facts->lock.holder.client_id, facts->name, cluster_pool(cluster),
            facts->name);
    r = takeover_record(cluster, facts->id, &facts->lock, new_host, why, deadline, err);
    return r < 0
               ? error_wrap(err, "volume '%s' is free, but that could not be recorded", facts->name)
               : 0;
}
