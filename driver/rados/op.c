/* SPDX-License-Identifier: Apache-2.0 */
#include "rados/op.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define OP_RESULTS_MAX 16

struct op {
    atomic_uint refs; /* the caller's, and librados' while the operation is under way */
    rados_read_op_t read;
    rados_write_op_t write;
    rados_completion_t completion;
    bool failed; /* a step could not be built */
    bool ran;

    pthread_mutex_t lock; /* done */
    pthread_cond_t wake;
    bool done;

    unsigned count;
    struct {
        char *data; /* librados allocates */
        size_t len;
        int result;
    } results[OP_RESULTS_MAX];

    rados_omap_iter_t omap; /* of op_get_omap */
    int omap_result;

    char *answer; /* of a notify */
    size_t answer_len;
    rados_snap_t snap; /* a new id */
};

static struct op *op_new(void)
{
    struct op *op = calloc(1, sizeof(*op));

    if (!op)
        return NULL;
    atomic_init(&op->refs, 1);
    pthread_mutex_init(&op->lock, NULL);
    clock_init_cond(&op->wake);
    return op;
}

struct op *op_read(void)
{
    struct op *op = op_new();

    if (op)
        op->read = rados_create_read_op();
    return op;
}

struct op *op_write(void)
{
    struct op *op = op_new();

    if (op)
        op->write = rados_create_write_op();
    return op;
}

void op_free(struct op *op)
{
    if (!op || atomic_fetch_sub(&op->refs, 1) > 1)
        return;
    if (op->read)
        rados_release_read_op(op->read);
    if (op->write)
        rados_release_write_op(op->write);
    if (op->completion)
        rados_aio_release(op->completion);
    for (unsigned i = 0; i < op->count; i++)
        rados_buffer_free(op->results[i].data);
    if (op->omap)
        rados_omap_get_end(op->omap);
    rados_buffer_free(op->answer);
    pthread_cond_destroy(&op->wake);
    pthread_mutex_destroy(&op->lock);
    free(op);
}

unsigned op_exec(struct op *op, const char *class, const char *method, const struct encoder *in)
{
    static const struct encoder nothing;
    unsigned index = op->count;

    if (!in)
        in = &nothing;
    if (in->failed) {
        op->failed = true;
        return 0;
    }
    assert(index < OP_RESULTS_MAX);
    op->count++;
    if (op->read) {
        rados_read_op_exec(op->read, class, method, (const char *)in->data, in->len,
                           &op->results[index].data, &op->results[index].len,
                           &op->results[index].result);
        /* One answer that is missing must not hide the others. */
        rados_read_op_set_flags(op->read, LIBRADOS_OP_FLAG_FAILOK);
    } else {
        rados_write_op_exec(op->write, class, method, (const char *)in->data, in->len,
                            &op->results[index].result);
    }
    return index;
}

void op_create(struct op *op, bool exclusive)
{
    rados_write_op_create(op->write,
                          exclusive ? LIBRADOS_CREATE_EXCLUSIVE : LIBRADOS_CREATE_IDEMPOTENT, NULL);
}

void op_assert_exists(struct op *op)
{
    if (op->read)
        rados_read_op_assert_exists(op->read);
    else
        rados_write_op_assert_exists(op->write);
}

void op_write_at(struct op *op, uint64_t offset, const void *data, size_t len)
{
    rados_write_op_write(op->write, data, len, offset);
}

void op_remove(struct op *op)
{
    rados_write_op_remove(op->write);
}

void op_compare_omap(struct op *op, const char *key, const void *value, size_t len)
{
    rados_write_op_omap_cmp2(op->write, key, LIBRADOS_CMPXATTR_OP_EQ, value, strlen(key), len,
                             NULL);
}

/* Runs on a librados thread: hand over and go. */
static void op_complete(rados_completion_t completion, void *arg)
{
    struct op *op = arg;

    (void)completion;
    pthread_mutex_lock(&op->lock);
    op->done = true;
    pthread_cond_signal(&op->wake);
    pthread_mutex_unlock(&op->lock);
    op_free(op);
}

static int op_prepare(struct op *op)
{
    assert(!op->ran);
    op->ran = true;
    if (op->failed || rados_aio_create_completion2(op, op_complete, &op->completion) < 0)
        return -ENOMEM;
    atomic_fetch_add(&op->refs, 1);
    return 0;
}

/* Wait for an operation that was started with result R. */
static int op_wait(struct op *op, int r, int64_t deadline)
{
    const struct timespec until = deadline_timespec(deadline);

    if (r < 0) { /* never started: op_complete will not run */
        atomic_fetch_sub(&op->refs, 1);
        return r;
    }
    {
        WITH_LOCK(&op->lock);
        while (!op->done) {
            if (pthread_cond_timedwait(&op->wake, &op->lock, &until) == ETIMEDOUT && !op->done)
                return -ETIMEDOUT;
        }
    }
    r = rados_aio_get_return_value(op->completion);
    return r < 0 ? r : 0;
}

int op_run(struct op *op, rados_ioctx_t io, const char *object, int64_t deadline)
{
    int r = op_prepare(op);

    if (r < 0)
        return r;
    if (op->read)
        r = rados_aio_read_op_operate(op->read, io, op->completion, object, 0);
    else
        r = rados_aio_write_op_operate(op->write, io, op->completion, object, NULL, 0);
    r = op_wait(op, r, deadline);
    if (r == -ETIMEDOUT && op->read) /* nobody wants the answer any more */
        rados_aio_cancel(io, op->completion);
    return r;
}

int op_result(struct op *op, unsigned index, struct decoder *ret)
{
    assert(index < op->count);
    *ret = decoder_of(op->results[index].data, op->results[index].len);
    return op->results[index].result < 0 ? op->results[index].result : 0;
}

int op_call(rados_ioctx_t io, const char *object, const char *class, const char *method,
            const struct encoder *in, struct encoder *ret, int64_t deadline)
{
    cleanup_op struct op *op = op_read();
    struct decoder answer;
    int r;

    if (!op)
        return -ENOMEM;
    op_exec(op, class, method, in);
    r = op_run(op, io, object, deadline);
    if (r < 0)
        return r;
    r = op_result(op, 0, &answer);
    if (r < 0 || !ret)
        return r;
    encode_raw(ret, answer.at, decoder_left(&answer));
    return ret->failed ? -ENOMEM : 0;
}

int op_get_omap(rados_ioctx_t io, const char *object, const char *key, struct encoder *ret,
                int64_t deadline)
{
    cleanup_op struct op *op = op_read();
    const size_t key_len = strlen(key);
    char *found = NULL, *value = NULL;
    size_t found_len = 0, len = 0;
    int r;

    if (!op)
        return -ENOMEM;
    rados_read_op_omap_get_vals_by_keys2(op->read, &key, 1, &key_len, &op->omap, &op->omap_result);
    r = op_run(op, io, object, deadline);
    if (r == 0)
        r = op->omap_result;
    if (r == 0)
        r = rados_omap_get_next2(op->omap, &found, &value, &found_len, &len);
    if (r < 0)
        return r;
    if (!value) /* the end */
        return -ENOENT;
    encode_raw(ret, value, len);
    return ret->failed ? -ENOMEM : 0;
}

int op_call_write(rados_ioctx_t io, const char *object, const char *class, const char *method,
                  const struct encoder *in, int64_t deadline)
{
    cleanup_op struct op *op = op_write();

    if (!op)
        return -ENOMEM;
    op_exec(op, class, method, in);
    return op_run(op, io, object, deadline);
}

int op_notify(rados_ioctx_t io, const char *object, const struct encoder *payload,
              unsigned timeout_ms, struct encoder *ret, int64_t deadline)
{
    cleanup_op struct op *op = op_new();
    int r;

    if (!op)
        return -ENOMEM;
    op->failed = payload->failed;
    r = op_prepare(op);
    if (r < 0)
        return r;
    r = rados_aio_notify(io, object, op->completion, (const char *)payload->data, (int)payload->len,
                         timeout_ms, &op->answer, &op->answer_len);
    r = op_wait(op, r, deadline);
    /* A notify that some watcher did not answer in time fails, and still tells who did. */
    WITH_LOCK(&op->lock);
    if (ret && op->done && op->answer)
        encode_raw(ret, op->answer, op->answer_len);
    return r;
}

int op_snap_create(rados_ioctx_t io, uint64_t *ret_id, int64_t deadline)
{
    cleanup_op struct op *op = op_new();
    int r = op ? op_prepare(op) : -ENOMEM;

    if (r < 0)
        return r;
    rados_aio_ioctx_selfmanaged_snap_create(io, &op->snap, op->completion);
    r = op_wait(op, 0, deadline);
    if (r == 0)
        *ret_id = op->snap;
    return r;
}

int op_snap_remove(rados_ioctx_t io, uint64_t id, int64_t deadline)
{
    cleanup_op struct op *op = op_new();
    int r = op ? op_prepare(op) : -ENOMEM;

    if (r < 0)
        return r;
    rados_aio_ioctx_selfmanaged_snap_remove(io, id, op->completion);
    return op_wait(op, 0, deadline);
}

int op_watch_begin(rados_ioctx_t io, const char *object, uint64_t *handle,
                   rados_watchcb2_t notified, rados_watcherrcb_t failed, unsigned timeout_s,
                   void *arg, struct op **ret)
{
    cleanup_op struct op *op = op_new();
    int r = op ? op_prepare(op) : -ENOMEM;

    if (r < 0)
        return r;
    r = rados_aio_watch2(io, object, op->completion, handle, notified, failed, timeout_s, arg);
    if (r < 0)
        return op_wait(op, r, 0);
    *ret = steal_pointer(&op);
    return 0;
}

int op_watch_wait(struct op *op, int64_t deadline)
{
    return op_wait(op, 0, deadline);
}

int op_unwatch(rados_ioctx_t io, uint64_t handle, int64_t deadline)
{
    cleanup_op struct op *op = op_new();
    int r = op ? op_prepare(op) : -ENOMEM;

    if (r < 0)
        return r;
    return op_wait(op, rados_aio_unwatch(io, handle, op->completion), deadline);
}

int op_watch_flush(rados_t rados, int64_t deadline)
{
    cleanup_op struct op *op = op_new();
    int r = op ? op_prepare(op) : -ENOMEM;

    if (r < 0)
        return r;
    return op_wait(op, rados_aio_watch_flush(rados, op->completion), deadline);
}
