/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/snapshots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "image/image.h"
#include "volume/volume.h"

int volume_parse_snapshot(const char *text, char ret_volume[RBD_NAME_MAX],
                          char ret_snapshot[SNAPSHOT_NAME_MAX], struct error *err)
{
    const char *at = strchr(text, '@');

    if (!at || at == text || (size_t)(at - text) >= RBD_NAME_MAX)
        return error_set(err, -EINVAL,
                         "a snapshot is named VOLUME@SNAPSHOT, such as db@monday, not '%.128s'",
                         text);
    if (snapshot_check_name(at + 1, err) < 0)
        return err->code;
    snprintf(ret_volume, RBD_NAME_MAX, "%.*s", (int)(at - text), text);
    snprintf(ret_snapshot, SNAPSHOT_NAME_MAX, "%s", at + 1);
    return 0;
}

static int find(struct cluster *cluster, const char *volume, int64_t deadline,
                char ret_id[IMAGE_ID_MAX], struct error *err)
{
    int r = image_find(cluster, volume, deadline, ret_id, err);

    cluster_explain(cluster, r, err);
    return r == -ENOENT ? error_set(err, r, "no such volume: '%s'", volume) : r;
}

/* Words about the volume for what went wrong with its snapshot. */
static int explain(struct cluster *cluster, const char *volume, const char *snapshot, int r,
                   struct error *err)
{
    if (r == -ENOENT)
        return error_set(err, r, "volume '%s' has no snapshot '%s'", volume, snapshot);
    cluster_explain(cluster, r, err);
    return r < 0 ? error_wrap(err, "volume '%s'", volume) : 0;
}

int volume_snapshot_create(struct cluster *cluster, const char *volume, const char *snapshot,
                           const char *host, int64_t deadline, struct snapshot *ret,
                           struct error *err)
{
    char by_time[SNAPSHOT_NAME_MAX];
    char id[IMAGE_ID_MAX];
    struct timespec now;
    int r = find(cluster, volume, deadline, id, err);

    if (r < 0)
        return r;
    if (!snapshot) {
        clock_gettime(CLOCK_REALTIME, &now);
        snapshot_default_name(now, by_time);
        snapshot = by_time;
    }
    r = snapshot_create(cluster, id, snapshot, host, deadline, ret, err);
    return explain(cluster, volume, snapshot, r, err);
}

int volume_snapshot_list(struct cluster *cluster, const char *volume, bool with_trashed,
                         int64_t deadline, struct snapshots *ret, struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r = find(cluster, volume, deadline, id, err);

    if (r < 0)
        return r;
    r = snapshot_list(cluster, id, with_trashed, deadline, ret, err);
    cluster_explain(cluster, r, err);
    return r < 0 ? error_wrap(err, "volume '%s'", volume) : 0;
}

int volume_snapshot_usage(struct cluster *cluster, const char *volume,
                          const struct snapshot_usage *options, int64_t deadline,
                          struct snapshots *ret, uint64_t **ret_used, struct error *err)
{
    cleanup_snapshots struct snapshots list = {0};
    cleanup_free uint64_t *used = NULL;
    char id[IMAGE_ID_MAX];
    int r = find(cluster, volume, deadline, id, err);

    if (r < 0)
        return r;
    r = snapshot_list(cluster, id, true, deadline, &list, err);
    if (r == 0) {
        used = calloc(list.count + 1, sizeof(*used));
        r = used ? snapshot_usage(cluster, id, &list, options, deadline, used, err)
                 : error_errno(err, -ENOMEM, "cannot look at its snapshots");
    }
    cluster_explain(cluster, r, err);
    if (r < 0)
        return error_wrap(err, "volume '%s'", volume);
    *ret = list;
    *ret_used = used;
    list = (struct snapshots){0};
    used = NULL;
    return 0;
}

int volume_snapshot_remove(struct cluster *cluster, const char *volume, const char *snapshot,
                           const char *host, int64_t deadline, bool *ret_trashed, struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r = find(cluster, volume, deadline, id, err);

    if (r < 0)
        return r;
    r = snapshot_remove(cluster, id, snapshot, host, deadline, ret_trashed, err);
    return explain(cluster, volume, snapshot, r, err);
}

int volume_snapshot_protect(struct cluster *cluster, const char *volume, const char *snapshot,
                            bool protect, int64_t deadline, struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r = find(cluster, volume, deadline, id, err);

    if (r < 0)
        return r;
    r = snapshot_protect(cluster, id, snapshot, protect, deadline, err);
    return explain(cluster, volume, snapshot, r, err);
}

int volume_snapshot_rename(struct cluster *cluster, const char *volume, const char *snapshot,
                           const char *to, int64_t deadline, struct error *err)
{
    char id[IMAGE_ID_MAX];
    int r = find(cluster, volume, deadline, id, err);

    if (r < 0)
        return r;
    r = snapshot_rename(cluster, id, snapshot, to, deadline, err);
    return explain(cluster, volume, snapshot, r, err);
}

int volume_restore(struct cluster *cluster, const char *volume, const struct rollback *rollback,
                   int64_t deadline, struct rollback_result *ret, struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    int r = volume_read(cluster, volume, deadline, &facts, err);

    if (r == -ENOENT)
        return error_set(err, r, "no such volume: '%s'", volume);
    if (r == 0)
        r = volume_check_changeable(&facts, "restored", err);
    if (r < 0)
        return r;
    r = image_rollback(cluster, facts.id, rollback, deadline, ret, err);
    return explain(cluster, volume, rollback->snapshot, r, err);
}
