/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/metrics_measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "plugin/server/metrics.h"
#include "volume/filesystem.h"

#define BLOCKD_MS     100 /* for one that is busy with the cluster; the next round asks again */
#define SUPERVISOR_MS 100

static int compare_to_name(const void *name, const void *local)
{
    return strcmp(name, ((const struct metrics_local *)local)->name);
}

/* A process that ended took its fence with it: only a new one that is fenced counts again. */
static void count_fence(struct metrics_local *local)
{
    if (local->stats.state != BLOCKD_FENCED || local->fenced_pid == local->stats.pid)
        return;
    local->fenced_pid = local->stats.pid;
    local->fences++;
}

static void measure(const struct attach *attach, const struct mounts_view *view,
                    struct metrics_local *local)
{
    char socket[PATH_MAX];
    struct blockd_stats stats;
    uint64_t size;

    snprintf(socket, sizeof(socket), "%s/blockd/%s.sock", attach->settings->run_dir,
             view->image_id);
    if (blockd_call_stats(socket, deadline_in_ms(BLOCKD_MS), &stats, NULL) == 0) {
        local->stats = stats;
        local->measured = clock_now();
        count_fence(local);
    }
    local->has_process =
        local->measured > 0 && process_usage_read((pid_t)local->stats.pid, &local->process) == 0;
    local->has_usage = filesystem_usage(view->target, &local->used, &size) == 0;
}

void metrics_measure_volumes(const struct attach *attach, struct mounts *mounts,
                             const struct metrics_locals *old, struct metrics_locals *ret)
{
    size_t count;
    cleanup_free char(*names)[VOLUME_NAME_MAX] = mounts_names(mounts, &count);

    *ret = (struct metrics_locals){0};
    if (count > METRICS_VOLUMES_MAX)
        count = METRICS_VOLUMES_MAX;
    ret->items = calloc(count ? count : 1, sizeof(*ret->items));
    for (size_t i = 0; ret->items && i < count; i++) {
        struct metrics_local *local = &ret->items[ret->count];
        const struct metrics_local *before =
            old->count > 0
                ? bsearch(names[i], old->items, old->count, sizeof(*old->items), compare_to_name)
                : NULL;
        struct mounts_view view;

        if (before)
            *local = *before;
        else
            snprintf(local->name, sizeof(local->name), "%s", names[i]);
        mounts_look(mounts, names[i], &view);
        free(view.ids);
        if (!view.mounted)
            continue;
        measure(attach, &view, local);
        ret->count++;
    }
}

static void measure_process(struct metrics_process *process, const char *name, pid_t pid)
{
    process->name = name;
    process->known = process_usage_read(pid, &process->usage) == 0;
}

void metrics_measure_host(const struct attach *attach, struct metrics_host *ret)
{
    *ret = (struct metrics_host){0};
    measure_process(&ret->processes[0], "server", getpid());
    measure_process(&ret->processes[1], "supervisor", getppid());
    ret->has_counts = supervisor_count(attach->supervisor, deadline_in_ms(SUPERVISOR_MS),
                                       &ret->counts, NULL) == 0;
}
