/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/clone.h"
#include "image/snapshot.h"
#include "image/trash.h"

/* What keeps an image's snapshots from going (trash_check_kept). */

/* Names that are shown; more would not fit into an error. */
#define NAMES_SHOWN 4

struct keepers {
    char names[NAMES_SHOWN * 96]; /* "'a', 'b'" */
    size_t count;
};

/* A clone that has no name in our own pool is in the trash (or about to be made, and not seen by
 * anybody). Of other pools we may not be able to tell, so it counts as living. */
static bool is_in_trash(const struct cluster *cluster, const struct child *child)
{
    return child->name[0] == '\0' && child->pool_id == cluster_pool_id(cluster) &&
           strcmp(child->namespace, cluster_namespace(cluster)) == 0;
}

static void add_keeper(struct keepers *keepers, const struct cluster *cluster,
                       const struct child *child)
{
    bool elsewhere = child->pool_id != cluster_pool_id(cluster);
    size_t len = strlen(keepers->names);
    char words[2 * RBD_NAME_MAX + 8];

    if (keepers->count++ >= NAMES_SHOWN)
        return;
    if (child->name[0])
        snprintf(words, sizeof(words), "'%s%s%s'", elsewhere ? child->pool : "",
                 elsewhere ? "/" : "", child->name);
    else
        snprintf(words, sizeof(words), "id %s%s", child->id,
                 is_in_trash(cluster, child) ? " (in the trash)" : "");
    snprintf(keepers->names + len, sizeof(keepers->names) - len, "%s%s", len > 0 ? ", " : "",
             words);
}

static int find_clones(struct cluster *cluster, const char *id, uint64_t snap_id, bool living_only,
                       int64_t deadline, struct keepers *keepers, struct error *err)
{
    struct children children = {0};
    int r = clone_children(cluster, id, snap_id, deadline, &children, err);

    for (size_t i = 0; r == 0 && i < children.count; i++) {
        if (!living_only || !is_in_trash(cluster, &children.items[i]))
            add_keeper(keepers, cluster, &children.items[i]);
    }
    children_free(&children);
    return r;
}

int trash_check_kept(struct cluster *cluster, const struct image_header *header, bool living_only,
                     int64_t deadline, struct error *err)
{
    cleanup_snapshots struct snapshots list = {0};
    struct keepers keepers = {0};
    int r = snapshot_list(cluster, header->id, true, deadline, &list, err);

    if (r < 0)
        return r;
    if (list.count < header->snapc.count)
        return error_set(err, -EBUSY,
                         "image %s has snapshots of a group or for mirroring: see 'rbd snap ls "
                         "--all'",
                         header->id);
    for (size_t i = 0; r == 0 && i < list.count; i++) {
        if (list.items[i].protected)
            return error_set(err, -EBUSY, "its snapshot '%s' is protected: unprotect it first",
                             list.items[i].name);
        if (list.items[i].child_count > 0)
            r = find_clones(cluster, header->id, list.items[i].id, living_only, deadline, &keepers,
                            err);
    }
    if (r < 0 || keepers.count == 0)
        return r;
    return error_set(
        err, -EBUSY,
        "%zu clone(s) need its data: %s%s; flatten them ('rbd flatten'), or remove them "
        "first",
        keepers.count, keepers.names, keepers.count > NAMES_SHOWN ? ", ..." : "");
}
