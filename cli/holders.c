/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/holder.h"
#include "volume/survey.h"

/* radosvol holders [VOLUME...] */

#define HOLDERS_MS (300 * 1000)

struct holders_args {
    struct cli *cli;
    const char **names;
    size_t count;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct holders_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case ARGP_KEY_ARG:
        args->names[args->count++] = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "[VOLUME...]",
    .doc = "Show who holds volumes, all or the ones named, and whether that client lives; of "
           "volumes with access=ro, all who have them open:\v"
           "alive: it answers. silent: it does not answer, and the cluster has not given it up "
           "yet. dead: the cluster has given it up; the next mount takes the volume over by "
           "itself. foreign: a lock made by hand or by another program; nobody can tell.",
    .children = cli_common,
};

static int print(const struct cli *cli, const struct volume_survey *survey)
{
    cleanup_free const struct volume_report **held = calloc(survey->count + 1, sizeof(void *));
    size_t count = 0;
    int status = 0;

    if (!held)
        return cli_fail_words("out of memory");
    for (size_t i = 0; i < survey->count; i++) {
        const struct volume_report *report = &survey->items[i];

        if (report->err.code < 0)
            status = cli_fail(&report->err);
        if (report->facts.lock.count > 0 || report->readers.count > 0)
            held[count++] = report;
    }
    holder_print(cli, held, count);
    return status;
}

int command_holders(struct cli *cli, int argc, char *argv[])
{
    cleanup_free const char **names = calloc((size_t)argc, sizeof(*names));
    cleanup_volume_survey struct volume_survey survey = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    struct holders_args args = {.cli = cli, .names = names};
    struct volume_survey_request request = {.look = true, .progress = progress_of_survey};
    struct error err;

    if (!names)
        return cli_fail_words("out of memory");
    cli_parse(cli, &argp, argc, argv, &args);
    request.names = args.count > 0 ? names : NULL;
    request.count = args.count;
    if (cli_connect(cli, &cluster, &err) < 0 ||
        volume_survey(cluster, &request, deadline_in_ms(HOLDERS_MS), &survey, &err) < 0)
        return cli_fail(&err);
    progress_end();
    return print(cli, &survey);
}
