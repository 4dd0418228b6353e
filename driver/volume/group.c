/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/group.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "volume/survey.h"

void volume_group_free(struct volume_group *group)
{
    free(group->members);
    *group = (struct volume_group){0};
}

bool volume_has_label(const struct rbd_pairs *labels, const char *wanted)
{
    const size_t len = strcspn(wanted, "=");
    const char *value = wanted[len] == '=' ? wanted + len + 1 : NULL;

    for (size_t i = 0; i < labels->count; i++) {
        const struct rbd_pair *label = &labels->items[i];

        if (strncmp(label->key, wanted, len) == 0 && label->key[len] == '\0')
            return !value || strcmp(label->value, value) == 0;
    }
    return false;
}

static int too_many(size_t count, struct error *err)
{
    return error_set(err, -EINVAL,
                     "these are %zu volumes; of at most %d snapshots can be taken at one point in "
                     "time: name fewer",
                     count, SNAPSHOT_GROUP_MAX);
}

/* Room for COUNT members. */
static int group_new(size_t count, struct volume_group *ret, struct error *err)
{
    *ret = (struct volume_group){.members = calloc(count, sizeof(*ret->members))};
    return ret->members ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static void add(struct volume_group *group, const char *name, const char *id)
{
    struct snapshot_member *member = &group->members[group->count++];

    snprintf(member->volume, sizeof(member->volume), "%s", name);
    snprintf(member->id, sizeof(member->id), "%s", id);
}

static int by_name(const void *a, const void *b)
{
    const struct snapshot_member *one = a;
    const struct snapshot_member *other = b;

    return strcmp(one->volume, other->volume);
}

static int check_twice(const struct volume_group *group, struct error *err)
{
    for (size_t i = 1; i < group->count; i++) {
        if (by_name(&group->members[i - 1], &group->members[i]) == 0)
            return error_set(err, -EINVAL, "volume '%s' is named twice", group->members[i].volume);
    }
    return 0;
}

int volume_group_by_names(struct cluster *cluster, const char *const names[], size_t count,
                          int64_t deadline, struct volume_group *ret, struct error *err)
{
    cleanup_volume_group struct volume_group group = {0};
    int r;

    if (count == 0)
        return error_set(err, -EINVAL, "no volume is named: name those that belong together");
    if (count > SNAPSHOT_GROUP_MAX)
        return too_many(count, err);
    r = group_new(count, &group, err);
    for (size_t i = 0; i < count && r == 0; i++) {
        char id[IMAGE_ID_MAX];

        r = image_find(cluster, names[i], deadline, id, err);
        cluster_explain(cluster, r, err);
        if (r == -ENOENT)
            return error_set(err, r, "no such volume: '%s'; no snapshot was taken of any",
                             names[i]);
        if (r == 0)
            add(&group, names[i], id);
    }
    if (r < 0)
        return r;
    qsort(group.members, group.count, sizeof(*group.members), by_name);
    r = check_twice(&group, err);
    if (r < 0)
        return r;
    *ret = group;
    group = (struct volume_group){0};
    return 0;
}

/* A name that leads nowhere has no labels, and nothing to take a snapshot of. */
static bool is_gone(const struct volume_report *report)
{
    return report->err.code == -ENOENT || report->err.code == -ESTALE;
}

static int pick(const struct volume_survey *survey, const char *label, struct volume_group *group,
                struct error *err)
{
    for (size_t i = 0; i < survey->count; i++) {
        const struct volume_report *report = &survey->items[i];

        if (report->err.code < 0 && !is_gone(report))
            return error_set(err, report->err.code, "whether '%.128s' is to be among them: %.700s",
                             report->name, report->err.text);
        if (report->err.code == 0 && volume_has_label(&report->facts.labels, label))
            add(group, report->name, report->facts.id);
    }
    if (group->count == 0)
        return error_set(err, -ENOENT,
                         "no volume has the label '%s': labels are what 'docker volume create -o "
                         "label.KEY=VALUE' gave, and 'radosvol inspect' shows them",
                         label);
    return group->count > SNAPSHOT_GROUP_MAX ? too_many(group->count, err) : 0;
}

int volume_group_by_label(struct cluster *cluster, const char *label, int64_t deadline,
                          struct volume_group *ret, struct error *err)
{
    const struct volume_survey_request all = {0};
    cleanup_volume_survey struct volume_survey survey = {0};
    cleanup_volume_group struct volume_group group = {0};
    int r;

    if (label[0] == '\0' || label[0] == '=')
        return error_set(err, -EINVAL,
                         "'%s' is no label: one is KEY, or KEY=VALUE, such as app=shop", label);
    r = volume_survey(cluster, &all, deadline, &survey, err);
    if (r == 0)
        r = group_new(survey.count ? survey.count : 1, &group, err);
    if (r == 0)
        r = pick(&survey, label, &group, err); /* sorted, as the survey is */
    if (r < 0)
        return r;
    *ret = group;
    group = (struct volume_group){0};
    return 0;
}

int volume_group_snapshot(struct cluster *cluster, const struct volume_group *group,
                          const char *snapshot, const char *host,
                          void (*progress)(void *arg, const char *step), void *arg,
                          int64_t deadline, struct error *err)
{
    char by_time[SNAPSHOT_NAME_MAX];
    struct snapshot_group wanted = {
        .members = group->members,
        .count = group->count,
        .name = snapshot ? snapshot : by_time,
        .host = host,
        .progress = progress,
        .arg = arg,
    };
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    snapshot_default_name(now, by_time);
    return snapshot_group_create(cluster, &wanted, deadline, err);
}
