/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "volume/clone.h"

/* radosvol flatten VOLUME */

#define FLATTEN_MS (INT64_C(7) * 24 * 3600 * 1000) /* as long as it takes */

static const char doc[] =
    "Copy what a clone still shares with its source, so that it needs it no more.\v"
    "Where the volume is mounted, its host does it beside the I/O, and goes on should this command "
    "be stopped; what is mounted nowhere cannot be mounted meanwhile. When it is cut off, it goes "
    "on where it was when called again; what the volume holds never changes by it.";

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    uint64_t *objects = arg;

    *objects = total;
    progress("%llu of %llu objects", (unsigned long long)done, (unsigned long long)total);
}

static int flatten(const struct cli *cli, const char *name, struct error *err)
{
    cleanup_cluster struct cluster *cluster = NULL;
    uint64_t objects = 0;
    json_t *result;
    int r = cli_connect(cli, &cluster, err);

    if (r < 0)
        return r;
    r = volume_flatten(cluster, name, on_progress, &objects, deadline_in_ms(FLATTEN_MS), err);
    progress_end();
    if (r < 0)
        return r;
    result = json_object();
    object_add_text(result, "volume", name);
    object_add(result, "objects", json_integer((json_int_t)objects));
    object_print(cli, result);
    return 0;
}

int command_flatten(struct cli *cli, int argc, char *argv[])
{
    const char *name = cli_parse_word(cli, "VOLUME", doc, cli_common, argc, argv);
    struct error err;

    return flatten(cli, name, &err) < 0 ? cli_fail(&err) : 0;
}
