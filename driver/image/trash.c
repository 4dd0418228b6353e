/* SPDX-License-Identifier: Apache-2.0 */
#include "image/trash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/lifecycle.h"
#include "image/names.h"
#include "image/ownership.h"
#include "image/takeover.h"
#include "rados/op.h"

/* Entries asked for at a time, and at most. */
#define LIST_STEP   1024
#define ENTRIES_MAX (1 << 20)

/* Longer than any call works (LIFECYCLE_CALL_MAX_S), with room for an operation that is late. */
#define WORK_LOCK_S (3 * LIFECYCLE_CALL_MAX_S)

static int add(struct cluster *cluster, const char *id, const struct rbd_trash_spec *spec,
               int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};

    rbd_encode_trash_add(&in, id, spec);
    return op_call_write(cluster_io(cluster), RBD_TRASH, "rbd", "trash_add", &in, deadline);
}

int trash_add(struct cluster *cluster, const char *id, const char *name, enum rbd_trash_state state,
              int64_t deadline)
{
    struct rbd_trash_spec spec = {.source = RBD_TRASH_REMOVING, .state = (uint8_t)state};
    int r;

    snprintf(spec.name, sizeof(spec.name), "%s", name);
    clock_gettime(CLOCK_REALTIME, &spec.deleted);
    spec.deferred_until = spec.deleted;
    r = add(cluster, id, &spec, deadline);
    return r == -EEXIST ? 0 : r;
}

int trash_put(struct cluster *cluster, const char *id, const struct rbd_trash_spec *spec,
              int64_t deadline)
{
    int r = add(cluster, id, spec, deadline);

    if (r != -EEXIST)
        return r;
    r = trash_forget(cluster, id, deadline);
    return r < 0 ? r : add(cluster, id, spec, deadline);
}

int trash_get(struct cluster *cluster, const char *id, int64_t deadline, struct rbd_trash_spec *ret)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    int r;

    rbd_encode_string(&in, id);
    r = op_call(cluster_io(cluster), RBD_TRASH, "rbd", "trash_get", &in, &answer, deadline);
    return r < 0 ? r : rbd_decode_trash_spec(decoder_of(answer.data, answer.len), ret);
}

int trash_set_state(struct cluster *cluster, const char *id, enum rbd_trash_state from,
                    enum rbd_trash_state to, int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};

    rbd_encode_trash_state_set(&in, id, (uint8_t)to, (uint8_t)from);
    return op_call_write(cluster_io(cluster), RBD_TRASH, "rbd", "trash_state_set", &in, deadline);
}

void trash_stamp(const struct rbd_trash_spec *spec, char ret[TRASH_STAMP_MAX])
{
    snprintf(ret, TRASH_STAMP_MAX, "%lld.%09ld", (long long)spec->deleted.tv_sec,
             spec->deleted.tv_nsec);
}

bool trash_has_expired(const struct rbd_trash_spec *spec)
{
    return spec->deferred_until.tv_sec <= time(NULL);
}

bool trash_is_ours(const struct image_header *header, const struct rbd_trash_spec *spec)
{
    const char *value = image_header_metadata(header, TRASH_KEY);
    char stamp[TRASH_STAMP_MAX];

    trash_stamp(spec, stamp);
    return value && strcmp(value, stamp) == 0;
}

const char *trash_restored_name(const struct image_header *header,
                                const struct rbd_trash_spec *spec)
{
    const char *value = image_header_metadata(header, RESTORE_KEY);
    char stamp[TRASH_STAMP_MAX];
    size_t len;

    trash_stamp(spec, stamp);
    len = strlen(stamp);
    return value && strncmp(value, stamp, len) == 0 && value[len] == ' ' ? value + len + 1 : NULL;
}

int trash_forget(struct cluster *cluster, const char *id, int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};
    int r;

    rbd_encode_string(&in, id);
    r = op_call_write(cluster_io(cluster), RBD_TRASH, "rbd", "trash_remove", &in, deadline);
    return r == -ENOENT ? 0 : r;
}

int trash_claim(struct cluster *cluster, const char *name, const char *id, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder set_id = {0};
    char object[OBJECT_NAME_MAX];

    if (!op)
        return -ENOMEM;
    rbd_encode_string(&set_id, id);
    op_create(op, true);
    op_exec(op, "rbd", "set_id", &set_id);
    name_rbd_id(object, name);
    return op_run(op, cluster_io(cluster), object, deadline);
}

static int list_name(struct cluster *cluster, const char *name, const char *id, int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};

    rbd_encode_name_id(&in, name, id);
    return op_call_write(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_add_image", &in, deadline);
}

/* The directory has NAME already. 0 when it is with ID; -EAGAIN when it was with another image,
 * left there by a client that died while it removed that one, and is not any more. */
static int drop_stale_name(struct cluster *cluster, const char *name, const char *id,
                           int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    char listed[IMAGE_ID_MAX], found[IMAGE_ID_MAX];
    int r;

    rbd_encode_string(&in, name);
    r = op_call(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_get_id", &in, &answer, deadline);
    if (r == 0)
        r = rbd_decode_string(decoder_of(answer.data, answer.len), listed, sizeof(listed));
    if (r == -ENOENT)
        return -EAGAIN;
    if (r < 0 || strcmp(listed, id) == 0)
        return r;
    r = image_find(cluster, name, deadline, found, NULL);
    if (r == 0 && strcmp(found, id) == 0)
        r = trash_unlist_name(cluster, name, listed, deadline);
    return r < 0 ? r : -EAGAIN;
}

int trash_list_name(struct cluster *cluster, const char *name, const char *id, int64_t deadline)
{
    int r = list_name(cluster, name, id, deadline);

    if (r == -EEXIST)
        r = drop_stale_name(cluster, name, id, deadline);
    if (r == -EAGAIN)
        r = list_name(cluster, name, id, deadline);
    return r;
}

int trash_unlist_name(struct cluster *cluster, const char *name, const char *id, int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};
    int r;

    rbd_encode_name_id(&in, name, id);
    r = op_call_write(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_remove_image", &in, deadline);
    return r == -ENOENT || r == -ESTALE ? 0 : r;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

int trash_check_seen(struct cluster *cluster, const char *id, const struct rbd_trash_spec *seen,
                     int64_t deadline)
{
    struct rbd_trash_spec now;
    int r = trash_get(cluster, id, deadline, &now);

    if (r < 0)
        return r;
    return now.source == seen->source && now.state == seen->state &&
                   same_time(&now.deleted, &seen->deleted)
               ? 0
               : -ESTALE;
}

/* The look and the removal are one step: the bytes that were looked at must still be there. */
int trash_forget_if(struct cluster *cluster, const char *id, enum rbd_trash_state state,
                    const struct timespec *deleted, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder bytes = {0};
    cleanup_encoder struct encoder in = {0};
    char key[sizeof(TRASH_ENTRY) + IMAGE_ID_MAX];
    struct rbd_trash_spec now = {0};
    int r;

    if (!op)
        return -ENOMEM;
    snprintf(key, sizeof(key), TRASH_ENTRY "%s", id);
    r = op_get_omap(cluster_io(cluster), RBD_TRASH, key, &bytes, deadline);
    if (r == 0)
        r = rbd_decode_trash_spec(decoder_of(bytes.data, bytes.len), &now);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (now.state != state || (deleted && !same_time(&now.deleted, deleted)))
        return -ESTALE;
    rbd_encode_string(&in, id);
    op_compare_omap(op, key, bytes.data, bytes.len);
    op_exec(op, "rbd", "trash_remove", &in);
    r = op_run(op, cluster_io(cluster), RBD_TRASH, deadline);
    return r == -ECANCELED ? -ESTALE : r;
}

int trash_publish(struct cluster *cluster, const char *name, const char *id,
                  enum rbd_trash_state state, const struct timespec *deleted, int64_t deadline)
{
    int r = trash_list_name(cluster, name, id, deadline);

    return r < 0 ? r : trash_forget_if(cluster, id, state, deleted, deadline);
}

void trash_describe_lock(const struct cluster *cluster, const char *words, char ret[LOCK_DESC_MAX])
{
    snprintf(ret, LOCK_DESC_MAX, "%s%s%s", words,
             cluster_token(cluster)[0] != '\0' ? TAKEOVER_TOKEN : "", cluster_token(cluster));
}

void trash_encode_work_lock(struct encoder *e, const struct cluster *cluster, const char *cookie)
{
    char description[LOCK_DESC_MAX];

    trash_describe_lock(cluster, "", description);
    lock_encode_lock(e, WORK_LOCK, LOCK_EXCLUSIVE, cookie, "", description, WORK_LOCK_S);
}

void trash_work_unlock(struct cluster *cluster, const char *id, const char *cookie)
{
    cleanup_encoder struct encoder unlock = {0};
    cleanup_op struct op *op = op_write();
    char object[OBJECT_NAME_MAX];

    if (!op)
        return;
    lock_encode_unlock(&unlock, WORK_LOCK, cookie);
    op_assert_exists(op); /* or the unlock would make an empty header */
    op_exec(op, "lock", "unlock", &unlock);
    name_header(object, id);
    op_run(op, cluster_io(cluster), object, deadline_in_ms(2000));
}

int trash_work_holder(struct cluster *cluster, const char *id, int64_t deadline,
                      struct lock_info *ret)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    name_header(object, id);
    lock_encode_get_info(&in, WORK_LOCK);
    r = op_call(cluster_io(cluster), object, "lock", "get_info", &in, &answer, deadline);
    if (r == 0)
        r = lock_decode_info(decoder_of(answer.data, answer.len), ret);
    return r;
}

static int try_lock_work(struct cluster *cluster, const char *id, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder lock = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    if (!op)
        return -ENOMEM;
    trash_encode_work_lock(&lock, cluster, WORK_DELETE);
    op_assert_exists(op);
    op_exec(op, "lock", "lock", &lock);
    name_header(object, id);
    r = op_run(op, cluster_io(cluster), object, deadline);
    return r == -EEXIST ? 0 : r; /* ours already */
}

int trash_work_lock(struct cluster *cluster, const char *id, int64_t deadline, struct error *err)
{
    struct lock_info work = {0};
    int r = try_lock_work(cluster, id, deadline);

    if (r != -EBUSY || trash_work_holder(cluster, id, deadline, &work) < 0)
        return r;
    if (work.count > 0) {
        if (!takeover_is_predecessor(cluster, &work.holder, cluster_token(cluster)))
            return r;
        r = takeover_fence(cluster, id, WORK_LOCK, &work.holder, deadline, err);
        if (r < 0)
            return r;
    }
    return try_lock_work(cluster, id, deadline);
}

int trash_displace_dead(struct cluster *cluster, const char *name, const char *id, int64_t deadline,
                        struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    enum holder_life life;
    char holder[256];
    int r = image_read_header(cluster, id, deadline, &header, err);

    if (r < 0 || header.lock.count == 0)
        return r;
    if (takeover_is_predecessor(cluster, &header.lock.holder, cluster_token(cluster)))
        life = HOLDER_DEAD;
    else
        r = takeover_look(cluster, id, &header.lock, deadline, &life, err);
    if (r < 0)
        return r;
    if (life == HOLDER_DEAD)
        return takeover_fence(cluster, id, RBD_LOCK_NAME, &header.lock.holder, deadline, err);
    ownership_describe(&header.lock, holder, sizeof(holder));
    return error_set(err, -EBUSY, "image '%s' is in use by %s%s", name, holder,
                     life == HOLDER_SILENT ? ", who does not answer; try again in a moment" : "");
}

/* The entries after START ("": the first ones): *ret is one array, free(). */
static int list_some(struct cluster *cluster, const char *start, int64_t deadline,
                     struct rbd_trash_entry **ret, size_t *ret_count)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    int r;

    *ret = NULL;
    *ret_count = 0;
    rbd_encode_page(&in, start, LIST_STEP);
    r = op_call(cluster_io(cluster), RBD_TRASH, "rbd", "trash_list", &in, &answer, deadline);
    if (r == -ENOENT) /* nothing was ever removed in this pool */
        return 0;
    return r < 0 ? r : rbd_decode_trash_list(decoder_of(answer.data, answer.len), ret, ret_count);
}

int trash_list(struct cluster *cluster, int64_t deadline, struct rbd_trash_entry **ret,
               size_t *ret_count, struct error *err)
{
    cleanup_free struct rbd_trash_entry *entries = NULL;
    char start[RBD_ID_MAX] = "";
    size_t count = 0;
    size_t step;
    int r;

    *ret = NULL;
    *ret_count = 0;
    do {
        cleanup_free struct rbd_trash_entry *some = NULL;
        struct rbd_trash_entry *more;

        r = list_some(cluster, start, deadline, &some, &step);
        if (r < 0)
            break;
        if (step == 0)
            continue;
        more = realloc(entries, (count + step) * sizeof(*entries));
        if (!more) {
            r = -ENOMEM;
            break;
        }
        entries = more;
        memcpy(entries + count, some, step * sizeof(*entries));
        count += step;
        snprintf(start, sizeof(start), "%s", entries[count - 1].id);
    } while (step == LIST_STEP && count < ENTRIES_MAX);
    if (r < 0)
        return error_errno(err, r, "cannot list the trash of pool '%s'", cluster_pool(cluster));
    *ret = steal_pointer(&entries);
    *ret_count = count;
    return 0;
}

bool trash_is_marked(const struct image_header *header, const char *prefix)
{
    for (size_t i = 0; i < header->metadata.count; i++) {
        if (strncmp(header->metadata.items[i].key, prefix, strlen(prefix)) == 0)
            return true;
    }
    return false;
}
