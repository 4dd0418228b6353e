/* SPDX-License-Identifier: Apache-2.0 */
#include "image/leftovers.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/names.h"
#include "image/trash.h"
#include "rados/op.h"

/* 1, 0, or a negative errno. */
static int is_leftover(struct cluster *cluster, const struct rbd_trash_entry *entry,
                       const char *mark_prefix, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    struct lock_info work = {0};
    int r;

    if (entry->spec.source != RBD_TRASH_REMOVING &&
        (entry->spec.source != RBD_TRASH_USER || entry->spec.state == RBD_TRASH_NORMAL))
        return 0;
    r = image_read_header(cluster, entry->id, deadline, &header, err);
    if (r == -ENOENT) /* only the entry is left, or the header is about to be made */
        return entry->spec.state != RBD_TRASH_RESTORING;
    if (r < 0)
        return r;
    if (entry->spec.source == RBD_TRASH_REMOVING ? !trash_is_marked(&header, mark_prefix)
                                                 : !trash_is_ours(&header, &entry->spec))
        return 0;
    r = trash_work_holder(cluster, entry->id, deadline, &work);
    if (r == -ENOENT) /* finished this very moment */
        return 0;
    return r < 0 ? error_errno(err, r, "cannot read the lock of image %s", entry->id)
                 : work.count == 0;
}

int image_leftovers(struct cluster *cluster, const char *mark_prefix, int64_t deadline,
                    struct rbd_pairs *ret, struct error *err)
{
    cleanup_free struct rbd_trash_entry *entries = NULL;
    struct rbd_pairs found = {0};
    size_t count;
    int r = trash_list(cluster, deadline, &entries, &count, err);

    if (r < 0)
        return r;
    found.items = calloc(count + 1, sizeof(*found.items)); /* never of nothing */
    if (!found.items)
        return error_errno(err, -ENOMEM, "cannot list the trash");
    for (size_t i = 0; i < count && r >= 0; i++) {
        r = is_leftover(cluster, &entries[i], mark_prefix, deadline, err);
        if (r == 1) {
            struct rbd_pair *pair = &found.items[found.count++];

            *pair = (struct rbd_pair){.key = strdup(entries[i].id),
                                      .value = strdup(entries[i].spec.name),
                                      .value_len = strlen(entries[i].spec.name)};
            if (!pair->key || !pair->value)
                r = error_errno(err, -ENOMEM, "cannot list the trash");
        }
    }
    if (r < 0) {
        rbd_pairs_free(&found);
        return r;
    }
    *ret = found;
    return 0;
}
