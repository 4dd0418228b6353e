/* SPDX-License-Identifier: Apache-2.0 */
#include "image/snapshot_group.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parallel.h"
#include "image/owner_ask.h"
#include "image/owner_self.h"
#include "image/takeover.h"

/* From the first request to freeze: all must be frozen, and all snapshots made, before the first
 * freeze ends by itself. A file system that takes longer to write everything out is better left to
 * do so, and asked again. */
#define FREEZE_MS 7500
#define SNAP_MS   9500
_Static_assert(SNAP_MS < OWNERSHIP_FREEZE_MAX_MS, "no snapshot may come after the end of a freeze");

#define THAW_MS 7000

#define OWNER_ATTEMPTS 3

struct member {
    struct snapshot_member *what;
    struct owner_ask *ask;  /* its owner; NULL: there is none */
    struct owner_self self; /* ownership NULL: not we */
    bool freezes;           /* its owner was asked to, and is to be told to thaw */
    bool made;              /* its snapshot may be there, and is ours */
    bool stays;             /* it could not be removed again */
    struct error err;       /* code < 0: what failed */
};

struct work {
    struct cluster *cluster;
    const struct snapshot_group *group;
    struct member *members;
    int64_t deadline; /* of the step under way */
    struct member *culprit;
};

static struct member *member_of(struct work *work, size_t i)
{
    return &work->members[i];
}

static int check_name(struct work *work, struct member *member)
{
    struct snapshot snapshot;
    int r = snapshot_find(work->cluster, member->what->id, work->group->name, work->deadline,
                          &snapshot, &member->err);

    if (r == 0)
        return error_set(&member->err, -EEXIST,
                         "there is a snapshot '%s' already: give another name", work->group->name);
    if (r == -ENOENT) { /* of the snapshot, or of the image, which the next step says */
        member->err = (struct error){0};
        return 0;
    }
    return r;
}

static int try_owner(struct work *work, struct member *member)
{
    cleanup_image_header struct image_header header = {0};
    const char *id = member->what->id;
    enum holder_life life = HOLDER_DEAD;
    char holder[512];
    int r = image_read_header(work->cluster, id, work->deadline, &header, &member->err);

    if (r == 0 && header.lock.count > 0)
        r = takeover_look(work->cluster, id, &header.lock, work->deadline, &life, &member->err);
    if (r < 0)
        return r;
    if (life == HOLDER_ALIVE)
        return owner_ask_open(work->cluster, id, &header.lock.holder, work->deadline, &member->ask,
                              &member->err);
    /* Who is dead is fenced there, who is silent is waited for. */
    r = owner_self_begin(work->cluster, id, work->group->host, work->deadline, &member->self,
                         &member->err);
    if (r == -ETIMEDOUT && life == HOLDER_SILENT) {
        ownership_describe(&header.lock, holder, sizeof(holder));
        error_set(&member->err, r,
                  "it is in use by %s, which does not answer, and the cluster has not given it up "
                  "yet: try again in a moment",
                  holder);
    }
    return r;
}

static void find_owner(struct work *work, struct member *member)
{
    int r = try_owner(work, member);

    /* Somebody was faster to lock it, such as a blockd that was started again: ask that one. */
    for (int again = 1; r == -EBUSY && again < OWNER_ATTEMPTS; again++) {
        member->err = (struct error){0};
        r = try_owner(work, member);
    }
}

static void prepare(void *arg, size_t i)
{
    struct member *member = member_of(arg, i);

    if (check_name(arg, member) == 0)
        find_owner(arg, member);
}

static int says_nothing(struct member *member)
{
    return error_set(&member->err, -ETIMEDOUT,
                     "the client that has it open does not answer any more, or does not know what "
                     "it was asked for: 'radosvol holders' says who it is");
}

static void freeze(void *arg, size_t i)
{
    struct work *work = arg;
    struct member *member = member_of(work, i);

    if (!member->ask)
        return;
    member->freezes = true;
    if (owner_ask_freeze(member->ask, work->deadline, &member->err) == OWNER_SAYS_NOTHING)
        says_nothing(member);
}

static void snap(void *arg, size_t i)
{
    struct work *work = arg;
    struct member *member = member_of(work, i);
    struct header_notify request = {.op = NOTIFY_SNAP_CREATE, .flags = NOTIFY_SNAP_SKIP_QUIESCE};
    uint64_t snap_id;
    int r;

    snprintf(request.snapshot, sizeof(request.snapshot), "%s", work->group->name);
    r = member->ask ? owner_ask_work(member->ask, &request, work->deadline, &member->err)
                    : owned_snapshot_add(&member->self.image, work->group->name, work->deadline,
                                         &snap_id, &member->err);
    /* The name was free, so whatever is called so now is ours, unless somebody was faster. */
    member->made = r != -EEXIST;
    if (r == OWNER_SAYS_NOTHING)
        says_nothing(member);
}

static void thaw(void *arg, size_t i)
{
    struct work *work = arg;
    struct member *member = member_of(work, i);
    struct error err;
    int r = member->freezes ? owner_ask_thaw(member->ask, work->deadline, &err) : 0;

    if (r < 0 && member->err.code == 0)
        member->err = err;
}

static void look(void *arg, size_t i)
{
    struct work *work = arg;
    struct member *member = member_of(work, i);

    snapshot_find(work->cluster, member->what->id, work->group->name, work->deadline,
                  &member->what->snapshot, &member->err);
}

static void undo(void *arg, size_t i)
{
    struct work *work = arg;
    struct member *member = member_of(work, i);
    const char *name = work->group->name;
    struct header_notify request = {.op = NOTIFY_SNAP_REMOVE};
    bool trashed;
    int r;

    if (!member->made)
        return;
    snprintf(request.snapshot, sizeof(request.snapshot), "%s", name);
    /* The same owner does one after the other, so this comes after an addition that is late. */
    r = member->ask ? owner_ask_work(member->ask, &request, work->deadline, NULL)
                    : owned_snapshot_remove(&member->self.image, name, work->deadline, NULL);
    if (r != 0 && r != -ENOENT && member->ask) /* it may have another owner by now */
        r = snapshot_remove(work->cluster, member->what->id, name, work->group->host,
                            work->deadline, &trashed, NULL);
    member->stays = r != 0 && r != -ENOENT;
}

static void end(void *arg, size_t i)
{
    struct work *work = arg;
    struct member *member = member_of(work, i);

    owner_ask_close(member->ask);
    if (!member->self.ownership)
        return;
    if (member->made)
        image_announce(member->self.image.cluster, member->self.image.id, work->deadline);
    owner_self_end(&member->self);
}

/* Take a step, until DEADLINE, for all members. Whether all is well: the first failure is what
 * counts, and those of others may be due to it. */
static bool take(struct work *work, const char *words, void (*step)(void *arg, size_t i),
                 int64_t deadline)
{
    const struct snapshot_group *group = work->group;

    if (group->progress)
        group->progress(group->arg, words);
    work->deadline = deadline;
    parallel_run(group->count, SNAPSHOT_GROUP_MAX - 1, step, NULL, work);
    for (size_t i = 0; i < group->count && !work->culprit; i++) {
        if (work->members[i].err.code < 0)
            work->culprit = &work->members[i];
    }
    return !work->culprit;
}

static void take_all(struct work *work, int64_t deadline)
{
    bool well = take(work, "asking who holds the volumes", prepare,
                     deadline - SNAPSHOT_GROUP_RESERVE_MS * NS_PER_MS);

    if (well) {
        const int64_t begin = clock_now();

        well = take(work, "freezing the file systems", freeze, begin + FREEZE_MS * NS_PER_MS) &&
               take(work, "taking the snapshots", snap, begin + SNAP_MS * NS_PER_MS);
        well = take(work, "thawing the file systems", thaw, deadline_in_ms(THAW_MS)) && well;
    }
    if (well)
        well = take(work, "looking at the snapshots", look, deadline);
    if (!well)
        take(work, "removing what was made", undo, deadline);
    take(work, "giving the volumes back", end, deadline);
}

/* Nothing of a member's words is worth less than what to do about a snapshot that stays. */
static int explain(const struct work *work, struct error *err)
{
    const struct snapshot_group *group = work->group;
    struct member *culprit = work->culprit;
    char rest[256] = "";

    cluster_explain(work->cluster, culprit->err.code, &culprit->err);
    for (size_t i = 0; i < group->count && rest[0] == '\0'; i++) {
        if (work->members[i].stays)
            snprintf(rest, sizeof(rest),
                     "; but that of volume '%.120s' may be there still: remove it with 'radosvol "
                     "snapshot rm'",
                     work->members[i].what->volume);
    }
    return error_set(err, culprit->err.code,
                     "volume '%.200s': %.450s; so no snapshot '%.80s' was kept of any of the %zu "
                     "volumes%s",
                     culprit->what->volume, culprit->err.text, group->name, group->count, rest);
}

int snapshot_group_create(struct cluster *cluster, const struct snapshot_group *group,
                          int64_t deadline, struct error *err)
{
    cleanup_free struct member *members = calloc(SNAPSHOT_GROUP_MAX, sizeof(*members));
    struct work work = {.cluster = cluster, .group = group, .members = members};
    int r = snapshot_check_name(group->name, err);

    assert(group->count > 0 && group->count <= SNAPSHOT_GROUP_MAX);
    if (!members)
        return error_set(err, -ENOMEM, "out of memory");
    if (r < 0)
        return r;
    for (size_t i = 0; i < group->count; i++)
        members[i].what = &group->members[i];
    take_all(&work, deadline);
    return work.culprit ? explain(&work, err) : 0;
}
