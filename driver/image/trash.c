/* SPDX-License-Identifier: Apache-2.0 */
#include "image/trash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "image/lifecycle.h"
#include "image/names.h"
#include "image/takeover.h"
#include "rados/op.h"

/* More than a pool ever has; what is beyond comes into view when these are gone. */
#define ENTRIES_MAX 1024

/* Longer than any call works (LIFECYCLE_CALL_MAX_S), with room for an operation that is late. */
#define WORK_LOCK_S (3 * LIFECYCLE_CALL_MAX_S)

int trash_add(struct cluster *cluster, const char *id, const char *name, enum rbd_trash_state state,
              int64_t deadline)
{
    struct rbd_trash_spec spec = {.source = RBD_TRASH_REMOVING, .state = (uint8_t)state};
    cleanup_encoder struct encoder in = {0};
    int r;

    snprintf(spec.name, sizeof(spec.name), "%s", name);
    clock_gettime(CLOCK_REALTIME, &spec.deleted);
    spec.deferred_until = spec.deleted;
    rbd_encode_trash_add(&in, id, &spec);
    r = op_call_write(cluster_io(cluster), RBD_TRASH, "rbd", "trash_add", &in, deadline);
    return r == -EEXIST ? 0 : r;
}

int trash_forget(struct cluster *cluster, const char *id, int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};
    int r;

    rbd_encode_string(&in, id);
    r = op_call_write(cluster_io(cluster), RBD_TRASH, "rbd", "trash_remove", &in, deadline);
    return r == -ENOENT ? 0 : r;
}

int trash_publish(struct cluster *cluster, const char *name, const char *id, int64_t deadline)
{
    cleanup_encoder struct encoder in = {0};
    int r;

    rbd_encode_name_id(&in, name, id);
    r = op_call_write(cluster_io(cluster), RBD_DIRECTORY, "rbd", "dir_add_image", &in, deadline);
    if (r < 0 && r != -EEXIST)
        return r;
    return trash_forget(cluster, id, deadline);
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

int trash_list(struct cluster *cluster, int64_t deadline, struct rbd_trash_entry **ret,
               size_t *ret_count, struct error *err)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    int r;

    *ret = NULL;
    *ret_count = 0;
    rbd_encode_page(&in, "", ENTRIES_MAX);
    r = op_call(cluster_io(cluster), RBD_TRASH, "rbd", "trash_list", &in, &answer, deadline);
    if (r == -ENOENT) /* nothing was ever removed in this pool */
        return 0;
    if (r == 0)
        r = rbd_decode_trash_list(decoder_of(answer.data, answer.len), ret, ret_count);
    if (r < 0)
        return error_errno(err, r, "cannot list the trash of pool '%s'", cluster_pool(cluster));
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
