/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/cluster_link.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "image/image.h"

#define CONNECT_MS     10000 /* one attempt */
#define PROBE_MS       2000
#define PAUSE_MS       1000     /* between attempts and between probes */
#define HARD_FAIL_MS   5000     /* patience with a failure that waiting seldom cures */
#define ANEW_MS        15000    /* without an answer, until another connection is tried */
#define PROBE_NAME     "/probe" /* no rbd tool can make an image with a slash in its name */
#define TIME_TEXT_SIZE 32

struct handle {
    struct cluster *cluster;
    unsigned users;
    LIST_ENTRY(handle) next;
};

struct cluster_link {
    const struct settings *settings;
    const char *token;
    pthread_t thread;
    pthread_mutex_t lock; /* everything below; a leaf, never held over a call to the cluster */
    pthread_cond_t changed;
    struct handle *current;                 /* NULL: connecting */
    LIST_HEAD(handle_list, handle) retired; /* given up, and some still in use */
    int64_t try_anew;                       /* when, if there is still no answer; the thread's */
    bool failing;                           /* `why` and `since` say what is wrong */
    struct error why;
    time_t since;
    time_t contact; /* of the last answer */
    uint64_t connected;
    bool stopping;
    bool ended;
};

/* Called with the lock held. */
static void fail_locked(struct cluster_link *link, const struct error *why)
{
    if (!link->failing)
        link->since = time(NULL);
    if (!link->failing || strcmp(link->why.text, why->text) != 0)
        log_error("cluster: %s", why->text);
    link->failing = true;
    link->why = *why;
    pthread_cond_broadcast(&link->changed);
}

static void fail(struct cluster_link *link, const struct error *why)
{
    WITH_LOCK(&link->lock);

    fail_locked(link, why);
}

static void recover(struct cluster_link *link)
{
    WITH_LOCK(&link->lock);

    if (link->failing)
        log_info("the cluster answers again");
    link->failing = false;
    link->contact = time(NULL);
    pthread_cond_broadcast(&link->changed);
}

/* Called with the lock held. */
static void retire_blocklisted(struct cluster_link *link)
{
    log_warning("the cluster has blocklisted this server's connection; connecting anew");
    LIST_INSERT_HEAD(&link->retired, link->current, next);
    link->current = NULL;
    pthread_cond_broadcast(&link->changed);
}

static struct handle *connect_handle(struct cluster_link *link, struct error *err)
{
    const struct settings *s = link->settings;
    struct cluster_settings settings = {.conf = s->ceph_conf,
                                        .client = s->ceph_client,
                                        .pool = s->pool,
                                        .namespace = s->namespace,
                                        .token = link->token};
    struct handle *handle = calloc(1, sizeof(*handle));
    int r = handle ? cluster_connect(&settings, CLUSTER_CONTROL, deadline_in_ms(CONNECT_MS),
                                     &handle->cluster, err)
                   : error_errno(err, -ENOMEM, "cannot connect");

    if (r < 0) {
        free(handle);
        return NULL;
    }
    return handle;
}

static void connect_once(struct cluster_link *link)
{
    struct error err = {0};
    struct handle *handle = connect_handle(link, &err);

    if (!handle) {
        fail(link, &err);
        return;
    }
    log_info("connected to the cluster as client.%s, pool '%s'", link->settings->ceph_client,
             link->settings->pool);
    pthread_mutex_lock(&link->lock);
    link->current = handle;
    link->connected++;
    pthread_mutex_unlock(&link->lock);
    recover(link);
}

/* 0: the cluster answers. */
static int ask(struct cluster *cluster, int64_t deadline)
{
    char id[IMAGE_ID_MAX];
    int r = image_find(cluster, PROBE_NAME, deadline, id, NULL);

    return r == -ENOENT ? 0 : r;
}

/* After OSDs had died one after the other, this connection was silent for most of a minute while a
 * new client was answered at once. So the silence of one is not taken for the cluster's. */
static void try_anew(struct cluster_link *link)
{
    struct error err = {0};
    struct handle *handle = connect_handle(link, &err);
    bool answers;

    if (!handle) {
        fail(link, &err);
        return;
    }
    answers = ask(handle->cluster, deadline_in_ms(PROBE_MS)) == 0;
    {
        WITH_LOCK(&link->lock);
        LIST_INSERT_HEAD(&link->retired, answers ? link->current : handle, next);
        if (answers) {
            link->current = handle;
            link->connected++;
        }
    }
    if (answers) {
        log_info("another connection to the cluster takes the place of one without an answer");
        recover(link);
    }
}

static void probe(struct cluster_link *link, struct handle *handle)
{
    const int r = ask(handle->cluster, deadline_in_ms(PROBE_MS));

    if (r == -ETIMEDOUT) {
        if (clock_now() >= link->try_anew)
            try_anew(link);
        else
            return;
    } else if (r == -ESHUTDOWN) {
        WITH_LOCK(&link->lock);

        if (link->current == handle)
            retire_blocklisted(link);
    } else if (r == 0) {
        recover(link);
    }
    link->try_anew = deadline_in_ms(ANEW_MS);
}

/* A retired handle that nobody uses any more, out of the list; or NULL. */
static struct handle *take_unused(struct cluster_link *link)
{
    struct handle *handle = NULL;
    WITH_LOCK(&link->lock);

    LIST_FOREACH(handle, &link->retired, next)
    {
        if (handle->users == 0) {
            LIST_REMOVE(handle, next);
            return handle;
        }
    }
    return NULL;
}

static void close_retired(struct cluster_link *link)
{
    for (struct handle *handle; (handle = take_unused(link));) {
        cluster_close(handle->cluster);
        free(handle);
    }
}

/* Sleep until there is something to do. Returns the handle to probe, or NULL to connect. */
static bool next_step(struct cluster_link *link, bool pause, struct handle **ret)
{
    struct timespec until = deadline_timespec(deadline_in_ms(PAUSE_MS));
    WITH_LOCK(&link->lock);

    while (pause && !link->stopping) {
        if (pthread_cond_timedwait(&link->changed, &link->lock, &until) == ETIMEDOUT)
            break;
    }
    while (link->current && !link->failing && LIST_EMPTY(&link->retired) && !link->stopping)
        pthread_cond_wait(&link->changed, &link->lock);
    *ret = link->current;
    return !link->stopping;
}

static void *link_main(void *arg)
{
    struct cluster_link *link = arg;
    struct handle *handle = NULL;

    pthread_setname_np(pthread_self(), "cluster-link");
    for (bool pause = false; next_step(link, pause, &handle); pause = true) {
        /* Only this thread retires the handle it probes or frees one, so it stays valid here. */
        if (handle)
            probe(link, handle);
        else
            connect_once(link);
        close_retired(link);
    }
    pthread_mutex_lock(&link->lock);
    link->ended = true;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    return NULL;
}

int cluster_link_start(const struct settings *settings, const char *token,
                       struct cluster_link **ret, struct error *err)
{
    struct cluster_link *link = calloc(1, sizeof(*link));
    int r;

    if (!link)
        return error_errno(err, -ENOMEM, "cannot start the link to the cluster");
    link->settings = settings;
    link->token = token;
    LIST_INIT(&link->retired);
    pthread_mutex_init(&link->lock, NULL);
    clock_init_cond(&link->changed);
    r = pthread_create(&link->thread, NULL, link_main, link);
    if (r != 0) {
        free(link);
        return error_errno(err, -r, "cannot start the link to the cluster");
    }
    *ret = link;
    return 0;
}

static bool is_hard(const struct error *why)
{
    return why->code != -ETIMEDOUT && why->code != -ECONNREFUSED && why->code != -ESHUTDOWN;
}

/* Called with the lock held. When the first connection takes longer than a caller waits, the next
 * callers need not wait as well to learn that. */
static int give_up(struct cluster_link *link, struct error *err)
{
    struct error why = {0};

    if (!link->failing) {
        error_set(&why, -ETIMEDOUT, "no answer yet to the first attempt to connect");
        fail_locked(link, &why);
    }
    return error_set(err, link->why.code, "the cluster cannot be used: %s", link->why.text);
}

int cluster_link_get(struct cluster_link *link, int64_t deadline, struct cluster **ret,
                     struct error *err)
{
    int64_t patience = deadline_in_ms(HARD_FAIL_MS);
    WITH_LOCK(&link->lock);

    while (!link->current || link->failing) {
        int64_t until =
            link->failing && is_hard(&link->why) ? deadline_earlier(deadline, patience) : deadline;
        struct timespec ts = deadline_timespec(until);

        if (deadline_left_ms(until) == 0)
            return give_up(link, err);
        pthread_cond_timedwait(&link->changed, &link->lock, &ts);
    }
    link->current->users++;
    *ret = link->current->cluster;
    return 0;
}

/* Called with the lock held. */
static struct handle *find_handle(struct cluster_link *link, const struct cluster *cluster)
{
    struct handle *handle = NULL;

    if (link->current && link->current->cluster == cluster)
        return link->current;
    LIST_FOREACH(handle, &link->retired, next)
    {
        if (handle->cluster == cluster)
            return handle;
    }
    return NULL;
}

void cluster_link_put(struct cluster_link *link, struct cluster *cluster, int result)
{
    bool silent = false;

    pthread_mutex_lock(&link->lock);
    struct handle *handle = find_handle(link, cluster);

    handle->users--;
    if (handle == link->current && result == -ESHUTDOWN)
        retire_blocklisted(link);
    else if (handle == link->current && result == -ETIMEDOUT)
        silent = true;
    else if (handle == link->current)
        link->contact = time(NULL);
    else if (handle->users == 0)
        pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    if (silent) {
        struct error why = {0};

        error_set(&why, -ETIMEDOUT, "no answer in time; see \"ceph -s\"");
        fail(link, &why);
    }
}

int cluster_link_ask(struct cluster_link *link, int64_t deadline, struct error *err)
{
    struct cluster *cluster = NULL;
    int r = cluster_link_get(link, deadline, &cluster, err);

    if (r < 0)
        return r;
    r = ask(cluster, deadline);
    cluster_link_put(link, cluster, r);
    return r < 0 ? error_errno(err, r, "the cluster does not answer") : 0;
}

bool cluster_link_is_away(struct cluster_link *link, char *text, size_t size)
{
    char when[TIME_TEXT_SIZE];
    struct tm tm;
    WITH_LOCK(&link->lock);

    if (!link->failing)
        return false;
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&link->since, &tm));
    snprintf(text, size, "unreachable since %s: %s", when, link->why.text);
    return true;
}

void cluster_link_look(struct cluster_link *link, struct cluster_link_view *ret)
{
    WITH_LOCK(&link->lock);

    *ret = (struct cluster_link_view){
        .reachable = link->current && !link->failing,
        .contact = link->contact,
        .connected = link->connected,
    };
}

void cluster_link_stop(struct cluster_link *link, int64_t deadline)
{
    struct timespec until = deadline_timespec(deadline);
    struct handle *handle = NULL;

    pthread_mutex_lock(&link->lock);
    link->stopping = true;
    pthread_cond_broadcast(&link->changed);
    while (!link->ended) {
        if (pthread_cond_timedwait(&link->changed, &link->lock, &until) == ETIMEDOUT)
            break;
    }
    if (link->ended && link->current && link->current->users == 0 && !link->failing)
        handle = steal_pointer(&link->current);
    pthread_mutex_unlock(&link->lock);
    if (handle) {
        cluster_close(handle->cluster);
        free(handle);
    }
}
