/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "volume/clone.h"

/* radosvol clone VOLUME[@SNAPSHOT] NEW */

#define CLONE_MS 60000

struct clone_args {
    struct cli *cli;
    const char *source;
    const char *name;
    struct volume_options options;
};

static void take_option(struct clone_args *args, char *word, struct argp_state *state)
{
    char *value = strchr(word, '=');
    struct error err;

    if (!value) {
        argp_error(state, "'%s' is no option: use KEY=VALUE, such as size=20G", word);
        return;
    }
    *value++ = '\0';
    if (strcmp(word, "from") == 0)
        argp_error(state, "the source is the first argument, not an option");
    else if (volume_options_set(&args->options, word, value, &err) < 0)
        argp_error(state, "%s", err.text);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct clone_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case 'o':
        take_option(args, arg, state);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            args->source = arg;
        else if (state->arg_num == 1)
            args->name = arg;
        else
            argp_error(state, "too many arguments");
        return 0;
    case ARGP_KEY_END:
        if (!args->name)
            argp_error(state, "which volume, and as what? VOLUME and NEW are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"opt", 'o', "KEY=VALUE", 0, "an option of the new volume, as for 'docker volume create'", 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "VOLUME[@SNAPSHOT] NEW",
    .doc =
        "Make the volume NEW, which begins as what the snapshot holds, or what VOLUME holds now, "
        "at once and without a copy.\vA mounted volume is frozen for the moment that takes. "
        "The two share data until one of them writes; VOLUME cannot be removed before "
        "'radosvol flatten NEW', or NEW is removed.",
    .children = cli_common,
};

/* The source is asked for in the words of `-o from=`, so that the volume says where it is from. */
int cli_clone(const struct cli *cli, const char *source, const char *name,
              struct volume_options *from, struct error *err)
{
    cleanup_cluster struct cluster *cluster = NULL;
    json_t *result;
    int r = volume_options_set(from, "from", source, err);

    if (r == 0)
        r = cli_connect(cli, &cluster, err);
    if (r < 0)
        return r;
    progress("cloning");
    r = volume_clone_from(cluster, name, from, deadline_in_ms(CLONE_MS), err);
    progress_end();
    if (r < 0)
        return r;
    result = json_object();
    object_add_text(result, "volume", name);
    object_add_text(result, "from", source);
    object_print(cli, result);
    return 0;
}

int command_clone(struct cli *cli, int argc, char *argv[])
{
    struct clone_args args = {.cli = cli};
    struct error err;
    int r;

    volume_options_init(&args.options, 0, FILESYSTEM_EXT4);
    cli_parse(cli, &argp, argc, argv, &args);
    r = cli_clone(cli, args.source, args.name, &args.options, &err);
    volume_options_free(&args.options);
    return r < 0 ? cli_fail(&err) : 0;
}
