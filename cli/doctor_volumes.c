/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include <errno.h>

#include "base/clock.h"
#include "cli/holder.h"
#include "image/leftovers.h"
#include "volume/metadata.h"
#include "volume/survey.h"

#define SURVEY_MS    (300 * 1000)
#define LEFTOVERS_MS 60000

static void check_holder(struct doctor *doctor, const struct volume_report *report)
{
    struct holder_text holder;

    if (report->facts.lock.count == 0 ||
        (report->life != HOLDER_DEAD && report->life != HOLDER_SILENT))
        return;
    holder_text(&report->facts.lock, &holder);
    if (report->life == HOLDER_DEAD)
        doctor_add(doctor, "lock", RESULT_WARNING,
                   "volume '%s' is held by %s, which is gone: the next mount takes it over by "
                   "itself, and so does 'radosvol takeover %s'",
                   report->name, holder.host, report->name);
    else
        doctor_add(doctor, "lock", RESULT_WARNING,
                   "volume '%s' is held by %s, which does not answer: look at that host; the "
                   "cluster gives it up when its watch times out",
                   report->name, holder.host);
}

/* A name that does not lead to an image. */
static void check_name(struct doctor *doctor, struct cluster *cluster,
                       const struct volume_report *report)
{
    const char *pool = cluster_pool(cluster);

    if (report->err.code == -ENOENT)
        doctor_add(doctor, "name", RESULT_WARNING,
                   "'%s' is listed, but its object rbd_id.%s is missing: 'rbd info %s/%s' and "
                   "'rbd rm %s/%s' if it is not wanted",
                   report->name, report->name, pool, report->name, pool, report->name);
    else if (report->err.code == -ESTALE)
        doctor_add(doctor, "name", RESULT_WARNING, "%s", report->err.text);
    else if (report->err.code < 0)
        doctor_add(doctor, "volume", RESULT_FAILED, "%s", report->err.text);
}

static void check_leftovers(struct doctor *doctor, struct cluster *cluster)
{
    struct rbd_pairs left = {0};
    struct error err;

    progress("looking for leftovers");
    if (image_leftovers(cluster, META_PREFIX, deadline_in_ms(LEFTOVERS_MS), &left, &err) < 0) {
        doctor_add(doctor, "leftovers", RESULT_FAILED, "%s", err.text);
        return;
    }
    for (size_t i = 0; i < left.count; i++)
        doctor_add(doctor, "leftover", RESULT_WARNING,
                   "image %s, once meant to be '%s', was left half made or half removed: a plugin "
                   "that runs finishes that within ten minutes",
                   left.items[i].key, left.items[i].value);
    if (left.count == 0)
        doctor_add(doctor, "leftovers", RESULT_OK, "none");
    rbd_pairs_free(&left);
}

void doctor_check_volumes(struct doctor *doctor, struct cluster *cluster)
{
    const struct volume_survey_request request = {.look = true, .progress = progress_of_survey};
    cleanup_volume_survey struct volume_survey survey = {0};
    size_t held = 0;
    struct error err;

    if (volume_survey(cluster, &request, deadline_in_ms(SURVEY_MS), &survey, &err) < 0) {
        doctor_add(doctor, "volumes", RESULT_FAILED, "%s", err.text);
        return;
    }
    for (size_t i = 0; i < survey.count; i++)
        held += survey.items[i].facts.lock.count > 0;
    doctor_add(doctor, "volumes", RESULT_OK, "%zu, of which %zu are held", survey.count, held);
    for (size_t i = 0; i < survey.count; i++) {
        check_name(doctor, cluster, &survey.items[i]);
        if (survey.items[i].err.code == 0)
            check_holder(doctor, &survey.items[i]);
    }
    check_leftovers(doctor, cluster);
}
