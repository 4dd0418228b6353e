/* SPDX-License-Identifier: Apache-2.0 */
#include "block/io_pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define BUFFER_ALIGNMENT 4096

/* Small reads are what databases do, large ones what read-ahead does, and huge ones what NBD sends
 * where an administrator has raised the device's max_sectors_kb. KEPT bounds the memory an idle
 * volume holds on to; RESERVED buffers are made at the start and never given back, so that waiting
 * for one always ends. What was never written to costs no memory. */
enum { SMALL, LARGE, HUGE, SIZES };
static const struct buffer_size {
    size_t bytes;
    unsigned kept;
    unsigned reserved;
} buffer_sizes[SIZES] = {
    [SMALL] = {.bytes = 64 * 1024, .kept = 64, .reserved = 4},
    [LARGE] = {.bytes = 1024 * 1024, .kept = 16, .reserved = 2},
    [HUGE] = {.bytes = IO_POOL_MAX, .kept = 1, .reserved = 1},
};

/* An idle buffer holds the way to the next one in its own first bytes. */
struct idle_buffer {
    struct idle_buffer *next;
};

struct io_pool {
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t returned;
    struct io_call *idle_calls;
    unsigned total, idle;
    int sizes; /* of buffers that are used */
    struct idle_buffer *idle_buffers[SIZES];
    unsigned idle_count[SIZES];
    struct io_call calls[];
};

static void put_buffer(struct io_pool *pool, int size, void *buffer)
{
    struct idle_buffer *head = buffer;

    if (pool->idle_count[size] >= buffer_sizes[size].kept) {
        free(buffer);
        return;
    }
    head->next = pool->idle_buffers[size];
    pool->idle_buffers[size] = head;
    pool->idle_count[size]++;
}

/* NULL when one has to wait. */
static void *get_buffer(struct io_pool *pool, int size)
{
    struct idle_buffer *head = pool->idle_buffers[size];

    if (!head)
        return aligned_alloc(BUFFER_ALIGNMENT, buffer_sizes[size].bytes);
    pool->idle_buffers[size] = head->next;
    pool->idle_count[size]--;
    return head;
}

static int size_for(size_t bytes)
{
    int size = SMALL;

    while (size < HUGE && buffer_sizes[size].bytes < bytes)
        size++;
    return size;
}

int io_pool_open(unsigned calls, size_t buffer_max, struct io_pool **ret)
{
    struct io_pool *pool = calloc(1, sizeof(*pool) + calls * sizeof(pool->calls[0]));

    if (!pool)
        return -ENOMEM;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->returned, NULL);
    pool->total = pool->idle = calls;
    pool->sizes = size_for(buffer_max) + 1;
    for (unsigned i = 0; i < calls; i++) {
        pool->calls[i].next = pool->idle_calls;
        pool->idle_calls = &pool->calls[i];
    }
    for (int size = 0; size < pool->sizes; size++) {
        for (unsigned i = 0; i < buffer_sizes[size].reserved; i++) {
            void *buffer = aligned_alloc(BUFFER_ALIGNMENT, buffer_sizes[size].bytes);

            if (!buffer) {
                io_pool_free(pool);
                return -ENOMEM;
            }
            put_buffer(pool, size, buffer);
        }
    }
    *ret = pool;
    return 0;
}

struct io_call *io_pool_get(struct io_pool *pool, size_t buffer_bytes)
{
    WITH_LOCK(&pool->lock);
    struct io_call *call;
    int size = size_for(buffer_bytes);
    void *buffer = NULL;

    assert(size < pool->sizes && buffer_bytes <= buffer_sizes[size].bytes);
    while (buffer_bytes > 0 && !(buffer = get_buffer(pool, size)))
        pthread_cond_wait(&pool->returned, &pool->lock);
    while (!pool->idle_calls)
        pthread_cond_wait(&pool->returned, &pool->lock);
    call = pool->idle_calls;
    pool->idle_calls = call->next;
    pool->idle--;
    call->buffer = buffer;
    call->size = size;
    return call;
}

void io_pool_put(struct io_pool *pool, struct io_call *call)
{
    WITH_LOCK(&pool->lock);

    if (call->buffer)
        put_buffer(pool, call->size, call->buffer);
    call->buffer = NULL;
    call->next = pool->idle_calls;
    pool->idle_calls = call;
    pool->idle++;
    /* Readers wait for calls and buffers, io_pool_free waits for the last call. */
    pthread_cond_broadcast(&pool->returned);
}

unsigned io_pool_busy(struct io_pool *pool)
{
    WITH_LOCK(&pool->lock);

    return pool->total - pool->idle;
}

static void wait_until_idle(struct io_pool *pool)
{
    WITH_LOCK(&pool->lock);

    while (pool->idle < pool->total)
        pthread_cond_wait(&pool->returned, &pool->lock);
}

void io_pool_free(struct io_pool *pool)
{
    if (!pool)
        return;
    wait_until_idle(pool);
    for (int size = 0; size < SIZES; size++) {
        while (pool->idle_count[size] > 0)
            free(get_buffer(pool, size));
    }
    pthread_cond_destroy(&pool->returned);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
