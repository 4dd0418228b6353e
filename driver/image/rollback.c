/* SPDX-License-Identifier: Apache-2.0 */
#include "image/rollback.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/io.h"
#include "image/names.h"
#include "image/owner_work.h"
#include "image/ownership.h"
#include "image/rollback_objects.h"
#include "rados/op.h"

/* The steps of rollback.h; what is done to the objects is in rollback_objects.c.
 *
 * The record while it goes on: "<id of the snapshot> <name of the safety snapshot>". */

#define WATCH_TIMEOUT_S 15
#define TELL_MS         10000

struct work {
    struct cluster *cluster;
    const char *id;
    const struct rollback *options;
    struct ownership *ownership;
    struct image_header header; /* as last read under the lock */
    int64_t deadline;
    struct rollback_result *result;
};

static int parse_record(const char *record, uint64_t *ret_snap_id, char safety[SNAPSHOT_NAME_MAX])
{
    int at = 0;

    if (sscanf(record, "%" SCNu64 " %n", ret_snap_id, &at) != 1 || at == 0 || record[at] == '\0' ||
        strlen(record + at) >= SNAPSHOT_NAME_MAX)
        return -EBADMSG;
    snprintf(safety, SNAPSHOT_NAME_MAX, "%s", record + at);
    return 0;
}

int rollback_check(const struct image_header *header, struct error *err)
{
    const char *record = image_header_metadata(header, ROLLBACK_KEY);
    char safety[SNAPSHOT_NAME_MAX];
    uint64_t snap_id;

    if (!record)
        return 0;
    if (parse_record(record, &snap_id, safety) < 0)
        return error_set(err, -EUCLEAN,
                         "a restore of it was cut off and left a record that makes no sense (%s): "
                         "restore any of its snapshots",
                         ROLLBACK_KEY);
    return error_set(err, -EUCLEAN,
                     "a restore of it was cut off, so it is neither old nor new: restore the same "
                     "snapshot again to go on, or '%s' to have back what there was before",
                     safety);
}

static struct owned_image owned(const struct work *work)
{
    return (struct owned_image){
        .cluster = work->cluster, .id = work->id, .cookie = ownership_cookie(work->ownership)};
}

static int reread(struct work *work, struct error *err)
{
    struct image_header header = {0};
    int r = image_read_header(work->cluster, work->id, work->deadline, &header, err);

    if (r < 0)
        return r;
    image_header_free(&work->header);
    work->header = header;
    return 0;
}

/* Change metadata while the lock is ours: set KEY, and remove OLD unless it is NULL. */
static int set_record(struct work *work, const char *key, const char *value, const char *old,
                      struct error *err)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder lock = {0};
    cleanup_encoder struct encoder set = {0};
    cleanup_encoder struct encoder remove = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    if (!op)
        return error_set(err, -ENOMEM, "out of memory");
    lock_encode_assert(&lock, RBD_LOCK_NAME, LOCK_EXCLUSIVE, ownership_cookie(work->ownership),
                       RBD_LOCK_TAG);
    rbd_encode_pairs_begin(&set, 1);
    rbd_encode_pair(&set, key, value, strlen(value));
    op_assert_exists(op);
    op_exec(op, "lock", "assert_locked", &lock);
    op_exec(op, "rbd", "metadata_set", &set);
    if (old) {
        rbd_encode_string(&remove, old);
        op_exec(op, "rbd", "metadata_remove", &remove);
    }
    name_header(object, work->id);
    r = op_run(op, cluster_io(work->cluster), object, work->deadline);
    return r < 0 ? error_errno(err, r, "cannot note the restore of image %s", work->id) : 0;
}

/* Take the safety snapshot, unless a try that was cut off has one: what there is now is a mixture.
 */
static int make_safe(struct work *work, struct error *err)
{
    const char *record = image_header_metadata(&work->header, ROLLBACK_KEY);
    char *safety = work->result->safety;
    struct owned_image image = owned(work);
    char name[SNAPSHOT_NAME_MAX];
    struct timespec now;
    uint64_t snap_id;
    int r;

    if (record && parse_record(record, &snap_id, safety) == 0) {
        work->result->resumed = true;
        return 0;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    snapshot_default_name(now, name);
    snprintf(safety, SNAPSHOT_NAME_MAX, ROLLBACK_SAFETY_PREFIX "%.64s", name);
    r = owned_snapshot_add(&image, safety, work->deadline, &snap_id, err);
    return r < 0 ? error_wrap(err, "cannot take the snapshot that would undo the restore") : 0;
}

static int begin_record(struct work *work, const struct snapshot *snapshot, struct error *err)
{
    char value[SNAPSHOT_NAME_MAX + 32];

    snprintf(value, sizeof(value), "%" PRIu64 " %s", snapshot->id, work->result->safety);
    return set_record(work, ROLLBACK_KEY, value, NULL, err);
}

static int end_record(struct work *work, const struct snapshot *snapshot, struct error *err)
{
    char key[sizeof(ROLLBACK_RECORD_KEY) + 32];
    char value[3 * SNAPSHOT_NAME_MAX];
    time_t now = time(NULL);
    struct tm tm;

    strftime(key, sizeof(key), ROLLBACK_RECORD_KEY "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    snprintf(value, sizeof(value), "%s restored snapshot '%s'; before it was '%s'",
             work->options->host, snapshot->name, work->result->safety);
    return set_record(work, key, value, ROLLBACK_KEY, err);
}

static int on_progress(void *arg, const struct rollback_progress *progress)
{
    struct work *work = arg;

    work->result->objects = *progress;
    ownership_run(work->ownership); /* others on the header wait for answers */
    if (ownership_state(work->ownership) == OWNERSHIP_FENCED)
        return -ESHUTDOWN;
    if (deadline_left_ms(work->deadline) == 0)
        return -ETIMEDOUT;
    if (work->options->progress && work->options->progress(work->options->arg, progress) != 0)
        return -ECANCELED;
    return 0;
}

static int set_size(struct work *work, uint64_t size, struct error *err)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder lock = {0};
    cleanup_encoder struct encoder in = {0};
    char object[OBJECT_NAME_MAX];
    int r;

    if (work->header.size == size)
        return 0;
    if (!op)
        return error_set(err, -ENOMEM, "out of memory");
    lock_encode_assert(&lock, RBD_LOCK_NAME, LOCK_EXCLUSIVE, ownership_cookie(work->ownership),
                       RBD_LOCK_TAG);
    rbd_encode_set_size(&in, size);
    op_assert_exists(op);
    op_exec(op, "lock", "assert_locked", &lock);
    op_exec(op, "rbd", "set_size", &in);
    name_header(object, work->id);
    r = op_run(op, cluster_io(work->cluster), object, work->deadline);
    return r < 0 ? error_errno(err, r, "cannot set the size of image %s", work->id) : 0;
}

static int change_objects(struct work *work, const struct snapshot *snapshot, struct error *err)
{
    const struct rollback_objects objects = {
        .cluster = work->cluster,
        .header = &work->header,
        .snap_id = snapshot->id,
        .snap_size = snapshot->size,
        .parallel = work->options->parallel,
        .progress = on_progress,
        .arg = work,
    };
    int r = rollback_objects(&objects, &work->result->objects, err);

    switch (r) {
    case -ECANCELED:
        return error_set(err, r, "stopped; restore it again to go on");
    case -ETIMEDOUT:
        return error_set(err, r, "did not end in time; restore it again to go on");
    case -ESHUTDOWN:
        return error_set(err, r, "another host took the image over meanwhile");
    default:
        return r;
    }
}

static int roll_back(struct work *work, const struct snapshot *snapshot, struct error *err)
{
    int r = make_safe(work, err);

    if (r == 0)
        r = begin_record(work, snapshot, err);
    if (r == 0)
        r = reread(work, err); /* the safety snapshot must be in the context we write under */
    if (r == 0)
        r = change_objects(work, snapshot, err);
    if (r == 0)
        r = set_size(work, snapshot->size, err);
    if (r == 0)
        r = end_record(work, snapshot, err);
    image_announce(work->cluster, work->id, deadline_in_ms(TELL_MS));
    return r;
}

int image_rollback(struct cluster *cluster, const char *id, const struct rollback *rollback,
                   int64_t deadline, struct rollback_result *ret, struct error *err)
{
    struct work work = {
        .cluster = cluster, .id = id, .options = rollback, .deadline = deadline, .result = ret};
    struct snapshot snapshot;
    int r;

    *ret = (struct rollback_result){0};
    r = ownership_acquire(cluster, id, rollback->host, "", WATCH_TIMEOUT_S, deadline, &work.header,
                          &work.ownership, err);
    if (r < 0)
        return r;
    r = snapshot_find(cluster, id, rollback->snapshot, deadline, &snapshot, err);
    if (r == 0)
        r = roll_back(&work, &snapshot, err);
    ownership_release(work.ownership);
    image_header_free(&work.header);
    return r;
}
