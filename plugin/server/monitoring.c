/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/monitoring.h"

#include "base/clock.h"
#include "plugin/server/cluster_link.h"
#include "plugin/server/metrics.h"
#include "plugin/server/volume_driver.h"

#define LIMIT_MS    5000
#define HEALTH_MS   2000
#define UNAVAILABLE 503

static void metrics(void *service, const struct json_request *request, int64_t deadline,
                    struct reply *reply)
{
    const struct volume_driver *driver = service;

    (void)request;
    (void)deadline;
    metrics_answer(driver->metrics, reply);
}

static void answer_unhealthy(struct reply *reply, const char *words)
{
    reply_err(reply, words);
    reply->status = UNAVAILABLE;
}

/* Who asks again and again while the cluster is away does not wait for it each time. */
static bool quick_health(void *service, const struct json_request *request, struct reply *reply)
{
    const struct volume_driver *driver = service;
    char away[ERROR_TEXT_MAX];

    (void)request;
    if (!cluster_link_is_away(driver->link, away, sizeof(away)))
        return false;
    answer_unhealthy(reply, away);
    return true;
}

static void health(void *service, const struct json_request *request, int64_t deadline,
                   struct reply *reply)
{
    const struct volume_driver *driver = service;
    struct error err = {0};

    (void)request;
    if (cluster_link_ask(driver->link, deadline_earlier(deadline, deadline_in_ms(HEALTH_MS)),
                         &err) < 0)
        answer_unhealthy(reply, err.text);
    else
        reply_err(reply, "");
}

const struct endpoint monitoring_endpoints[] = {
    {.path = "/metrics",
     .is_get = true,
     .handle = metrics,
     .limit_ms = LIMIT_MS,
     .late = "nothing has changed"},
    {.path = "/healthz",
     .is_get = true,
     .quick = quick_health,
     .handle = health,
     .limit_ms = LIMIT_MS,
     .late = "nothing has changed"},
    {0},
};
