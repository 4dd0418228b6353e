/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/holder.h"
#include "cli/table.h"
#include "volume/survey.h"

/* radosvol ls */

#define LS_MS (300 * 1000)

struct ls_args {
    struct cli *cli;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct ls_args *args = state->input;

    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    cli_init_children(state, args->cli, cli_common);
    return 0;
}

static const struct argp argp = {
    .parser = parse,
    .doc = "List the volumes. USED is what it was at the last unmount.",
    .children = cli_common,
};

static void add_volume(struct table *table, const struct volume_facts *facts)
{
    enum { NAME, SIZE, USED, FS, OWNER, HOLDER, SINCE };

    table_row(table);
    table_text(table, NAME, facts->name);
    table_number(table, SIZE, facts->size);
    if (facts->used != UINT64_MAX)
        table_number(table, USED, facts->used);
    if (facts->formatted)
        table_text(table, FS, filesystem_name(facts->fs));
    table_text(table, OWNER, facts->owner);
    if (facts->lock.count > 0) {
        struct holder_text holder;

        holder_text(&facts->lock, &holder);
        table_text(table, HOLDER, holder.host);
        table_text(table, SINCE, holder.since);
    }
}

/* What can be read is printed, also when something cannot. */
static int print(const struct cli *cli, const struct volume_survey *survey)
{
    static const struct column columns[] = {
        {"NAME", COLUMN_TEXT},  {"SIZE", COLUMN_SIZE},  {"USED", COLUMN_SIZE},
        {"FS", COLUMN_TEXT},    {"OWNER", COLUMN_TEXT}, {"HOLDER", COLUMN_TEXT},
        {"SINCE", COLUMN_TEXT},
    };
    struct table *table = table_new(cli, "volumes", columns, sizeof(columns) / sizeof(columns[0]));
    int status = 0;

    for (size_t i = 0; i < survey->count; i++) {
        const struct volume_report *report = &survey->items[i];

        if (report->err.code < 0)
            status = cli_fail(&report->err);
        else
            add_volume(table, &report->facts);
    }
    table_print(table, stdout);
    return status;
}

int command_ls(struct cli *cli, int argc, char *argv[])
{
    const struct volume_survey_request request = {.progress = progress_of_survey};
    cleanup_volume_survey struct volume_survey survey = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    struct ls_args args = {.cli = cli};
    struct error err;

    cli_parse(cli, &argp, argc, argv, &args);
    if (cli_connect(cli, &cluster, &err) < 0 ||
        volume_survey(cluster, &request, deadline_in_ms(LS_MS), &survey, &err) < 0)
        return cli_fail(&err);
    progress_end();
    return print(cli, &survey);
}
