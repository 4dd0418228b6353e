/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin/server/slots.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "block/backend.h"
#include "volume/filesystem.h"

/* A killed server leaves three kinds of traces: ledger files, mounts, and blockds.
 *
 *   ledger  mount   blockd   becomes
 *   yes     yes     yes      mounted, with its uses; without any, lingering
 *   yes     yes     no       the same: its containers see I/O errors until they are stopped
 *   yes     no      yes      lingering, without uses: the server died while mounting or unmounting
 *   yes     no      no       idle; its token is kept for a lock that a killed blockd left
 *   no      yes     -        unmounted
 *   no      -       yes      orphan: asked to detach until it goes
 *
 * Nothing here may wait for a blockd or the cluster: dockerd is waiting for the server. What may
 * wait is done by the janitor, or by threads it starts. */

#define LIST_MS       5000
#define TICK_MS       1000
#define RETRY_MS      10000
#define DEVICE_IN_USE "(unknown)" /* until the blockd says which */

static void closedirp(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}
#define cleanup_dir __attribute__((cleanup(closedirp)))

struct rebuild {
    struct mounts *mounts;
    char (*blockds)[SUPERVISOR_ID_MAX]; /* "" once a ledger entry has claimed it */
    size_t blockd_count;
};

/* Whether a blockd runs for the image; it is then no orphan. */
static bool claim_blockd(struct rebuild *rebuild, const char *image_id)
{
    for (size_t i = 0; i < rebuild->blockd_count; i++) {
        if (image_id[0] != '\0' && strcmp(rebuild->blockds[i], image_id) == 0) {
            rebuild->blockds[i][0] = '\0';
            return true;
        }
    }
    return false;
}

static void take_entry(void *arg, struct ledger_entry *entry)
{
    struct rebuild *rebuild = arg;
    bool runs = claim_blockd(rebuild, entry->image_id);
    enum slot_state state = SLOT_IDLE;
    char target[PATH_MAX];
    struct error err;
    dev_t device;
    LOG_VOLUME(entry->volume);

    attach_target(&rebuild->mounts->attach, entry->volume, target);
    if (filesystem_mounted(target, &device) == 0) {
        state = entry->ref_count > 0 ? SLOT_MOUNTED : SLOT_LINGERING;
        if (!runs) {
            log_error("volume '%s' is mounted but its data path is gone; stop its containers and "
                      "start them again",
                      entry->volume);
            if (backend_give_up(device, &err) < 0)
                log_warning("volume '%s': %s", entry->volume, err.text);
        }
    } else {
        if (entry->ref_count > 0)
            log_warning("volume '%s' is not mounted any more; its %zu uses are forgotten",
                        entry->volume, entry->ref_count);
        entry->ref_count = 0;
        entry->device[0] = '\0';
        if (runs)
            state = SLOT_LINGERING;
    }
    if (state != SLOT_IDLE && entry->device[0] == '\0')
        snprintf(entry->device, sizeof(entry->device), "%s", DEVICE_IN_USE);
    if (!slot_add(rebuild->mounts, entry, state))
        log_error("volume '%s' cannot be looked after: out of memory", entry->volume);
}

/* What was forgotten must not stay in the files: they are what an operator reads. */
static void save_idle(struct mounts *mounts)
{
    struct slot *slot = NULL;
    struct error err = {0};

    LIST_FOREACH(slot, &mounts->slots, next)
    {
        if (slot->state == SLOT_IDLE &&
            ledger_save(mounts->attach.settings->run_dir, &slot->entry, &err) < 0)
            log_error("volume '%s': %s", slot->entry.volume, err.text);
    }
}

static void report_bad(void *arg, const struct error *err)
{
    (void)arg;
    log_error("%s", err->text);
}

/* Mounts that no ledger file speaks of: a lingering slot each, so that the janitor unmounts them.
 */
static int take_mounts(struct rebuild *rebuild, struct error *err)
{
    struct mounts *mounts = rebuild->mounts;
    cleanup_dir DIR *dir = NULL;
    char path[PATH_MAX];
    dev_t device;

    snprintf(path, sizeof(path), "%s/mounts", mounts->attach.settings->lib_dir);
    dir = opendir(path);
    if (!dir)
        return error_errno(err, -errno, "cannot read the directory '%s'", path);
    for (const struct dirent *d; (d = readdir(dir));) {
        struct ledger_entry entry = {0};

        if (volume_name_check(d->d_name, NULL) < 0)
            continue;
        LOG_VOLUME(d->d_name);
        attach_target(&mounts->attach, d->d_name, path);
        if (filesystem_mounted(path, &device) < 0) {
            rmdir(path); /* a host that died leaves it; what is not empty is not ours */
            continue;
        }
        if (slot_find(mounts, d->d_name))
            continue;
        log_warning("'%s' is mounted but the ledger does not know of it; unmounting it", path);
        snprintf(entry.volume, sizeof(entry.volume), "%.*s", VOLUME_NAME_MAX - 1, d->d_name);
        slot_add(mounts, &entry, SLOT_LINGERING);
    }
    return 0;
}

int mounts_rebuild(struct mounts *mounts, struct error *err)
{
    struct rebuild rebuild = {.mounts = mounts};
    const struct settings *settings = mounts->attach.settings;
    struct error epoch_err = {0};
    int r;

    if (ledger_epoch_load(settings->run_dir, &mounts->epoch, &epoch_err) < 0)
        log_error("%s; counting dockerd's lives from the start", epoch_err.text);
    r = supervisor_list(mounts->attach.supervisor, deadline_in_ms(LIST_MS), &rebuild.blockds,
                        &rebuild.blockd_count, err);
    if (r == 0)
        r = ledger_load(settings->run_dir, take_entry, report_bad, &rebuild, err);
    save_idle(mounts);
    if (r == 0)
        r = take_mounts(&rebuild, err);
    for (size_t i = 0; i < rebuild.blockd_count; i++) {
        if (rebuild.blockds[i][0] != '\0')
            log_warning("a blockd runs for image %s but the ledger does not know of it; detaching",
                        rebuild.blockds[i]);
    }
    mounts->orphans = rebuild.blockds;
    mounts->orphan_count = rebuild.blockd_count;
    return r;
}

struct retry {
    struct mounts *mounts;
    char volume[VOLUME_NAME_MAX];
};

static void retry_volume(void *arg)
{
    struct retry *retry = arg;
    struct mounts *mounts = retry->mounts;
    struct error err = {0};
    struct slot *slot = NULL;
    uint64_t size;

    if (slot_take(mounts, retry->volume, deadline_in_ms(RETRY_MS), &slot, &err) == 0) {
        if (slot->state == SLOT_LINGERING && slot->entry.ref_count == 0)
            slot_take_down(mounts, slot, 0, deadline_in_ms(RETRY_MS), &err);
        else if (slot->state == SLOT_MOUNTED)
            slot_grow(mounts, slot, &size, &err);
        pthread_mutex_lock(&mounts->lock);
        slot->retrying = false;
        pthread_mutex_unlock(&mounts->lock);
        slot_give(mounts, slot);
    }
    free(retry);
}

/* One orphan after the other, each with a short deadline; a busy one is asked again next time. */
static void detach_orphans(struct mounts *mounts)
{
    for (size_t i = 0; i < mounts->orphan_count; i++) {
        struct blockd_reply reply;
        struct error err = {0};
        char *id = mounts->orphans[i];
        int r;

        if (id[0] == '\0')
            continue;
        r = attach_call(&mounts->attach, id, BLOCKD_DETACH, deadline_in_ms(TICK_MS), &reply, &err);
        if (r == 0 || r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET)
            id[0] = '\0';
    }
}

/* Hand what lingers, and what is to grow, to threads: an unmount and the growth of a file system
 * can take as long as the cluster is away. */
static void look_after_slots(struct mounts *mounts)
{
    struct slot *slot = NULL;
    WITH_LOCK(&mounts->lock);

    LIST_FOREACH(slot, &mounts->slots, next)
    {
        struct retry *retry;

        if (slot->busy || slot->retrying ||
            (slot->state != SLOT_LINGERING && !slot_wants_growth(slot)))
            continue;
        retry = malloc(sizeof(*retry));
        if (!retry)
            return;
        retry->mounts = mounts;
        memcpy(retry->volume, slot->entry.volume, VOLUME_NAME_MAX);
        if (workers_run(mounts->retries, retry_volume, retry) < 0) {
            free(retry);
            return;
        }
        slot->retrying = true;
    }
}

void *mounts_janitor_main(void *arg)
{
    struct mounts *mounts = arg;
    bool stopping = false;

    pthread_setname_np(pthread_self(), "janitor");
    while (!stopping) {
        struct timespec until = deadline_timespec(deadline_in_ms(TICK_MS));

        look_after_slots(mounts);
        detach_orphans(mounts);
        pthread_mutex_lock(&mounts->lock);
        while (!mounts->stopping) {
            if (pthread_cond_timedwait(&mounts->changed, &mounts->lock, &until) == ETIMEDOUT)
                break;
        }
        stopping = mounts->stopping;
        pthread_mutex_unlock(&mounts->lock);
    }
    return NULL;
}

static bool is_working(struct mounts *mounts)
{
    struct slot *slot = NULL;
    WITH_LOCK(&mounts->lock);

    LIST_FOREACH(slot, &mounts->slots, next)
    {
        if (slot->busy || slot->retrying)
            return true;
    }
    return false;
}

void mounts_stop(struct mounts *mounts, int64_t deadline)
{
    const struct timespec moment = {.tv_nsec = 10 * NS_PER_MS};

    pthread_mutex_lock(&mounts->lock);
    mounts->stopping = true;
    pthread_cond_signal(&mounts->changed);
    pthread_mutex_unlock(&mounts->lock);
    look_after_slots(mounts);
    do
        nanosleep(&moment, NULL);
    while (is_working(mounts) && deadline_left_ms(deadline) > 0);
}
