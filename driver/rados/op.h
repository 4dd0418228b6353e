/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <rados/librados.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* One compound operation on one object, run with a deadline: all of its steps happen, or none.
 *
 * librados has no timed wait, so the operation runs asynchronously and keeps its own memory: when
 * the deadline passes first, op_run returns -ETIMEDOUT, and the rest is freed whenever librados is
 * done with it. A timed-out write may still happen later; callers must be able to live with both.
 * An op belongs to one thread. */

struct op;

struct op *op_read(void);    /* NULL when out of memory; op_free */
struct op *op_write(void);   /* likewise */
void op_free(struct op *op); /* accepts NULL */

static inline void cleanup_opp(struct op **op)
{
    op_free(*op);
}
#define cleanup_op __attribute__((cleanup(cleanup_opp)))

/* Steps, run in the order they were added. The bytes handed in are copied. At most 16 calls of
 * op_exec on a read op have a result to look at; each returns its index for op_result. */
unsigned op_exec(struct op *op, const char *class, const char *method, const struct encoder *in);
void op_create(struct op *op, bool exclusive); /* exclusive: fail with -EEXIST when it is there */
void op_assert_exists(struct op *op);          /* fail with -ENOENT */
void op_write_at(struct op *op, uint64_t offset, const void *data, size_t len);
void op_remove(struct op *op);
/* Fail with -ECANCELED unless the object's omap has KEY with just this value. */
void op_compare_omap(struct op *op, const char *key, const void *value, size_t len);

/* Run it on OBJECT. 0 or the number of bytes is success for librados; here success is 0. A negative
 * errno of the first step that failed otherwise, -ETIMEDOUT at the deadline, -ENOMEM when the op or
 * one of its inputs could not be built. Once per op. */
int op_run(struct op *op, rados_ioctx_t io, const char *object, int64_t deadline);

/* A read op's step went well or not (0 or negative errno: such a step does not fail the others),
 * and its answer, borrowed until op_free. Only after op_run returned 0. */
int op_result(struct op *op, unsigned index, struct decoder *ret);

/* A class call with an answer: a read op with one step. *ret (may be NULL) is freed by the caller's
 * encoder_free; it holds raw answer bytes. */
int op_call(rados_ioctx_t io, const char *object, const char *class, const char *method,
            const struct encoder *in, struct encoder *ret, int64_t deadline);

/* The value of KEY in the object's omap: 0 or -ENOENT. *ret as above. */
int op_get_omap(rados_ioctx_t io, const char *object, const char *key, struct encoder *ret,
                int64_t deadline);

/* A class call that changes the object: a write op with one step. */
int op_call_write(rados_ioctx_t io, const char *object, const char *class, const char *method,
                  const struct encoder *in, int64_t deadline);

/* Notify the watchers of OBJECT and wait for their answers, at most TIMEOUT_MS (the cluster rounds
 * it up to whole seconds). *ret (may be NULL) gets the answer for notify_decode_answer, also with
 * -ETIMEDOUT when the cluster gave one: some watcher was silent. */
int op_notify(rados_ioctx_t io, const char *object, const struct encoder *payload,
              unsigned timeout_ms, struct encoder *ret, int64_t deadline);

/* A new id for a self-managed snapshot in the pool of IO; after -ETIMEDOUT one may be used up. */
int op_snap_create(rados_ioctx_t io, uint64_t *ret_id, int64_t deadline);

/* Release one: the cluster drops what only that snapshot keeps. Repeating it does no harm. */
int op_snap_remove(rados_ioctx_t io, uint64_t id, int64_t deadline);

/* Watch OBJECT (rados_aio_watch2): begin, then wait for the result, as often as it takes. As long
 * as that is -ETIMEDOUT the watch may still come about, so neither the handle nor ARG may be freed,
 * and no other one begun instead: both would stay. *ret: op_free, at any time. */
int op_watch_begin(rados_ioctx_t io, const char *object, uint64_t *handle,
                   rados_watchcb2_t notified, rados_watcherrcb_t failed, unsigned timeout_s,
                   void *arg, struct op **ret);
int op_watch_wait(struct op *op, int64_t deadline);

/* Unwatch, and wait until no callback of a former watch runs any more. */
int op_unwatch(rados_ioctx_t io, uint64_t handle, int64_t deadline);
int op_watch_flush(rados_t rados, int64_t deadline);
