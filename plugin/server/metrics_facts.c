/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/server/metrics_measure.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/ownership.h"
#include "plugin/server/metrics.h"
#include "volume/survey.h"
#include "volume/volume.h"

#define LIST_MS  5000  /* for the names, which also shows whether the cluster answers at all */
#define FACTS_MS 60000 /* for all volumes */
#define LINK_MS  1000

static int compare_facts(const void *a, const void *b)
{
    return strcmp(((const struct metrics_facts *)a)->name, ((const struct metrics_facts *)b)->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void take_holder(const struct lock_info *lock, struct metrics_facts *facts)
{
    char since[64];

    facts->held = lock->count > 0;
    if (!facts->held)
        return;
    ownership_parse_description(lock->holder.description, facts->holder_host,
                                sizeof(facts->holder_host), since, sizeof(since));
    if (facts->holder_host[0] == '\0')
        snprintf(facts->holder_host, sizeof(facts->holder_host), "%s", lock->holder.address);
    facts->holder_client = lock->holder.client_id;
}

static void take_facts(struct cluster *cluster, const struct volume_facts *from, int64_t deadline,
                       struct metrics_facts *facts)
{
    struct timespec newest;

    facts->read = clock_now();
    facts->size = from->size;
    facts->used = from->used;
    facts->created = from->created.tv_sec;
    facts->snapshots = from->snapshot_count;
    facts->takeovers = from->takeovers.count;
    take_holder(&from->lock, facts);
    if (from->snapshot_count > 0 &&
        volume_newest_snapshot(cluster, from->id, deadline, &newest, NULL) == 0)
        facts->newest_snapshot = newest.tv_sec;
}

/* The volumes to read: those mounted here, then the rest by name. *ret_names points into IMAGES. */
static int choose(struct mounts *mounts, const struct rbd_pairs *images, const char ***ret_names,
                  size_t *ret_count, uint64_t *ret_volumes)
{
    size_t mounted_count;
    cleanup_free char(*mounted)[VOLUME_NAME_MAX] = mounts_names(mounts, &mounted_count);
    const char **names = calloc(images->count + 1, sizeof(*names));
    size_t count = 0;

    if (!names)
        return -ENOMEM;
    *ret_volumes = 0;
    for (int want_mounted = 1; want_mounted >= 0; want_mounted--) {
        for (size_t i = 0; i < images->count; i++) {
            const char *name = images->items[i].key;
            bool is_mounted =
                mounted && bsearch(name, mounted, mounted_count, sizeof(*mounted), compare_names);

            if (volume_name_check(name, NULL) < 0 || is_mounted != want_mounted)
                continue;
            ++*ret_volumes;
            if (count < METRICS_VOLUMES_MAX)
                names[count++] = name;
        }
    }
    *ret_names = names;
    *ret_count = count;
    return 0;
}

/* One that could not be read now keeps what was known, with its age; one that is gone does not. */
static void take_report(struct cluster *cluster, const struct volume_report *report,
                        int64_t deadline, const struct metrics_facts_list *old,
                        struct metrics_facts_list *ret)
{
    struct metrics_facts *facts = &ret->items[ret->count];
    const struct metrics_facts *before;

    if (report->err.code == -ENOENT || report->err.code == -ESTALE)
        return;
    snprintf(facts->name, sizeof(facts->name), "%.*s", VOLUME_NAME_MAX - 1, report->name);
    if (report->err.code == 0) {
        take_facts(cluster, &report->facts, deadline, facts);
        ret->count++;
        return;
    }
    before = old->count > 0
                 ? bsearch(facts, old->items, old->count, sizeof(*old->items), compare_facts)
                 : NULL;
    if (!before)
        return;
    *facts = *before;
    ret->count++;
}

static int read_all(struct cluster *cluster, struct mounts *mounts, int64_t deadline,
                    const struct metrics_facts_list *old, struct metrics_facts_list *ret)
{
    cleanup_volume_survey struct volume_survey survey = {0};
    cleanup_free const char **names = NULL;
    struct volume_survey_request request = {0};
    struct rbd_pairs images = {0};
    int r = volume_list(cluster, deadline_in_ms(LIST_MS), &images, NULL);

    if (r == 0)
        r = choose(mounts, &images, &names, &request.count, &ret->volumes);
    request.names = names;
    if (r == 0)
        r = volume_survey(cluster, &request, deadline, &survey, NULL);
    if (r == 0) {
        ret->items = calloc(survey.count ? survey.count : 1, sizeof(*ret->items));
        r = ret->items ? 0 : -ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < survey.count; i++)
        take_report(cluster, &survey.items[i], deadline, old, ret);
    if (r == 0)
        qsort(ret->items, ret->count, sizeof(*ret->items), compare_facts);
    ret->left_out = ret->volumes > request.count ? ret->volumes - request.count : 0;
    rbd_pairs_free(&images);
    return r;
}

int metrics_read_facts(const struct attach *attach, struct mounts *mounts,
                       const struct metrics_facts_list *old, struct metrics_facts_list *ret)
{
    struct cluster *cluster;
    int r = cluster_link_get(attach->link, deadline_in_ms(LINK_MS), &cluster, NULL);

    *ret = (struct metrics_facts_list){0};
    if (r < 0)
        return r;
    r = read_all(cluster, mounts, deadline_in_ms(FACTS_MS), old, ret);
    cluster_link_put(attach->link, cluster, r);
    return r;
}

int metrics_read_pool(const struct attach *attach, struct pool_usage *ret)
{
    struct cluster *cluster;
    int r = cluster_link_get(attach->link, deadline_in_ms(LINK_MS), &cluster, NULL);

    if (r < 0)
        return r;
    r = pool_usage_read(cluster, ret, NULL);
    cluster_link_put(attach->link, cluster, r == -ETIMEDOUT || r == -ESHUTDOWN ? r : 0);
    return r;
}
