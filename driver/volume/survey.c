/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/survey.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parallel.h"

/* Requests under way at once, beside the calling thread's. */
#define HELPERS 7

/* One volume must not use up the time of all. */
#define VOLUME_MS 10000

struct work {
    struct cluster *cluster;
    const struct volume_survey_request *request;
    struct volume_survey *survey;
    int64_t deadline;
};

void volume_survey_free(struct volume_survey *survey)
{
    for (size_t i = 0; i < survey->count; i++) {
        volume_facts_free(&survey->items[i].facts);
        image_readers_free(&survey->items[i].readers);
    }
    free(survey->items);
    *survey = (struct volume_survey){0};
}

/* Who uses the volume. */
static int look(struct cluster *cluster, int64_t deadline, struct volume_report *report)
{
    const struct volume_facts *facts = &report->facts;
    int r = 0;

    if (facts->lock.count > 0)
        r = takeover_look(cluster, facts->id, &facts->lock, deadline, &report->life, &report->err);
    if (r == 0 && facts->read_only)
        r = image_readers_list(cluster, facts->id, deadline, &report->readers, &report->err);
    return r < 0 ? error_wrap(&report->err, "volume '%s'", report->name) : 0;
}

static void read_one(void *arg, size_t i)
{
    const struct work *work = arg;
    struct volume_report *report = &work->survey->items[i];
    int64_t deadline = deadline_earlier(work->deadline, deadline_in_ms(VOLUME_MS));
    int r = volume_read(work->cluster, report->name, deadline, &report->facts, &report->err);

    if (r == -ENOENT)
        error_set(&report->err, r, "no such volume: '%s'", report->name);
    else if (r == 0 && work->request->look)
        look(work->cluster, deadline, report);
}

static void show_progress(void *arg, size_t done, size_t total)
{
    const struct work *work = arg;

    if (work->request->progress)
        work->request->progress(work->request->arg, done, total);
}

static int make_reports(const struct volume_survey_request *request, const struct rbd_pairs *all,
                        struct volume_survey *ret)
{
    size_t count = request->names ? request->count : all->count;

    ret->items = calloc(count ? count : 1, sizeof(*ret->items));
    if (!ret->items)
        return -ENOMEM;
    ret->count = count;
    for (size_t i = 0; i < count; i++)
        snprintf(ret->items[i].name, sizeof(ret->items[i].name), "%s",
                 request->names ? request->names[i] : all->items[i].key);
    return 0;
}

static bool listed(const struct rbd_pairs *pairs, const char *name)
{
    for (size_t i = 0; i < pairs->count; i++) {
        if (strcmp(pairs->items[i].key, name) == 0)
            return true;
    }
    return false;
}

/* A volume that was removed after it had been listed is not worth a word. */
static int drop_removed(struct cluster *cluster, struct volume_survey *survey, int64_t deadline,
                        struct error *err)
{
    struct rbd_pairs now = {0};
    size_t kept = 0;
    bool any = false;
    int r;

    for (size_t i = 0; i < survey->count; i++)
        any = any || survey->items[i].err.code == -ENOENT;
    if (!any)
        return 0;
    r = volume_list(cluster, deadline, &now, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < survey->count; i++) {
        const struct volume_report *report = &survey->items[i];

        if (report->err.code != -ENOENT || listed(&now, report->name))
            survey->items[kept++] = *report;
    }
    survey->count = kept;
    rbd_pairs_free(&now);
    return 0;
}

int volume_survey(struct cluster *cluster, const struct volume_survey_request *request,
                  int64_t deadline, struct volume_survey *ret, struct error *err)
{
    cleanup_volume_survey struct volume_survey survey = {0};
    struct work work = {
        .cluster = cluster, .request = request, .survey = &survey, .deadline = deadline};
    struct rbd_pairs all = {0};
    int r = request->names ? 0 : volume_list(cluster, deadline, &all, err);

    if (r < 0)
        return r;
    r = make_reports(request, &all, &survey);
    rbd_pairs_free(&all);
    if (r < 0)
        return error_errno(err, r, "cannot read the volumes");
    parallel_run(survey.count, HELPERS, read_one, show_progress, &work);
    if (!request->names)
        r = drop_removed(cluster, &survey, deadline, err);
    if (r < 0)
        return r;
    *ret = survey;
    survey = (struct volume_survey){0};
    return 0;
}
