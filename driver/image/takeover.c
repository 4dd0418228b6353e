/* SPDX-License-Identifier: Apache-2.0 */
#include "image/takeover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "image/names.h"
#include "image/ownership.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* A living watcher answers in milliseconds. The cluster counts in whole seconds. */
#define LOOK_MS 1000

#define COOKIE_PREFIX "auto "

/* The watch handle that a lock's cookie names. */
static int cookie_handle(const char *cookie, uint64_t *ret)
{
    char rest;

    if (strncmp(cookie, COOKIE_PREFIX, strlen(COOKIE_PREFIX)) != 0)
        return -EINVAL;
    return sscanf(cookie + strlen(COOKIE_PREFIX), "%" SCNu64 "%c", ret, &rest) == 1 ? 0 : -EINVAL;
}

static bool among(const struct notify_peer *peers, size_t count, uint64_t client_id,
                  uint64_t handle)
{
    for (size_t i = 0; i < count; i++) {
        if (peers[i].client_id == client_id && peers[i].handle == handle)
            return true;
    }
    return false;
}

const char *holder_life_word(enum holder_life life)
{
    static const char *const words[] = {
        [HOLDER_ALIVE] = "alive",
        [HOLDER_SILENT] = "silent",
        [HOLDER_DEAD] = "dead",
        [HOLDER_FOREIGN] = "foreign",
    };

    return words[life];
}

int takeover_look(struct cluster *cluster, const char *id, const struct lock_info *lock,
                  int64_t deadline, enum holder_life *ret, struct error *err)
{
    cleanup_encoder struct encoder payload = {0};
    cleanup_encoder struct encoder bytes = {0};
    struct notify_answer answer = {0};
    char object[OBJECT_NAME_MAX];
    uint64_t handle;
    uint64_t client = lock->holder.client_id;
    int r;

    if (lock->type != LOCK_EXCLUSIVE || strcmp(lock->tag, RBD_LOCK_TAG) != 0 ||
        cookie_handle(lock->holder.cookie, &handle) < 0) {
        *ret = HOLDER_FOREIGN;
        return 0;
    }
    name_header(object, id);
    notify_encode_header_update(&payload);
    r = op_notify(cluster_io(cluster), object, &payload, LOOK_MS, &bytes, deadline);
    if (bytes.len > 0)
        r = notify_decode_answer(decoder_of(bytes.data, bytes.len), &answer);
    if (r < 0)
        return cluster_explain(
            cluster,
            error_errno(err, r, "cannot find out whether client %" PRIu64 " is alive", client),
            err);
    if (among(answer.acks, answer.ack_count, client, handle))
        *ret = HOLDER_ALIVE;
    else if (among(answer.timeouts, answer.timeout_count, client, handle))
        *ret = HOLDER_SILENT;
    else
        *ret = HOLDER_DEAD;
    notify_answer_free(&answer);
    return 0;
}

bool takeover_is_predecessor(const struct cluster *cluster, const struct lock_holder *holder,
                             const char *token)
{
    const char *theirs = strstr(holder->description, TAKEOVER_TOKEN);

    return theirs && token[0] != '\0' && holder->client_id != cluster_client_id(cluster) &&
           strcmp(theirs + strlen(TAKEOVER_TOKEN), token) == 0;
}

int takeover_fence(struct cluster *cluster, const char *id, const char *lock,
                   const struct lock_holder *holder, int64_t deadline, struct error *err)
{
    cleanup_encoder struct encoder in = {0};
    char address[LOCK_ADDRESS_MAX];
    char object[OBJECT_NAME_MAX];
    int r;

    if (holder->address[0] == '\0')
        return error_set(err, -EINVAL,
                         "the lock of client %" PRIu64 " carries no address, so its holder cannot "
                         "be fenced: find and stop it, then break the lock with 'rbd lock rm'",
                         holder->client_id);
    snprintf(address, sizeof(address), "%s", holder->address);
    r = rados_blocklist_add(cluster_rados(cluster), address, FENCE_LIFE_S);
    if (r < 0)
        return cluster_explain(cluster,
                               error_errno(err, r, "cannot blocklist client %" PRIu64 " at %s",
                                           holder->client_id, address),
                               err);
    r = rados_wait_for_latest_osdmap(cluster_rados(cluster));
    if (r < 0)
        return error_errno(err, r, "cannot wait for the OSD map that blocklists %s", address);
    name_header(object, id);
    lock_encode_break(&in, lock, holder->client_id, holder->cookie);
    r = op_call_write(cluster_io(cluster), object, "lock", "break_lock", &in, deadline);
    if (r < 0 && r != -ENOENT)
        return error_errno(err, r, "cannot break the lock of client %" PRIu64, holder->client_id);
    return 0;
}

/* The records are sorted by time, as their keys are. What cannot be removed now goes the next time.
 */
static void drop_oldest_records(struct cluster *cluster, const char *id, int64_t deadline)
{
    cleanup_image_header struct image_header header = {0};
    const char *keys[TAKEOVER_RECORDS_MAX];
    size_t count = 0;

    if (image_read_header(cluster, id, deadline, &header, NULL) < 0)
        return;
    for (size_t i = 0; i < header.metadata.count; i++) {
        const char *key = header.metadata.items[i].key;
        const char **place = &keys[count % TAKEOVER_RECORDS_MAX];

        if (strncmp(key, TAKEOVER_KEY, strlen(TAKEOVER_KEY)) != 0)
            continue;
        if (count++ >= TAKEOVER_RECORDS_MAX)
            image_set_metadata(cluster, id, *place, NULL, deadline, NULL);
        *place = key;
    }
}

int takeover_record(struct cluster *cluster, const char *id, const struct lock_info *lock,
                    const char *new_host, const char *why, int64_t deadline, struct error *err)
{
    char key[sizeof(TAKEOVER_KEY) + 48];
    char when[32];
    char value[1024];
    char from[512];
    struct timespec now;
    struct tm tm;
    int r;

    clock_gettime(CLOCK_REALTIME, &now);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &tm));
    snprintf(key, sizeof(key), TAKEOVER_KEY "%s.%09ldZ", when, now.tv_nsec);
    ownership_describe(lock, from, sizeof(from));
    snprintf(value, sizeof(value), "%s took over from %s: %s", new_host, from, why);
    r = image_set_metadata(cluster, id, key, value, deadline, err);
    if (r == 0)
        drop_oldest_records(cluster, id, deadline);
    return r;
}

int takeover_refuse(const struct lock_info *lock, enum holder_life life, struct error *err)
{
    static const char *const next_step[] = {
        [HOLDER_ALIVE] = "it is alive: stop its container there, or 'radosvol takeover' the volume "
                         "if that host is cut off from its users",
        [HOLDER_SILENT] = "it does not answer, and the cluster has not given it up yet: try again "
                          "in a moment",
        [HOLDER_DEAD] = "it is gone, but others were faster to take over",
        [HOLDER_FOREIGN] = "that lock was made by hand or by another program: see 'rbd lock ls', "
                           "and remove it with 'rbd lock rm' once its purpose is served",
    };
    char holder[512];

    ownership_describe(lock, holder, sizeof(holder));
    return error_set(err, -EBUSY, "it is in use by %s; %s", holder, next_step[life]);
}

int takeover_displace(struct cluster *cluster, const char *id, const char *host, const char *token,
                      int64_t deadline, struct lock_info *ret_lock, enum holder_life *ret_life,
                      struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(cluster, id, deadline, &header, err);
    struct lock_info *lock = &header.lock;

    if (r < 0)
        return r;
    *ret_lock = *lock;
    *ret_life = HOLDER_DEAD;
    if (lock->count == 0)
        return 0;
    if (takeover_is_predecessor(cluster, &lock->holder, token)) /* nothing to wait for */
        return takeover_fence(cluster, id, RBD_LOCK_NAME, &lock->holder, deadline, err);
    r = takeover_look(cluster, id, lock, deadline, ret_life, err);
    if (r < 0 || *ret_life == HOLDER_SILENT)
        return r;
    if (*ret_life != HOLDER_DEAD)
        return takeover_refuse(lock, *ret_life, err);
    /* The look took time: break the lock only of the one that was looked for. break_lock names the
     * holder, so if another client has locked since, nothing is broken. */
    r = takeover_fence(cluster, id, RBD_LOCK_NAME, &lock->holder, deadline, err);
    if (r == 0)
        r = takeover_record(cluster, id, lock, host, "it no longer watched its image", deadline,
                            err);
    return r;
}
