/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "volume/volume.h"

/* What radosvol has no command for, because Docker asks for it: volumes come and go, as the
 * plugin's server makes them do so.
 *
 *   lifecycle create NAME OPTION=VALUE...
 *   lifecycle remove NAME SECONDS             keep it in the trash for so long; 0: delete it
 *   lifecycle sweep
 *
 * CEPH_CONF, RADOS_NAMESPACE; TOKEN: of the server and its predecessors (cluster.h). Ends with 0,
 * or with 1 and says why. A removal or sweep that leaves something for later ends with 0, too, and
 * says "later". */

#define CALL_MS 60000

static int create(struct cluster *cluster, int argc, char *argv[], struct error *err)
{
    struct volume_options options;
    int r = 0;

    volume_options_init(&options, 0, FILESYSTEM_EXT4);
    for (int i = 1; i < argc && r == 0; i++) {
        char *value = strchr(argv[i], '=');

        if (!value) {
            r = error_set(err, -EINVAL, "'%s' is no option", argv[i]);
            break;
        }
        *value++ = '\0';
        r = volume_options_set(&options, argv[i], value, err);
    }
    if (r == 0)
        r = volume_create(cluster, argv[0], &options, "/var/tmp", deadline_in_ms(CALL_MS), err);
    volume_options_free(&options);
    return r;
}

static int later(bool more)
{
    if (more)
        puts("later");
    return 0;
}

static int run(struct cluster *cluster, int argc, char *argv[], struct error *err)
{
    bool more;
    int r;

    if (argc >= 3 && strcmp(argv[1], "create") == 0)
        return create(cluster, argc - 2, argv + 2, err);
    if (argc == 4 && strcmp(argv[1], "remove") == 0) {
        unsigned keep_s = (unsigned)strtoul(argv[3], NULL, 10);

        r = volume_remove(cluster, argv[2], keep_s, deadline_in_ms(CALL_MS), &more, err);
        return r < 0 ? r : later(more);
    }
    if (argc == 2 && strcmp(argv[1], "sweep") == 0) {
        r = volume_sweep(cluster, deadline_in_ms(CALL_MS), err);
        return r < 0 && r != -EAGAIN ? r : later(r == -EAGAIN);
    }
    return error_set(err, -EINVAL, "see the head of this file");
}

int main(int argc, char *argv[])
{
    const char *namespace = getenv("RADOS_NAMESPACE");
    const struct cluster_settings settings = {.conf = getenv("CEPH_CONF"),
                                              .client = "docker",
                                              .pool = "docker",
                                              .namespace = namespace ? namespace : "",
                                              .token = getenv("TOKEN")};
    struct cluster *cluster = NULL;
    struct error err = {0};
    int r;

    if (!settings.conf) {
        fputs("lifecycle: CEPH_CONF is not set\n", stderr);
        return 2;
    }
    r = cluster_connect(&settings, CLUSTER_CONTROL, deadline_in_ms(CALL_MS), &cluster, &err);
    if (r == 0)
        r = run(cluster, argc, argv, &err);
    cluster_close(cluster);
    if (r < 0)
        fprintf(stderr, "lifecycle: %s\n", err.text);
    return r < 0;
}
