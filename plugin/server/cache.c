/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "plugin/server/cache_table.h"

#define WRITE_AFTER_MS 2000 /* changes that come together are written together */
#define FILE_BYTES_MAX (256 * 1024 * 1024)

struct cache {
    char *file;
    pthread_t writer;
    pthread_mutex_t lock; /* everything below; a leaf */
    pthread_cond_t changed;
    struct cache_table table;
    bool dirty;
    bool closing;
};

static int write_file(struct cache *cache, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t len;
    int r;

    pthread_mutex_lock(&cache->lock);
    r = cache_table_encode(&cache->table, &text, &len);
    if (r == 0)
        cache->dirty = false;
    pthread_mutex_unlock(&cache->lock);
    if (r < 0)
        return error_errno(err, r, "cannot write '%s'", cache->file);
    return file_replace(cache->file, text, len, err);
}

/* Wait for a change, then a little longer for more of them. Whether there is something to write. */
static bool wait_for_changes(struct cache *cache)
{
    struct timespec until;
    WITH_LOCK(&cache->lock);

    while (!cache->dirty && !cache->closing)
        pthread_cond_wait(&cache->changed, &cache->lock);
    until = deadline_timespec(deadline_in_ms(WRITE_AFTER_MS));
    while (!cache->closing) {
        if (pthread_cond_timedwait(&cache->changed, &cache->lock, &until) == ETIMEDOUT)
            break;
    }
    return cache->dirty;
}

static void *writer_main(void *arg)
{
    struct cache *cache = arg;
    bool failed_before = false;

    pthread_setname_np(pthread_self(), "cache");
    for (;;) {
        struct error err = {0};

        if (!wait_for_changes(cache))
            return NULL;
        if (write_file(cache, &err) < 0) {
            if (!failed_before)
                log_warning("the cache of volumes is kept in memory only: %s", err.text);
            failed_before = true;
        } else {
            failed_before = false;
        }
    }
}

static void load(struct cache *cache)
{
    cleanup_free char *text = NULL;
    struct error err = {0};
    size_t len;
    int r = file_read(cache->file, FILE_BYTES_MAX, &text, &len, &err);

    if (r == 0)
        r = cache_table_decode(text, len, &cache->table, &err);
    if (r < 0 && r != -ENOENT)
        log_warning("'%s' is not used and will be written anew: %s", cache->file, err.text);
}

int cache_open(const char *file, struct cache **ret, struct error *err)
{
    struct cache *cache = calloc(1, sizeof(*cache));
    int r;

    if (!cache)
        return error_errno(err, -ENOMEM, "cannot make the cache of volumes");
    pthread_mutex_init(&cache->lock, NULL);
    clock_init_cond(&cache->changed);
    cache->file = strdup(file);
    if (cache->file)
        load(cache);
    r = cache->file ? pthread_create(&cache->writer, NULL, writer_main, cache) : ENOMEM;
    if (r != 0) {
        cache_table_free(&cache->table);
        free(cache->file);
        free(cache);
        return error_errno(err, -r, "cannot start the writer of '%s'", file);
    }
    *ret = cache;
    return 0;
}

void cache_close(struct cache *cache)
{
    if (!cache)
        return;
    pthread_mutex_lock(&cache->lock);
    cache->closing = true;
    pthread_cond_signal(&cache->changed);
    pthread_mutex_unlock(&cache->lock);
    pthread_join(cache->writer, NULL);
    cache_table_free(&cache->table);
    pthread_cond_destroy(&cache->changed);
    pthread_mutex_destroy(&cache->lock);
    free(cache->file);
    free(cache);
}

/* Called with the lock held. */
static void mark(struct cache *cache, bool changed)
{
    if (!changed || cache->dirty)
        return;
    cache->dirty = true;
    pthread_cond_signal(&cache->changed);
}

void cache_put(struct cache *cache, const char *name, int64_t created, const char *status)
{
    WITH_LOCK(&cache->lock);
    bool changed;

    /* A cache that is full or out of memory just knows less. */
    if (cache_table_put(&cache->table, name, created, status, clock_now(), &changed) == 0)
        mark(cache, changed);
}

void cache_drop(struct cache *cache, const char *name)
{
    WITH_LOCK(&cache->lock);

    mark(cache, cache_table_drop(&cache->table, name));
}

void cache_take_names(struct cache *cache, const char *const names[], size_t count, int64_t started)
{
    WITH_LOCK(&cache->lock);

    mark(cache, cache_table_take_names(&cache->table, names, count, started, clock_now()));
}

int cache_get(struct cache *cache, const char *name, int64_t *ret_created, char **ret_status)
{
    WITH_LOCK(&cache->lock);
    const struct cache_volume *volume = cache_table_find(&cache->table, name);

    if (!volume)
        return -ENOENT;
    *ret_created = volume->created;
    *ret_status = volume->status ? strdup(volume->status) : NULL;
    return 0;
}

int cache_names(struct cache *cache, char ***ret, size_t *ret_count)
{
    WITH_LOCK(&cache->lock);
    const struct cache_table *table = &cache->table;
    size_t pointers = (table->count + 1) * sizeof(char *);
    size_t bytes = pointers;
    char **names;
    char *at;

    if (!table->filled && table->count == 0)
        return -ENODATA;
    for (size_t i = 0; i < table->count; i++)
        bytes += strlen(table->volumes[i]->name) + 1;
    names = malloc(bytes);
    if (!names)
        return -ENOMEM;
    at = (char *)names + pointers;
    for (size_t i = 0; i < table->count; i++) {
        names[i] = at;
        at = stpcpy(at, table->volumes[i]->name) + 1;
    }
    *ret = names;
    *ret_count = table->count;
    return 0;
}
