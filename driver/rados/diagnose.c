/* SPDX-License-Identifier: Apache-2.0 */
#include "rados/diagnose.h"

#include <errno.h>
#include <inttypes.h>
#include <rados/librados.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "rados/cls_lock.h"
#include "rados/op.h"

#define SCRATCH_LOCK   "docker-volume-rados.diagnose"
#define SCRATCH_LOCK_S 60 /* an object that is left behind says by its lock that it is ours */

#define SCRATCH_NAME_MAX 64

#define REMOVE_MS 5000

#define APPLICATION_MAX 1024

static int find_keyring(rados_t rados, const struct cluster_settings *settings, char *ret_path,
                        size_t size, struct error *err)
{
    char paths[1024];
    char copy[sizeof(paths)];
    char *rest = copy;
    char *path;
    int r = rados_conf_read_file(rados, settings->conf);

    if (r < 0)
        return error_errno(err, r, "cannot read %s", settings->conf);
    r = rados_conf_get(rados, "keyring", paths, sizeof(paths));
    if (r < 0)
        return error_errno(err, r, "%s does not say where keyrings are", settings->conf);
    memcpy(copy, paths, sizeof(copy));
    while ((path = strsep(&rest, ",; "))) {
        if (*path && access(path, R_OK) == 0) {
            snprintf(ret_path, size, "%s", path);
            return 0;
        }
    }
    return error_set(err, -ENOENT,
                     "no keyring for client.%s can be read (looked for %s): put one there with "
                     "'ceph auth get client.%s'",
                     settings->client, paths, settings->client);
}

int diagnose_keyring(const struct cluster_settings *settings, char *ret_path, size_t size,
                     struct error *err)
{
    rados_t rados;
    int r = rados_create(&rados, settings->client);

    if (r < 0)
        return error_errno(err, r, "cannot make a Ceph client");
    r = find_keyring(rados, settings, ret_path, size, err);
    rados_shutdown(rados);
    return r;
}

int diagnose_fence_right(struct cluster *cluster, struct error *err)
{
    /* It has an address' looks, which is what the caps are compared with, and is none. */
    const char *command = "{\"prefix\": \"osd blocklist\", \"blocklistop\": \"add\", "
                          "\"addr\": \"nowhere/1\", \"expire\": 1.0}";
    char *answer = NULL;
    char *words = NULL;
    size_t answer_len = 0;
    size_t words_len = 0;
    int r = rados_mon_command(cluster_rados(cluster), &command, 1, NULL, 0, &answer, &answer_len,
                              &words, &words_len);

    rados_buffer_free(answer);
    rados_buffer_free(words);
    if (r == -EINVAL)
        return 0;
    if (r == -EACCES || r == -EPERM)
        return error_set(err, -EACCES,
                         "this client may not blocklist others, so it cannot take over a lost "
                         "host's volumes: give it mon 'profile rbd' with 'ceph auth caps'");
    return error_errno(err, r < 0 ? r : -EPROTO,
                       "the monitors do not say whether this client may blocklist others");
}

int diagnose_application(struct cluster *cluster, struct error *err)
{
    const char *pool = cluster_pool(cluster);
    char names[APPLICATION_MAX] = "";
    size_t len = sizeof(names) - 1;
    int r = rados_application_list(cluster_io(cluster), names, &len);

    if (r < 0 && r != -ENOENT)
        return error_errno(err, r, "cannot tell what pool '%s' is for", pool);
    for (const char *name = names; r == 0 && name < names + len && *name;
         name += strlen(name) + 1) {
        if (strcmp(name, "rbd") == 0)
            return 0;
    }
    return error_set(err, -ENODATA,
                     "pool '%s' is not marked as one of RBD images: 'ceph osd pool application "
                     "enable %s rbd'",
                     pool, pool);
}

static void name_scratch(const struct cluster *cluster, char ret[SCRATCH_NAME_MAX])
{
    snprintf(ret, SCRATCH_NAME_MAX, "docker-volume-rados.diagnose.%" PRIu64,
             cluster_client_id(cluster));
}

static int make_scratch(rados_ioctx_t io, const char *object, int64_t deadline)
{
    cleanup_op struct op *op = op_write();
    cleanup_encoder struct encoder lock = {0};

    if (!op)
        return -ENOMEM;
    lock_encode_lock(&lock, SCRATCH_LOCK, LOCK_EXCLUSIVE, "", "", "scratch object; may be removed",
                     SCRATCH_LOCK_S);
    op_create(op, true);
    op_exec(op, "lock", "lock", &lock);
    return op_run(op, io, object, deadline);
}

static void remove_scratch(rados_ioctx_t io, const char *object)
{
    cleanup_op struct op *op = op_write();

    if (!op)
        return;
    op_remove(op);
    op_run(op, io, object, deadline_in_ms(REMOVE_MS));
}

static int64_t realtime(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* When the lock was made, by the OSD's clock: it told us when the lock lapses. */
static int read_lock_time(rados_ioctx_t io, const char *object, int64_t deadline, int64_t *ret)
{
    cleanup_encoder struct encoder in = {0};
    cleanup_encoder struct encoder answer = {0};
    struct lock_info lock = {0};
    int r;

    lock_encode_get_info(&in, SCRATCH_LOCK);
    r = op_call(io, object, "lock", "get_info", &in, &answer, deadline);
    if (r == 0)
        r = lock_decode_info(decoder_of(answer.data, answer.len), &lock);
    if (r == 0 && lock.count == 0)
        r = -ESTALE; /* lapsed: a clock was set meanwhile */
    if (r == 0)
        *ret = ((int64_t)lock.holder.expires.tv_sec - SCRATCH_LOCK_S) * NS_PER_S +
               lock.holder.expires.tv_nsec;
    return r;
}

static int failed(struct cluster *cluster, int r, struct error *err)
{
    if (r == -EPERM || r == -EACCES)
        return error_set(err, -EPERM,
                         "this client may not write in pool '%s': give it osd 'profile rbd "
                         "pool=%s' with 'ceph auth caps'",
                         cluster_pool(cluster), cluster_pool(cluster));
    if (r == -ENOSPC || r == -EDQUOT)
        return error_errno(err, r, "pool '%s' takes no writes", cluster_pool(cluster));
    return error_errno(err, r, "cannot write an object in pool '%s'; see 'ceph -s'",
                       cluster_pool(cluster));
}

int diagnose_pool(struct cluster *cluster, int64_t deadline, int64_t *ret_clock_ns,
                  int64_t *ret_precision_ns, struct error *err)
{
    rados_ioctx_t io = cluster_io(cluster);
    int64_t begin;
    int64_t end;
    int64_t osd = 0;
    char object[SCRATCH_NAME_MAX];
    int r;

    name_scratch(cluster, object);
    begin = realtime();
    r = make_scratch(io, object, deadline);
    end = realtime();
    if (r == 0)
        r = read_lock_time(io, object, deadline, &osd);
    if (r != -EEXIST)
        remove_scratch(io, object);
    if (r < 0)
        return failed(cluster, r, err);
    *ret_clock_ns = osd - (begin + (end - begin) / 2);
    *ret_precision_ns = (end - begin) / 2;
    return 0;
}
