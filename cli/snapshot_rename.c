/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "volume/snapshots.h"

/* radosvol snapshot rename VOLUME@SNAPSHOT NEW */

#define RENAME_MS 30000

struct rename_args {
    struct cli *cli;
    const char *word;
    const char *to;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct rename_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            args->word = arg;
        else if (state->arg_num == 1)
            args->to = arg;
        else
            argp_error(state, "too many arguments");
        return 0;
    case ARGP_KEY_END:
        if (!args->to)
            argp_error(state, "which one, and to what? VOLUME@SNAPSHOT and NEW are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "VOLUME@SNAPSHOT NEW",
    .doc = "Give a snapshot another name.\v"
           "What it holds, its protection and the volumes cloned from it stay, and the volume may "
           "be in use. NEW is the snapshot's name alone, without the volume.",
    .children = cli_common,
};

static int rename_snapshot(const struct cli *cli, const char *word, const char *to,
                           struct error *err)
{
    cleanup_cluster struct cluster *cluster = NULL;
    char volume[RBD_NAME_MAX];
    char snapshot[SNAPSHOT_NAME_MAX];
    json_t *result;
    int r = volume_parse_snapshot(word, volume, snapshot, err);

    if (r == 0)
        r = cli_connect(cli, &cluster, err);
    if (r == 0)
        r = volume_snapshot_rename(cluster, volume, snapshot, to, deadline_in_ms(RENAME_MS), err);
    if (r < 0)
        return r;
    result = json_object();
    object_add_text(result, "volume", volume);
    object_add_text(result, "snapshot", to);
    object_add_text(result, "before", snapshot);
    object_print(cli, result);
    return 0;
}

int command_snapshot_rename(struct cli *cli, int argc, char *argv[])
{
    struct rename_args args = {.cli = cli};
    struct error err;

    cli_parse(cli, &argp, argc, argv, &args);
    return rename_snapshot(cli, args.word, args.to, &err) < 0 ? cli_fail(&err) : 0;
}
