/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/blockd_args.h"

#include <stdio.h>

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {[LOG_LEVEL_ERROR] = "error",
                                        [LOG_LEVEL_WARNING] = "warning",
                                        [LOG_LEVEL_INFO] = "info",
                                        [LOG_LEVEL_DEBUG] = "debug"};

    return names[level];
}

void blockd_args_make(const struct settings *settings, const struct volume_facts *facts,
                      const char *token, uint32_t block_bytes, bool read_only,
                      struct blockd_args *ret)
{
    const struct settings *s = settings;
    const char *mode = facts->read_only    ? "--shared"
                       : read_only         ? "--read-only"
                       : s->fail_when_full ? "--fail-when-full"
                                           : NULL;

    *ret = (struct blockd_args){
        .list = {"--conf",
                 s->ceph_conf,
                 "--client",
                 s->ceph_client,
                 "--pool",
                 s->pool,
                 "--namespace",
                 s->namespace,
                 "--image",
                 facts->id,
                 "--name",
                 facts->name,
                 "--host",
                 s->host,
                 "--token",
                 token,
                 "--watch-timeout",
                 ret->watch_timeout,
                 "--block-size",
                 block_bytes == 512 ? "512" : "4096",
                 "--log-level",
                 level_name(s->log_level),
                 "--backend",
                 s->backend,
                 mode},
    };
    snprintf(ret->watch_timeout, sizeof(ret->watch_timeout), "%u", s->watch_timeout_s);
}
