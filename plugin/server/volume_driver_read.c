/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/server/volume_driver.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "plugin/server/status.h"
#include "volume/volume.h"

/* dockerd forgets a volume, its labels and options for good, when Get answers "Err". So:
 *
 *   the cluster says   cache knows the name   answer to Get
 *   it exists          -                      the facts; the cache learns them
 *   no such volume     -                      Err; the cache forgets it
 *   nothing            yes                    what was known, with Status.cluster saying why
 *   nothing            no                     none: the connection is closed; dockerd keeps its
 *                                             record
 *
 * List likewise; it has no answer only when nothing was ever known. Once the cluster is known to be
 * away both answer without trying again (the link probes it). */

#define LINK_MS   1000 /* for a connection that was never made yet */
#define GET_MS    1000
#define LIST_MS   5000
#define BLOCKD_MS 300 /* for its health; not worth waiting for */

#define AWAY_MAX (ERROR_TEXT_MAX + 64)

static void view_freep(struct mounts_view *view)
{
    free(view->ids);
}
#define cleanup_view __attribute__((cleanup(view_freep)))

json_t *volume_driver_show(struct volume_driver *driver, const char *name, int64_t created,
                           json_t *status, const char *cluster)
{
    cleanup_view struct mounts_view view;
    struct blockd_reply blockd;
    bool asked = false;
    bool reachable = strcmp(cluster, "reachable") == 0;

    mounts_look(driver->mounts, name, &view);
    if (reachable && (view.mounted || view.lingering)) {
        struct attach attach = {.settings = driver->settings};

        blockd.result =
            attach_status(&attach, view.image_id, deadline_in_ms(BLOCKD_MS), &blockd, NULL);
        asked = blockd.result == 0 || blockd.result == -ENODEV;
    }
    if (status && (status_add_host(status, &view, asked ? &blockd : NULL) < 0 ||
                   json_object_set_new(status, "cluster", reply_text(cluster)) < 0)) {
        json_decref(status);
        status = NULL;
    }
    return status_volume_reply(name, view.target, created, status);
}

static void answer_get(struct volume_driver *driver, const char *name, int64_t created,
                       json_t *status, const char *cluster, struct reply *reply)
{
    reply_json(reply, volume_driver_show(driver, name, created, status, cluster));
}

/* What was last known, or no answer. */
static void answer_get_from_cache(struct volume_driver *driver, const char *name, const char *away,
                                  struct reply *reply)
{
    cleanup_free char *text = NULL;
    json_t *status = NULL;
    int64_t created;

    if (cache_get(driver->cache, name, &created, &text) < 0) {
        log_warning("Get of volume '%s' is left without an answer: nothing is known of it and the "
                    "cluster is %s",
                    name, away);
        reply_drop(reply);
        return;
    }
    if (text)
        status = json_loads(text, 0, NULL);
    answer_get(driver, name, created, status ? status : json_object(), away, reply);
}

bool volume_driver_quick_get(void *service, const struct json_request *request, struct reply *reply)
{
    struct volume_driver *driver = service;
    char away[AWAY_MAX];

    if (!cluster_link_is_away(driver->link, away, sizeof(away)))
        return false;
    answer_get_from_cache(driver, request->name, away, reply);
    return true;
}

/* Put the facts into the cache. They come back as Status, NULL when out of memory. */
static json_t *remember(struct volume_driver *driver, const struct volume_facts *facts,
                        const struct snapshots *newest)
{
    json_t *status = status_of_facts(facts, newest);
    cleanup_free char *text = status ? json_dumps(status, JSON_COMPACT) : NULL;

    cache_put(driver->cache, facts->name, facts->created.tv_sec, text);
    return status;
}

void volume_driver_learn(struct volume_driver *driver, struct cluster *cluster, const char *name)
{
    cleanup_volume_facts struct volume_facts facts = {0};

    cache_put(driver->cache, name, 0, NULL);
    if (volume_read(cluster, name, deadline_in_ms(GET_MS), &facts, NULL) == 0)
        json_decref(remember(driver, &facts, NULL));
}

void volume_driver_get(void *service, const struct json_request *request, int64_t deadline,
                       struct reply *reply)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    struct volume_driver *driver = service;
    struct cluster *cluster = NULL;
    struct error err = {0};
    char away[AWAY_MAX];
    cleanup_snapshots struct snapshots newest = {0};
    struct error full = {0};
    bool listed = false;
    json_t *status;
    int r;

    deadline = deadline_earlier(deadline, deadline_in_ms(GET_MS));
    r = cluster_link_get(driver->link, deadline_in_ms(LINK_MS), &cluster, &err);
    if (r == 0) {
        r = volume_read(cluster, request->name, deadline, &facts, &err);
        if (r == 0 && facts.lock.count > 0) /* for those who write */
            space_look(driver->space, volume_data_pool(cluster, &facts), &full);
        listed = r == 0 && facts.snapshot_count > 0 &&
                 snapshot_list_newest(cluster, facts.id, STATUS_SNAPSHOTS_MAX, deadline, &newest,
                                      NULL) == 0;
        cluster_link_put(driver->link, cluster, r);
    }
    if (r == 0) {
        status = remember(driver, &facts, listed ? &newest : NULL);
        if (status && full.code < 0)
            json_object_set_new(status, "health", reply_text(full.text));
        answer_get(driver, facts.name, facts.created.tv_sec, status, "reachable", reply);
    } else if (cluster && r == -ENOENT) {
        cache_drop(driver->cache, request->name);
        error_set(&err, r, "no such volume: '%s'", request->name);
        reply_err(reply, err.text);
    } else {
        if (!cluster_link_is_away(driver->link, away, sizeof(away)))
            snprintf(away, sizeof(away), "not answering: %s", err.text);
        answer_get_from_cache(driver, request->name, away, reply);
    }
}

static int compare_names(const void *key, const void *name)
{
    return strcmp(key, name);
}

static void print_volume(FILE *stream, const char *name, const char *target)
{
    json_t *json = target ? reply_text(target) : NULL;
    cleanup_free char *quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;

    json_decref(json);
    fprintf(stream, "{\"Name\":\"%s\",\"Mountpoint\":%s}", name, quoted ? quoted : "\"\"");
}

/* Printed, not built as a tree: there may be thousands. Volume names need no escapes. */
static void answer_list(struct volume_driver *driver, const char *const names[], size_t count,
                        struct reply *reply)
{
    size_t mounted_count;
    cleanup_free char(*mounted)[VOLUME_NAME_MAX] = mounts_names(driver->mounts, &mounted_count);
    struct attach attach = {.settings = driver->settings};
    char target[PATH_MAX];
    char *text = NULL;
    size_t len;
    FILE *stream = open_memstream(&text, &len);
    bool bad;

    if (!stream)
        return;
    fputs("{\"Volumes\":[", stream);
    for (size_t i = 0; i < count; i++) {
        bool is_mounted =
            mounted && bsearch(names[i], mounted, mounted_count, sizeof(*mounted), compare_names);

        if (is_mounted)
            attach_target(&attach, names[i], target);
        if (i > 0)
            fputc(',', stream);
        print_volume(stream, names[i], is_mounted ? target : NULL);
    }
    fputs("],\"Err\":\"\"}", stream);
    bad = ferror(stream);
    if (fclose(stream) != 0 || bad)
        free(text);
    else
        reply->body = text;
}

static void answer_list_from_cache(struct volume_driver *driver, const char *away,
                                   struct reply *reply)
{
    cleanup_free char **names = NULL;
    size_t count;
    int r = cache_names(driver->cache, &names, &count);

    if (r == 0) {
        answer_list(driver, (const char *const *)names, count, reply);
        return;
    }
    log_warning("List is left without an answer: nothing is known and the cluster is %s", away);
    reply_drop(reply);
}

bool volume_driver_quick_list(void *service, const struct json_request *request,
                              struct reply *reply)
{
    struct volume_driver *driver = service;
    char away[AWAY_MAX];

    (void)request;
    if (!cluster_link_is_away(driver->link, away, sizeof(away)))
        return false;
    answer_list_from_cache(driver, away, reply);
    return true;
}

/* Images that stock tools named in a way Docker does not allow are no volumes. */
static void answer_list_of_images(struct volume_driver *driver, const struct rbd_pairs *images,
                                  int64_t started, struct reply *reply)
{
    cleanup_free const char **names = calloc(images->count + 1, sizeof(char *));
    size_t count = 0;

    for (size_t i = 0; names && i < images->count; i++) {
        if (volume_name_check(images->items[i].key, NULL) == 0)
            names[count++] = images->items[i].key;
    }
    if (!names)
        return;
    cache_take_names(driver->cache, names, count, started);
    mounts_forget_gone(driver->mounts, names, count);
    answer_list(driver, names, count, reply);
}

void volume_driver_list(void *service, const struct json_request *request, int64_t deadline,
                        struct reply *reply)
{
    struct volume_driver *driver = service;
    int64_t started = clock_now();
    struct rbd_pairs images = {0};
    struct cluster *cluster;
    struct error err = {0};
    int r;

    (void)request;
    deadline = deadline_earlier(deadline, deadline_in_ms(LIST_MS));
    r = cluster_link_get(driver->link, deadline_in_ms(LINK_MS), &cluster, &err);
    if (r == 0) {
        r = volume_list(cluster, deadline, &images, &err);
        cluster_link_put(driver->link, cluster, r);
    }
    if (r == 0)
        answer_list_of_images(driver, &images, started, reply);
    else
        answer_list_from_cache(driver, err.text, reply);
    rbd_pairs_free(&images);
}

bool volume_driver_path(void *service, const struct json_request *request, struct reply *reply)
{
    cleanup_view struct mounts_view view;
    struct volume_driver *driver = service;
    json_t *target;

    mounts_look(driver->mounts, request->name, &view);
    target = reply_text(view.target);
    reply_json(reply, json_pack("{s:o, s:s}", "Mountpoint", target, "Err", ""));
    return true;
}
