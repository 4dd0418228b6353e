/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <sys/queue.h>

#include "plugin/server/mounts.h"
#include "plugin/server/workers.h"

/* The table behind mounts.h: its rows, who may change them, and how one is attached and given back.
 * mounts.c is what dockerd asks for, mounts_recover.c what is done unasked. */

enum slot_state { SLOT_IDLE, SLOT_MOUNTED, SLOT_LINGERING };

/* `busy` makes one call the slot's owner. The owner reads `state` and `entry` freely and changes
 * them under mounts->lock; others read them under that lock. */
struct slot {
    struct ledger_entry entry;
    enum slot_state state;
    bool busy;
    const char *doing;   /* with what: a constant; NULL: mounting and the like */
    bool retrying;       /* a thread is going to look after it; keeps the slot */
    uint64_t grown_to;   /* the device's size when the file system last followed it; 0: not yet */
    unsigned users;      /* calls that own it or wait for it */
    pthread_cond_t free; /* not busy any more */
    LIST_ENTRY(slot) next;
};

struct mounts {
    struct attach attach;
    struct workers *retries;
    pthread_t janitor;
    pthread_mutex_t lock; /* all below and the slots; a leaf, never held over a blocking call */
    pthread_cond_t changed;
    LIST_HEAD(slot_list, slot) slots;
    uint64_t epoch;
    bool stopping;

    /* Blockds without a ledger entry, found at the start; the janitor's. */
    char (*orphans)[SUPERVISOR_ID_MAX];
    size_t orphan_count;
};

/* The slot of VOLUME, made when there is none, with the caller as its owner. -ETIMEDOUT or -ENOMEM
 * with err. */
int slot_take(struct mounts *mounts, const char *volume, int64_t deadline, struct slot **ret,
              struct error *err);
void slot_give(struct mounts *mounts, struct slot *slot);

/* NULL when there is none. Called with the lock held. */
struct slot *slot_find(struct mounts *mounts, const char *volume);

/* A new slot for ENTRY, which is taken over, in STATE. Called with the lock held or before there
 * are threads. NULL when out of memory. */
struct slot *slot_add(struct mounts *mounts, struct ledger_entry *entry, enum slot_state state);

/* Of an owned slot without uses: give everything back. What is still used after PATIENCE_MS leaves
 * it lingering. */
int slot_take_down(struct mounts *mounts, struct slot *slot, int patience_ms, int64_t deadline,
                   struct error *err);

/* Attach and mount the volume of an owned slot, which is then mounted. */
int slot_bring_up(struct mounts *mounts, struct slot *slot, int64_t deadline, struct error *err);

/* The size of a slot's device has changed, or was not looked at since it was mounted. Does not
 * block; called with the lock held. */
bool slot_wants_growth(const struct slot *slot);

/* Make the file system of an owned, mounted slot as large as its device; see filesystem_grow. What
 * fails is logged, and tried again when the device changes once more or with the next mount. */
int slot_grow(struct mounts *mounts, struct slot *slot, uint64_t *ret_size, struct error *err);

/* Take over what attach_up and attach_down changed in a copy of the entry. */
void slot_update(struct mounts *mounts, struct slot *slot, const struct ledger_entry *entry,
                 enum slot_state state);

/* Slots from the ledger files and from what is mounted and running. */
int mounts_rebuild(struct mounts *mounts, struct error *err);

/* Retries what lingers, and has file systems follow the size of their devices, each second. */
void *mounts_janitor_main(void *mounts);
