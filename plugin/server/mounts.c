/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "plugin/server/slots.h"
#include "volume/filesystem.h"

#define HEALTH_MS           2000 /* to ask a running blockd whether it was fenced */
#define UNMOUNT_PATIENCE_MS 300  /* with those who still use it; then it lingers */
#define REMOVE_PATIENCE_MS  3000
#define RETRIES_MAX         8

/* Of a slot that is not idle: is all of it still there? -ENOENT when it has to be mounted first: it
 * was lingering, or somebody unmounted it behind our back; -ENODEV when its blockd is gone for
 * good; -ESHUTDOWN with err when it was fenced. A blockd that does not answer at once is not held
 * against it: I/O waits for the cluster, as a disk's would. */
static int check_held(struct mounts *mounts, const struct slot *slot, int64_t deadline,
                      struct error *err)
{
    struct blockd_reply reply;
    char target[PATH_MAX];
    bool mounted;
    dev_t device;
    int r;

    attach_target(&mounts->attach, slot->entry.volume, target);
    mounted = filesystem_mounted(target, &device) == 0;
    if (slot->entry.device[0] == '\0')
        return mounted ? -ENODEV : -ENOENT; /* nobody knows what it is a mount of */
    r = attach_status(&mounts->attach, slot->entry.image_id,
                      deadline_earlier(deadline, deadline_in_ms(HEALTH_MS)), &reply, NULL);
    if (r == -ENODEV)
        return r;
    if (r == 0 && reply.state == BLOCKD_FENCED)
        return error_set(err, -ESHUTDOWN,
                         "volume '%s' was taken over by another host; stop the containers that "
                         "use it here first",
                         slot->entry.volume);
    return mounted && slot->state == SLOT_MOUNTED ? 0 : -ENOENT;
}

/* Put away what a dead blockd has left, so that a new mount can be made. */
static int clear_dead(struct mounts *mounts, struct slot *slot, int64_t deadline, struct error *err)
{
    struct ledger_entry entry = slot->entry;
    int r = attach_down(&mounts->attach, &entry, deadline, err);

    log_warning("volume '%s': its data path is gone; making a new one", entry.volume);
    slot_update(mounts, slot, &entry, slot->state);
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
    int r = slot->state == SLOT_IDLE ? -ENOENT : check_held(mounts, slot, deadline, err);

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

int mounts_hold(struct mounts *mounts, const char *volume, const char *doing, int64_t deadline,
                struct slot **ret, struct error *err)
{
    int r = slot_take(mounts, volume, deadline, ret, err);

    if (r < 0)
        return r;
    WITH_LOCK(&mounts->lock);
    (*ret)->doing = doing;
    return 0;
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

static bool is_listed(const char *volume, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], volume) == 0)
            return true;
    }
    return false;
}

/* A slot that is kept for its token only, of a volume that is not among NAMES: the caller's own
 * then, or NULL. */
static struct slot *take_gone(struct mounts *mounts, const char *const names[], size_t count)
{
    struct slot *slot = NULL;
    WITH_LOCK(&mounts->lock);

    LIST_FOREACH(slot, &mounts->slots, next)
    {
        if (slot->state != SLOT_IDLE || slot->users > 0 || slot->retrying ||
            slot->entry.token[0] == '\0' || is_listed(slot->entry.volume, names, count))
            continue;
        slot->users++;
        slot->busy = true;
        return slot;
    }
    return NULL;
}

void mounts_forget_gone(struct mounts *mounts, const char *const names[], size_t count)
{
    struct slot *slot;

    while ((slot = take_gone(mounts, names, count))) {
        mounts_forget(mounts, slot);
        slot_give(mounts, slot);
    }
}

int mounts_grow(struct mounts *mounts, struct slot *slot, uint64_t *ret_size, struct error *err)
{
    *ret_size = 0;
    return slot->state == SLOT_MOUNTED ? slot_grow(mounts, slot, ret_size, err) : 0;
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
    snprintf(ret->image_id, sizeof(ret->image_id), "%s", slot->entry.image_id);
    snprintf(ret->device, sizeof(ret->device), "%s", slot->entry.device);
    ret->ids = calloc(slot->entry.ref_count + 1, sizeof(*ret->ids));
    for (size_t i = 0; ret->ids && i < slot->entry.ref_count; i++)
        memcpy(ret->ids[ret->id_count++], slot->entry.refs[i].id, LEDGER_ID_MAX);
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
            memcpy(names[(*ret_count)++], slot->entry.volume, VOLUME_NAME_MAX);
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
    clock_init_cond(&mounts->changed);
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
