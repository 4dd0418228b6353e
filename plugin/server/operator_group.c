/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/operator.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "volume/group.h"

/* Snapshot.Create of several volumes */

/* For other calls on all of the volumes; and what is left then for the first step. */
#define HOLD_MS    20000
#define PREPARE_MS 5000

static int find(const struct operation *operation, struct volume_group *ret, struct error *err)
{
    const struct json_request *request = operation->request;

    if (!!request->name + !!request->names + !!request->label != 1)
        return error_set(err, -EINVAL,
                         "of which volumes? Exactly one of \"Name\", a volume's name, \"Names\", "
                         "an array of them, and \"Label\", such as \"app=shop\"");
    if (request->label)
        return volume_group_by_label(operation->cluster, request->label, operation->deadline, ret,
                                     err);
    return volume_group_by_names(operation->cluster, (const char *const *)request->names,
                                 request->name_count, operation->deadline, ret, err);
}

static int take(const struct operation *operation, struct volume_group *group, struct error *err)
{
    json_t *array;
    int r = volume_group_snapshot(operation->cluster, group, operation->request->snapshot,
                                  operation->driver->settings->host, NULL, NULL,
                                  operation->deadline, err);

    if (r < 0)
        return r;
    array = json_array();
    for (size_t i = 0; i < group->count; i++) {
        json_t *json = operator_snapshot_json(&group->members[i].snapshot);

        operator_add_text(json, "Volume", group->members[i].volume);
        json_array_append_new(array, json);
    }
    operator_add(operation->reply, "Snapshots", array);
    log_info("Snapshot.Create: '%s' of %zu volumes is done", group->members[0].snapshot.name,
             group->count);
    return 0;
}

/* Hold all of them on this host meanwhile. They are sorted, so two calls that share volumes never
 * wait for each other in a circle. */
static int take_held(const struct operation *operation, struct volume_group *group,
                     struct error *err)
{
    const int64_t latest =
        operation->deadline - (PREPARE_MS + SNAPSHOT_GROUP_RESERVE_MS) * NS_PER_MS;
    const int64_t until = deadline_earlier(latest, deadline_in_ms(HOLD_MS));
    struct mounts *mounts = operation->driver->mounts;
    struct slot *slots[SNAPSHOT_GROUP_MAX];
    size_t held = 0;
    int r = 0;

    while (held < group->count && r == 0) {
        r = mounts_hold(mounts, group->members[held].volume, OPERATOR_SNAPSHOT_DOING, until,
                        &slots[held], err);
        if (r == 0)
            held++;
    }
    if (r == 0)
        r = take(operation, group, err);
    while (held > 0)
        mounts_let_go(mounts, slots[--held]);
    return r;
}

int operator_snapshot_group(struct operation *operation, struct error *err)
{
    cleanup_volume_group struct volume_group group = {0};
    int r = find(operation, &group, err);

    return r < 0 ? r : take_held(operation, &group, err);
}
