/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "plugin/server/mounts_internal.h"
#include "volume/filesystem.h"

#define HEALTH_MS           2000 /* to ask a running blockd whether it was fenced */
#define UNMOUNT_PATIENCE_MS 300  /* with those who still use it; then it lingers */
#define REMOVE_PATIENCE_MS  3000
#define RETRIES_MAX         8

static void init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* Called with the lock held. */
static struct slot *slot_find(struct mounts *mounts, const char *volume)
{
    struct slot *slot;

    LIST_FOREACH(slot, &mounts->slots, next)
    {
        if (strcmp(slot->entry.volume, volume) == 0)
            return slot;
    }
    return NULL;
}

struct slot *slot_add(struct mounts *mounts, struct ledger_entry *entry, enum slot_state state)
{
    struct slot *slot = calloc(1, sizeof(*slot));

    if (!slot)
        return NULL;
    init_cond(&slot->free);
    slot->entry = *entry;
    *entry = (struct ledger_entry){0};
    slot->state = state;
    LIST_INSERT_HEAD(&mounts->slots, slot, next);
    return slot;
}

/* Called with the lock held. A slot that knows nothing worth keeping goes with its last user. */
static void slot_put(struct slot *slot)
{
    if (--slot->users > 0 || slot->retrying || slot->state != SLOT_IDLE ||
        slot->entry.token[0] != '\0')
        return;
    LIST_REMOVE(slot, next);
    pthread_cond_destroy(&slot->free);
    ledger_entry_free(&slot->entry);
    free(slot);
}

int slot_take(struct mounts *mounts, const char *volume, int64_t deadline, struct slot **ret,
              struct error *err)
{
    struct timespec until = deadline_timespec(deadline);
    WITH_LOCK(&mounts->lock);
    struct slot *slot = slot_find(mounts, volume);

    if (!slot) {
        struct ledger_entry entry = {0};

        snprintf(entry.volume, sizeof(entry.volume), "%s", volume);
        slot = slot_add(mounts, &entry, SLOT_IDLE);
        if (!slot)
            return error_errno(err, -ENOMEM, "cannot work on volume '%s'", volume);
    }
    slot->users++;
    while (slot->busy) {
        if (pthread_cond_timedwait(&slot->free, &mounts->lock, &until) == ETIMEDOUT && slot->busy) {
            slot_put(slot);
            return error_set(err, -ETIMEDOUT,
                             "volume '%s' is busy with another call; try again (does it wait for "
                             "the cluster? see \"ceph -s\")",
                             volume);
        }
    }
    slot->busy = true;
    *ret = slot;
    return 0;
}

void slot_give(struct mounts *mounts, struct slot *slot)
{
    WITH_LOCK(&mounts->lock);

    slot->busy = false;
    pthread_cond_signal(&slot->free);
    slot_put(slot);
}

/* Take over what attach_up and attach_down changed in a copy of the entry. */
static void slot_update(struct mounts *mounts, struct slot *slot, const struct ledger_entry *entry,
                        enum slot_state state)
{
    WITH_LOCK(&mounts->lock);

    slot->entry = *entry;
    slot->state = state;
    pthread_cond_signal(&mounts->changed);
}

int slot_take_down(struct mounts *mounts, struct slot *slot, int patience_ms, int64_t deadline,
                   struct error *err)
{
    const struct timespec moment = {.tv_nsec = 100 * NS_PER_MS};
    int64_t patience = deadline_earlier(deadline, deadline_in_ms(patience_ms));
    struct ledger_entry entry = slot->entry;
    bool was_lingering = slot->state == SLOT_LINGERING;
    struct error save_err = {0};
    int r;

    /* The kernel may still be at work on the end of the container that had it. */
    while ((r = attach_down(&mounts->attach, &entry, deadline, err)) == -EBUSY &&
           deadline_left_ms(patience) > 0)
        nanosleep(&moment, NULL);
    slot_update(mounts, slot, &entry, r < 0 ? SLOT_LINGERING : SLOT_IDLE);
    if (r < 0 && !was_lingering) {
        log_info("volume '%s' is unmounted but not free yet, trying again each second: %s",
                 entry.volume, err->text);
        if (ledger_save(mounts->attach.settings->run_dir, &entry, &save_err) < 0)
            log_error("volume '%s': %s", entry.volume, save_err.text);
    } else if (r == 0 && was_lingering) {
        log_info("volume '%s' is free now", entry.volume);
    }
    return r;
}

static int slot_bring_up(struct mounts *mounts, struct slot *slot, int64_t deadline,
                         struct error *err)
{
    struct ledger_entry entry = slot->entry;
    int r = attach_up(&mounts->attach, &entry, deadline, err);
    enum slot_state failed = entry.device[0] != '\0' ? SLOT_LINGERING : SLOT_IDLE;

    slot_update(mounts, slot, &entry, r < 0 ? failed : SLOT_MOUNTED);
    return r;
}

/* Of a mounted slot: is all of it still there? -ENOENT when somebody unmounted it behind our back;
 * -ENODEV when its blockd is gone for good; -ESHUTDOWN with err when it was fenced. A blockd that
 * does not answer at once is not held against it: I/O waits for the cluster, as a disk's would. */
static int check_mounted(struct mounts *mounts, const struct slot *slot, int64_t deadline,
                         struct error *err)
{
    struct blockd_reply reply;
    struct error ignored = {0};
    char target[PATH_MAX];
    dev_t device;
    int r;

    attach_target(&mounts->attach, slot->entry.volume, target);
    if (filesystem_mounted(target, &device) < 0)
        return -ENOENT;
    deadline = deadline_earlier(deadline, deadline_in_ms(HEALTH_MS));
    r = attach_call(&mounts->attach, slot->entry.image_id, BLOCKD_STATUS, deadline, &reply,
                    &ignored);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return -ENODEV;
    if (r == 0 && reply.state == BLOCKD_FENCED)
        return error_set(err, -ESHUTDOWN,
                         "volume '%s' was taken over by another host; stop the containers that "
                         "use it here first",
                         slot->entry.volume);
    return 0;
}

/* Put a dead mount away, so that a new one can be made. */
static int clear_dead(struct mounts *mounts, struct slot *slot, int64_t deadline, struct error *err)
{
    struct ledger_entry entry = slot->entry;
    int r = attach_down(&mounts->attach, &entry, deadline, err);

    log_warning("volume '%s': its data path is gone; making a new one", entry.volume);
    slot_update(mounts, slot, &entry, SLOT_MOUNTED);
    if (r < 0)
        error_wrap(err, "volume '%s' lost its data path and cannot be mounted anew", entry.volume);
    return r;
}

static int add_use(struct mounts *mounts, struct slot *slot, const char *id, struct error *err)
{
    int r;

    pthread_mutex_lock(&mounts->lock);
    r = ledger_mount(&slot->entry, id, mounts->epoch, err);
    pthread_mutex_unlock(&mounts->lock);
    if (r < 0)
        return r;
    r = ledger_save(mounts->attach.settings->run_dir, &slot->entry, err);
    if (r < 0) {
        WITH_LOCK(&mounts->lock);

        ledger_unmount(&slot->entry, id);
    }
    return r;
}

static int mount_owned(struct mounts *mounts, struct slot *slot, const char *id, int64_t deadline,
                       struct error *err)
{
    struct error ignored = {0};
    int r = slot->state == SLOT_MOUNTED ? check_mounted(mounts, slot, deadline, err) : -ENOENT;

    if (r == -ENODEV) {
        r = clear_dead(mounts, slot, deadline, err);
        if (r == 0)
            r = -ENOENT;
    }
    if (r == -ENOENT)
        r = slot_bring_up(mounts, slot, deadline, err);
    if (r < 0)
        return r;
    r = add_use(mounts, slot, id, err);
    if (r < 0 && slot->entry.ref_count == 0)
        slot_take_down(mounts, slot, 0, deadline, &ignored);
    return r;
}

int mounts_mount(struct mounts *mounts, const char *volume, const char *id, int64_t deadline,
                 char ret_target[PATH_MAX], struct error *err)
{
    struct slot *slot;
    int r = slot_take(mounts, volume, deadline, &slot, err);

    if (r < 0)
        return r;
    r = mount_owned(mounts, slot, id, deadline, err);
    slot_give(mounts, slot);
    attach_target(&mounts->attach, volume, ret_target);
    return r;
}

static void unmount_owned(struct mounts *mounts, struct slot *slot, const char *id,
                          int64_t deadline)
{
    struct error err = {0};
    int r;

    pthread_mutex_lock(&mounts->lock);
    r = ledger_unmount(&slot->entry, id);
    pthread_mutex_unlock(&mounts->lock);
    if (r < 0) {
        log_warning("unmount of volume '%s': mount ID '%.64s' is not known here; nothing to do",
                    slot->entry.volume, id);
        return;
    }
    if (slot->entry.ref_count == 0)
        slot_take_down(mounts, slot, UNMOUNT_PATIENCE_MS, deadline, &err);
    else if (ledger_save(mounts->attach.settings->run_dir, &slot->entry, &err) < 0)
        log_error("volume '%s': %s", slot->entry.volume, err.text);
}

int mounts_unmount(struct mounts *mounts, const char *volume, const char *id, int64_t deadline,
                   struct error *err)
{
    struct slot *slot;
    int r = slot_take(mounts, volume, deadline, &slot, err);

    if (r < 0)
        return r;
    unmount_owned(mounts, slot, id, deadline);
    slot_give(mounts, slot);
    return 0;
}

int mounts_hold(struct mounts *mounts, const char *volume, int64_t deadline, struct slot **ret,
                struct error *err)
{
    return slot_take(mounts, volume, deadline, ret, err);
}

int mounts_check_unused(struct mounts *mounts, struct slot *slot, int64_t deadline,
                        struct error *err)
{
    size_t uses;
    int r;

    if (slot->state == SLOT_IDLE)
        return 0;
    pthread_mutex_lock(&mounts->lock);
    uses = ledger_count_epoch(&slot->entry, mounts->epoch);
    if (uses == 0)
        slot->entry.ref_count = 0; /* of a dockerd that ended without unmounting */
    pthread_mutex_unlock(&mounts->lock);
    if (uses > 0)
        return error_set(err, -EBUSY,
                         "volume '%s' is in use on this host by %zu mount%s; stop its containers "
                         "first",
                         slot->entry.volume, uses, uses == 1 ? "" : "s");
    r = slot_take_down(mounts, slot, REMOVE_PATIENCE_MS, deadline, err);
    if (r < 0)
        return error_set(err, -EBUSY,
                         "volume '%s' is still used by a process or a container of this host; end "
                         "it first (\"lsof\", \"findmnt -N\")",
                         slot->entry.volume);
    return 0;
}

void mounts_forget(struct mounts *mounts, struct slot *slot)
{
    struct error err = {0};

    if (slot->entry.token[0] != '\0' &&
        ledger_remove(mounts->attach.settings->run_dir, slot->entry.volume, &err) < 0)
        log_warning("%s", err.text);
    pthread_mutex_lock(&mounts->lock);
    slot->entry.token[0] = '\0';
    pthread_mutex_unlock(&mounts->lock);
}

void mounts_let_go(struct mounts *mounts, struct slot *slot)
{
    slot_give(mounts, slot);
}

void mounts_new_epoch(struct mounts *mounts)
{
    struct error err = {0};
    uint64_t epoch;

    pthread_mutex_lock(&mounts->lock);
    epoch = ++mounts->epoch;
    pthread_mutex_unlock(&mounts->lock);
    if (ledger_epoch_save(mounts->attach.settings->run_dir, epoch, &err) < 0)
        log_error("%s", err.text);
}

void mounts_look(struct mounts *mounts, const char *volume, struct mounts_view *ret)
{
    WITH_LOCK(&mounts->lock);
    const struct slot *slot = slot_find(mounts, volume);

    *ret = (struct mounts_view){0};
    if (!slot || slot->state == SLOT_IDLE)
        return;
    ret->mounted = slot->state == SLOT_MOUNTED;
    ret->lingering = slot->state == SLOT_LINGERING;
    if (ret->mounted)
        attach_target(&mounts->attach, volume, ret->target);
    strcpy(ret->image_id, slot->entry.image_id);
    strcpy(ret->device, slot->entry.device);
    ret->ids = calloc(slot->entry.ref_count + 1, sizeof(*ret->ids));
    for (size_t i = 0; ret->ids && i < slot->entry.ref_count; i++)
        strcpy(ret->ids[ret->id_count++], slot->entry.refs[i].id);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

char (*mounts_names(struct mounts *mounts, size_t *ret_count))[VOLUME_NAME_MAX]
{
    char(*names)[VOLUME_NAME_MAX] = NULL;
    struct slot *slot;
    size_t count = 0;
    WITH_LOCK(&mounts->lock);

    *ret_count = 0;
    LIST_FOREACH(slot, &mounts->slots, next)
    count += slot->state == SLOT_MOUNTED;
    if (count > 0)
        names = calloc(count, sizeof(*names));
    if (!names)
        return NULL;
    LIST_FOREACH(slot, &mounts->slots, next)
    {
        if (slot->state == SLOT_MOUNTED)
            strcpy(names[(*ret_count)++], slot->entry.volume);
    }
    qsort(names, *ret_count, sizeof(*names), compare_names);
    return names;
}

int mounts_open(const struct attach *attach, struct mounts **ret, struct error *err)
{
    struct mounts *mounts = calloc(1, sizeof(*mounts));
    int r;

    if (!mounts)
        return error_errno(err, -ENOMEM, "cannot make the table of mounts");
    mounts->attach = *attach;
    pthread_mutex_init(&mounts->lock, NULL);
    init_cond(&mounts->changed);
    LIST_INIT(&mounts->slots);
    mounts->retries = workers_new("retry", RETRIES_MAX);
    r = mounts->retries ? mounts_rebuild(mounts, err)
                        : error_errno(err, -ENOMEM, "cannot make the table of mounts");
    if (r < 0)
        return r; /* the process ends */
    r = -pthread_create(&mounts->janitor, NULL, mounts_janitor_main, mounts);
    if (r < 0)
        return error_errno(err, r, "cannot start the thread that frees volumes");
    *ret = mounts;
    return 0;
}
