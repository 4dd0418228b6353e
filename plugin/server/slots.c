/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "volume/filesystem.h"

struct slot *slot_find(struct mounts *mounts, const char *volume)
{
    struct slot *slot = NULL;

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
    clock_init_cond(&slot->free);
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
            const char *doing = slot->doing;

            slot_put(slot);
            if (doing)
                return error_set(err, -EBUSY, "volume '%s' is busy: %s; try again later", volume,
                                 doing);
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
    slot->doing = NULL;
    pthread_cond_signal(&slot->free);
    slot_put(slot);
}

void slot_update(struct mounts *mounts, struct slot *slot, const struct ledger_entry *entry,
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
    LOG_VOLUME(entry.volume);
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

int slot_bring_up(struct mounts *mounts, struct slot *slot, int64_t deadline, struct error *err)
{
    struct ledger_entry entry = slot->entry;
    int r = attach_up(&mounts->attach, &entry, deadline, err);
    enum slot_state failed = entry.device[0] != '\0' ? SLOT_LINGERING : SLOT_IDLE;

    slot->grown_to = 0;
    slot_update(mounts, slot, &entry, r < 0 ? failed : SLOT_MOUNTED);
    return r;
}

/* 0: there is no such device. */
static uint64_t device_size(const char *device)
{
    const char *slash = strrchr(device, '/');
    cleanup_free char *text = NULL;
    char path[PATH_MAX];
    size_t len;

    if (!slash)
        return 0;
    snprintf(path, sizeof(path), "/sys/class/block/%s/size", slash + 1);
    if (file_read(path, 64, &text, &len, NULL) < 0)
        return 0;
    return strtoull(text, NULL, 10) * 512; /* in sectors of that size, whatever the device's */
}

bool slot_wants_growth(const struct slot *slot)
{
    return slot->state == SLOT_MOUNTED && device_size(slot->entry.device) != slot->grown_to;
}

int slot_grow(struct mounts *mounts, struct slot *slot, uint64_t *ret_size, struct error *err)
{
    const char *device = slot->entry.device;
    uint64_t size = device_size(device);
    char target[PATH_MAX];
    uint64_t before;
    LOG_VOLUME(slot->entry.volume);
    int r;

    attach_target(&mounts->attach, slot->entry.volume, target);
    r = filesystem_grow(device, target, &before, ret_size, err);
    if (r < 0)
        log_error("volume '%s': %s", slot->entry.volume, err->text);
    else if (*ret_size > before)
        log_info("volume '%s': its file system has grown from %llu to %llu bytes",
                 slot->entry.volume, (unsigned long long)before, (unsigned long long)*ret_size);
    WITH_LOCK(&mounts->lock);
    slot->grown_to = size;
    return r;
}
