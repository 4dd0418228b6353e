/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/attach.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "image/ownership.h"
#include "plugin/blockd_args.h"
#include "volume/filesystem.h"
#include "volume/volume.h"

#define UNDO_MS        5000 /* to give a device back after a failure, beyond the deadline */
#define RECORD_USED_MS 2000
#define ATTACH_TRIES   3 /* of blockds that die before there is a device */

void attach_target(const struct attach *attach, const char *volume, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s/mounts/%s", attach->settings->lib_dir, volume);
}

int attach_call(const struct attach *attach, const char *image_id, enum blockd_op op,
                int64_t deadline, struct blockd_reply *ret, struct error *err)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/blockd/%s.sock", attach->settings->run_dir, image_id);
    return blockd_call(path, op, deadline, ret, err);
}

int attach_status(const struct attach *attach, const char *image_id, int64_t deadline,
                  struct blockd_reply *ret, struct error *err)
{
    const struct timespec moment = {.tv_nsec = 10 * NS_PER_MS};
    int r;

    *ret = (struct blockd_reply){0};
    while ((r = attach_call(attach, image_id, BLOCKD_STATUS, deadline, ret, err)) == -ECONNRESET &&
           deadline_left_ms(deadline) > 0)
        nanosleep(&moment, NULL);
    if ((r == -ENOENT || r == -ECONNREFUSED) && ret->version == 0) /* not its own answer */
        return error_set(err, -ENODEV, "the volume's process has ended");
    return r;
}

/* Facts and logical block size, from the cluster. */
static int read_facts(const struct attach *attach, const char *volume, int64_t deadline,
                      struct volume_facts *ret, uint32_t *ret_block, struct error *err)
{
    struct cluster *cluster;
    int r = cluster_link_get(attach->link, deadline, &cluster, err);

    if (r < 0)
        return r == -ENOENT ? -EIO : r; /* here it would mean: no such volume */
    r = volume_read(cluster, volume, deadline, ret, err);
    if (r == -ENOENT)
        error_set(err, r, "no such volume: '%s'", volume);
    if (r == 0)
        r = volume_logical_block(cluster, ret, deadline, ret_block, err);
    cluster_link_put(attach->link, cluster, r);
    return r;
}

/* May this host attach the volume, as far as can be said without asking its holder? (That is the
 * blockd's business.) A lock that carries our token was left by a blockd of ours that was killed;
 * the next one takes it over at once. Otherwise the token is made new. */
static int check_free(const struct volume_facts *facts, char token[LEDGER_TOKEN_MAX],
                      struct error *err)
{
    bool ours = token[0] != '\0' && strstr(facts->lock.holder.description, token);

    if (facts->unwritable[0] != '\0' && !facts->read_only)
        return error_set(err, -EOPNOTSUPP, "volume '%s' cannot be mounted for writing: %s",
                         facts->name, facts->unwritable);
    return ours ? 0 : ledger_make_token(token, err);
}

static int start_blockd(const struct attach *attach, const struct volume_facts *facts,
                        const char *token, uint32_t block_bytes, int64_t deadline,
                        struct error *err)
{
    struct blockd_args args;

    blockd_args_make(attach->settings, facts, token, block_bytes, false, &args);
    return supervisor_start(attach->supervisor, facts->id, args.list, deadline, err);
}

/* Give the device back after a failure. */
static void undo_device(const struct attach *attach, struct ledger_entry *entry)
{
    int64_t deadline = deadline_in_ms(UNDO_MS);
    struct error err = {0};

    if (attach_down(attach, entry, deadline, &err) < 0)
        log_warning("volume '%s': %s; trying again in the background", entry->volume, err.text);
}

/* The device cannot be made; the blockd has no use any more. Its token stays known, should it have
 * left a lock behind. */
static void kill_blockd(const struct attach *attach, struct ledger_entry *entry)
{
    struct error err = {0};

    entry->device[0] = '\0';
    if (supervisor_kill(attach->supervisor, entry->image_id, deadline_in_ms(UNDO_MS), &err) < 0 ||
        ledger_save(attach->settings->run_dir, entry, &err) < 0)
        log_warning("volume '%s': %s", entry->volume, err.text);
}

/* Start a blockd. One that runs already for this image was detached a moment ago and is about to
 * end, or the ledger knew nothing of it: it is asked to go. */
static int start_or_replace(const struct attach *attach, const struct volume_facts *facts,
                            const char *token, uint32_t block_bytes, int64_t deadline,
                            struct error *err)
{
    const struct timespec moment = {.tv_nsec = 5 * NS_PER_MS};

    for (;;) {
        int r = start_blockd(attach, facts, token, block_bytes, deadline, err);
        struct blockd_reply reply;

        if ((r != -EEXIST && r != -EBUSY) || deadline_left_ms(deadline) == 0)
            return r;
        if (r == -EEXIST) {
            r = attach_call(attach, facts->id, BLOCKD_DETACH, deadline, &reply, err);
            if (r == -EBUSY || r == -ETIMEDOUT)
                return r;
        }
        nanosleep(&moment, NULL);
    }
}

static int make_device(const struct attach *attach, struct ledger_entry *entry,
                       const struct volume_facts *facts, uint32_t block_bytes, int64_t deadline,
                       struct blockd_reply *ret, struct error *err)
{
    unsigned tries = ATTACH_TRIES;
    bool started = false;
    struct error ignored;
    int r = check_free(facts, entry->token, err);

    if (r < 0)
        return r;
    snprintf(entry->image_id, sizeof(entry->image_id), "%s", facts->id);
    r = ledger_save(attach->settings->run_dir, entry, err);
    if (r < 0)
        return r;
    do {
        r = start_or_replace(attach, facts, entry->token, block_bytes, deadline, err);
        if (r < 0)
            break;
        started = true;
        r = attach_status(attach, entry->image_id, deadline, ret, err);
    } while (r == -ENODEV && --tries > 0);
    if (r < 0 && !started && r != -ETIMEDOUT && facts->lock.count == 0) {
        /* None was started. */
        entry->token[0] = '\0';
        ledger_remove(attach->settings->run_dir, entry->volume, &ignored);
        return r;
    }
    if (r < 0) {
        error_wrap(err, "volume '%s' cannot be attached", entry->volume);
        kill_blockd(attach, entry);
    }
    return r;
}

/* A snapshot of a mounted volume is frozen, so that all is in its place; others may not be. */
static void warn_of_journal(const struct ledger_entry *entry, const struct volume_facts *facts)
{
    if (filesystem_wants_recovery(entry->device, NULL) == 1)
        log_warning("volume '%s': '%s' was not frozen when it was taken, and with access=ro its "
                    "journal is not replayed: changes of its last seconds may be missing; a clone "
                    "without access=ro shows them",
                    entry->volume, facts->from);
}

static enum filesystem_mode mode_of(const struct volume_facts *facts, bool read_only)
{
    if (facts->read_only)
        return FILESYSTEM_READ_AS_IS;
    return read_only ? FILESYSTEM_READ : FILESYSTEM_WRITE;
}

static int mount_device(const struct attach *attach, const struct ledger_entry *entry,
                        const struct volume_facts *facts, bool read_only, int64_t deadline,
                        struct error *err)
{
    char target[PATH_MAX];
    enum filesystem fs;
    dev_t device;
    int r;

    attach_target(attach, entry->volume, target);
    if (filesystem_mounted(target, &device) == 0)
        return 0;
    r = filesystem_probe(entry->device, &fs, err);
    if (r == -ENODATA)
        return error_set(err, r,
                         "volume '%s' carries no file system; format it with a stock tool "
                         "(\"rbd map\", mkfs) or remove it and create it anew",
                         entry->volume);
    if (r < 0) {
        error_wrap(err, "volume '%s'", entry->volume);
        return r;
    }
    if (facts->read_only)
        warn_of_journal(entry, facts);
    r = filesystem_mount(entry->device, fs, facts->mount_options, mode_of(facts, read_only), target,
                         deadline, err);
    if (r < 0)
        error_wrap(err, "volume '%s' cannot be mounted", entry->volume);
    return r;
}

int attach_up(const struct attach *attach, struct ledger_entry *entry, int64_t deadline,
              struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    struct blockd_reply reply = {0};
    uint32_t block_bytes = 0;
    int r = read_facts(attach, entry->volume, deadline, &facts, &block_bytes, err);

    if (r < 0)
        return r;
    /* The name may lead to another image than when the blockd was started. */
    if (entry->device[0] != '\0' && strcmp(facts.id, entry->image_id) != 0)
        return error_set(err, -EBUSY,
                         "volume '%s' was replaced by another image of this name while the old one "
                         "is still in use on this host; stop the containers that use it",
                         entry->volume);
    if (entry->device[0] == '\0')
        r = make_device(attach, entry, &facts, block_bytes, deadline, &reply, err);
    else
        r = attach_call(attach, entry->image_id, BLOCKD_STATUS, deadline, &reply, err);
    if (r == 0 && reply.state == BLOCKD_FENCED)
        r = error_set(err, -ESHUTDOWN,
                      "volume '%s' was taken over by another host; stop the containers that use "
                      "it here",
                      entry->volume);
    if (r < 0)
        return r;
    snprintf(entry->device, sizeof(entry->device), "%s", reply.device);
    r = mount_device(attach, entry, &facts, reply.read_only, deadline, err);
    if (r == 0)
        r = ledger_save(attach->settings->run_dir, entry, err);
    if (r < 0)
        undo_device(attach, entry);
    return r;
}

/* For Status while the volume is not mounted; not worth waiting for. */
static void record_used(const struct attach *attach, const char *image_id, uint64_t used,
                        int64_t deadline)
{
    struct cluster *cluster;
    struct error err = {0};
    char text[ERROR_TEXT_MAX];
    int r;

    deadline = deadline_earlier(deadline, deadline_in_ms(RECORD_USED_MS));
    if (cluster_link_is_away(attach->link, text, sizeof(text)) ||
        cluster_link_get(attach->link, deadline, &cluster, &err) < 0)
        return;
    r = volume_record_used(cluster, image_id, used, deadline, &err);
    cluster_link_put(attach->link, cluster, r);
    if (r < 0)
        log_debug("%s", err.text);
}

static int detach_device(const struct attach *attach, struct ledger_entry *entry, int64_t deadline,
                         struct error *err)
{
    struct blockd_reply reply;
    int r = attach_call(attach, entry->image_id, BLOCKD_DETACH, deadline, &reply, err);

    if (r == -ENOENT || r == -ECONNREFUSED) {
        kill_blockd(attach, entry); /* nothing there; the supervisor may keep its descriptors */
        return 0;
    }
    if (r < 0)
        return r;
    entry->device[0] = entry->token[0] = '\0';
    return ledger_remove(attach->settings->run_dir, entry->volume, err);
}

int attach_down(const struct attach *attach, struct ledger_entry *entry, int64_t deadline,
                struct error *err)
{
    char target[PATH_MAX];
    uint64_t used = 0;
    uint64_t size;
    bool known = false;
    dev_t device;
    int r;

    attach_target(attach, entry->volume, target);
    if (filesystem_mounted(target, &device) == 0) {
        known = filesystem_usage(target, &used, &size) == 0;
        r = filesystem_unmount(target, err);
        if (r < 0)
            return r;
    }
    if (known && entry->image_id[0] != '\0')
        record_used(attach, entry->image_id, used, deadline);
    return entry->device[0] == '\0' ? 0 : detach_device(attach, entry, deadline, err);
}
