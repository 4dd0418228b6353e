/* SPDX-License-Identifier: Apache-2.0 */
#include "image/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/names.h"
#include "image/owner_call.h"
#include "image/owner_work.h"
#include "image/rollback.h"
#include "rados/header_notify.h"
#include "rados/op.h"

/* Snapshots asked about in one round trip: two answers each (op.h). */
#define LIST_STEP 8

/* For the watchers of an image to hear that its header has changed. One that does not answer will
 * read it when it comes back. */

void snapshots_free(struct snapshots *snapshots)
{
    free(snapshots->items);
    *snapshots = (struct snapshots){0};
}

int snapshot_check_name(const char *name, struct error *err)
{
    size_t len = strlen(name);

    if (len == 0 || len >= SNAPSHOT_NAME_MAX)
        return error_set(err, -EINVAL, "a snapshot's name has 1 to %d bytes",
                         SNAPSHOT_NAME_MAX - 1);
    for (const char *at = name; *at; at++) {
        if (*at <= ' ' || *at > '~' || *at == '/' || *at == '@' || (at == name && *at == '.'))
            return error_set(err, -EINVAL,
                             "'%s' cannot be a snapshot's name: it may have printable ASCII "
                             "without '/', '@' and blanks, and no '.' in front",
                             name);
    }
    return 0;
}

void snapshot_default_name(struct timespec when, char ret[SNAPSHOT_NAME_MAX])
{
    char text[64];
    struct tm tm;

    strftime(text, sizeof(text), "%Y%m%d-%H%M%S", gmtime_r(&when.tv_sec, &tm));
    snprintf(ret, SNAPSHOT_NAME_MAX, "%s.%03dZ", text, (int)(when.tv_nsec / NS_PER_MS));
}

/* What OP says of the snapshot it was asked about as number I: 0, -ENOENT (gone meanwhile), or
 * another errno. */
static int take_facts(struct op *op, unsigned i, struct rbd_snapshot *facts, uint8_t *protection)
{
    struct decoder d;
    int r = op_result(op, 2 * i, &d);

    if (r == 0)
        r = rbd_decode_snapshot(d, facts);
    if (r < 0)
        return r;
    r = op_result(op, 2 * i + 1, &d);
    return r < 0 ? r : rbd_decode_u8(d, protection);
}

static bool is_listed(const struct rbd_snapshot *facts, bool with_trashed)
{
    return facts->namespace_type == RBD_NAMESPACE_USER ||
           (with_trashed && facts->namespace_type == RBD_NAMESPACE_TRASH);
}

/* Ask about COUNT snapshots and append those wanted to RET, which has room. */
static int list_some(struct cluster *cluster, const char *object, const uint64_t *ids,
                     unsigned count, bool with_trashed, int64_t deadline, struct snapshots *ret)
{
    cleanup_op struct op *op = op_read();
    int r;

    if (!op)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        cleanup_encoder struct encoder in = {0};

        rbd_encode_snap_id(&in, ids[i]);
        op_exec(op, "rbd", "snapshot_get", &in);
        op_exec(op, "rbd", "get_protection_status", &in);
    }
    r = op_run(op, cluster_io(cluster), object, deadline);
    for (unsigned i = 0; i < count && r == 0; i++) {
        struct rbd_snapshot facts = {0};
        uint8_t protection = RBD_UNPROTECTED;

        r = take_facts(op, i, &facts, &protection);
        if (r == 0 && is_listed(&facts, with_trashed)) {
            bool trashed = facts.namespace_type == RBD_NAMESPACE_TRASH;
            struct snapshot *snapshot = &ret->items[ret->count++];

            *snapshot = (struct snapshot){
                .id = facts.id,
                .size = facts.size,
                .created = facts.created,
                .protected = protection != RBD_UNPROTECTED,
                .child_count = facts.child_count,
                .trashed = trashed,
            };
            snprintf(snapshot->name, sizeof(snapshot->name), "%s",
                     trashed ? facts.original_name : facts.name);
        }
        if (r == -ENOENT)
            r = 0;
    }
    return r;
}

static int list_newest(struct cluster *cluster, const char *id, bool with_trashed, size_t max,
                       int64_t deadline, struct snapshots *ret, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    cleanup_snapshots struct snapshots list = {0};
    uint64_t ids[LIST_STEP];
    char object[OBJECT_NAME_MAX];
    int r = image_read_header(cluster, id, deadline, &header, err);
    size_t left = header.snapc.count < max ? header.snapc.count : max;

    if (r < 0)
        return r;
    name_header(object, id);
    list.items = calloc(left ? left : 1, sizeof(*list.items));
    if (!list.items)
        return error_set(err, -ENOMEM, "out of memory");
    while (left > 0 && r == 0) {
        unsigned count = 0;

        for (; count < LIST_STEP && left > 0; count++)
            ids[count] = header.snapc.snaps[--left]; /* newest first there, oldest first here */
        r = list_some(cluster, object, ids, count, with_trashed, deadline, &list);
    }
    if (r < 0)
        return error_errno(err, r, "cannot list the snapshots of image %s", id);
    *ret = list;
    list = (struct snapshots){0};
    return 0;
}

int snapshot_list(struct cluster *cluster, const char *id, bool with_trashed, int64_t deadline,
                  struct snapshots *ret, struct error *err)
{
    return list_newest(cluster, id, with_trashed, SIZE_MAX, deadline, ret, err);
}

int snapshot_list_newest(struct cluster *cluster, const char *id, size_t max, int64_t deadline,
                         struct snapshots *ret, struct error *err)
{
    return list_newest(cluster, id, false, max, deadline, ret, err);
}

int snapshot_find(struct cluster *cluster, const char *id, const char *name, int64_t deadline,
                  struct snapshot *ret, struct error *err)
{
    cleanup_snapshots struct snapshots list = {0};
    int r = snapshot_list(cluster, id, false, deadline, &list, err);

    for (size_t i = 0; r == 0 && i < list.count; i++) {
        if (strcmp(list.items[i].name, name) == 0) {
            *ret = list.items[i];
            return 0;
        }
    }
    return r < 0 ? r : error_set(err, -ENOENT, "image %s has no snapshot '%s'", id, name);
}

/* A snapshot outlives the note that what it holds is neither old nor new, so there is none of such
 * an image. */
static int create_as_owner(void *arg, const struct owned_image *image, int64_t deadline,
                           struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    uint64_t snap_id;
    int r = image_read_header(image->cluster, image->id, deadline, &header, err);

    if (r == 0)
        r = rollback_check(&header, err);
    return r < 0 ? r : owned_snapshot_add(image, arg, deadline, &snap_id, err);
}

static int remove_as_owner(void *arg, const struct owned_image *image, int64_t deadline,
                           struct error *err)
{
    return owned_snapshot_remove(image, arg, deadline, err);
}

static int call_owner(struct cluster *cluster, const char *id, enum notify_op op, const char *name,
                      const char *host, owner_work work, int64_t deadline, struct error *err)
{
    struct header_notify request = {.op = op};
    char copy[SNAPSHOT_NAME_MAX];

    snprintf(request.snapshot, sizeof(request.snapshot), "%s", name);
    snprintf(copy, sizeof(copy), "%s", name);
    return owner_call(cluster, id, host, &request, work, copy, deadline, err);
}

int snapshot_create(struct cluster *cluster, const char *id, const char *name, const char *host,
                    int64_t deadline, struct snapshot *ret, struct error *err)
{
    int r = snapshot_check_name(name, err);

    if (r == 0)
        r = call_owner(cluster, id, NOTIFY_SNAP_CREATE, name, host, create_as_owner, deadline, err);
    if (r == -EEXIST)
        return error_set(err, r, "there is a snapshot '%s' already", name);
    return r < 0 ? r : snapshot_find(cluster, id, name, deadline, ret, err);
}

int snapshot_remove(struct cluster *cluster, const char *id, const char *name, const char *host,
                    int64_t deadline, bool *ret_trashed, struct error *err)
{
    struct snapshot snapshot = {0};
    int r = snapshot_find(cluster, id, name, deadline, &snapshot, err);

    if (r == 0 && snapshot.protected)
        r = error_set(err, -EBUSY, "snapshot '%s' is protected: unprotect it first", name);
    if (r == 0)
        r = call_owner(cluster, id, NOTIFY_SNAP_REMOVE, name, host, remove_as_owner, deadline, err);
    if (r == 0)
        *ret_trashed = snapshot.child_count > 0;
    return r;
}

/* Change the header, whoever owns the image, and tell its watchers. */
static int change_header(struct cluster *cluster, const char *id, const char *method,
                         const struct encoder *in, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    char object[OBJECT_NAME_MAX];
    int r;

    if (!op)
        return -ENOMEM;
    name_header(object, id);
    op_assert_exists(op);
    op_exec(op, "rbd", method, in);
    r = op_run(op, cluster_io(cluster), object, deadline);
    if (r == 0)
        image_announce(cluster, id, deadline);
    return r;
}

int snapshot_protect(struct cluster *cluster, const char *id, const char *name, bool protect,
                     int64_t deadline, struct error *err)
{
    cleanup_encoder struct encoder in = {0};
    struct snapshot snapshot = {0};
    int r = snapshot_find(cluster, id, name, deadline, &snapshot, err);

    if (r < 0 || snapshot.protected == protect)
        return r;
    rbd_encode_set_protection(&in, snapshot.id, protect ? RBD_PROTECTED : RBD_UNPROTECTED);
    r = change_header(cluster, id, "set_protection_status", &in, deadline);
    if (r == -ENOEXEC)
        r = -EOPNOTSUPP; /* the image lacks the feature layering */
    return r < 0 ? error_errno(err, r, "cannot %s snapshot '%s'", protect ? "protect" : "unprotect",
                               name)
                 : 0;
}

int snapshot_rename(struct cluster *cluster, const char *id, const char *from, const char *to,
                    int64_t deadline, struct error *err)
{
    cleanup_encoder struct encoder in = {0};
    struct snapshot snapshot = {0};
    int r = snapshot_check_name(to, err);

    if (r == 0)
        r = snapshot_find(cluster, id, from, deadline, &snapshot, err);
    if (r < 0)
        return r;
    rbd_encode_snapshot_rename(&in, snapshot.id, to);
    r = change_header(cluster, id, "snapshot_rename", &in, deadline);
    if (r == -EEXIST)
        return error_set(err, r, "there is a snapshot '%s' already", to);
    return r < 0 ? error_errno(err, r, "cannot rename snapshot '%s' to '%s'", from, to) : 0;
}
