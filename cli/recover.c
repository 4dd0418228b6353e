/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/create_line.h"
#include "cli/holder.h"
#include "cli/table.h"
#include "volume/displace.h"
#include "volume/survey.h"

/* radosvol recover --host HOST: every volume that a host holds, by what its locks say, is taken
 * from it. Each volume has a client of its own, so each is fenced once and for itself; one that
 * fails does not keep the others. */

#define SURVEY_MS   (300 * 1000)
#define DISPLACE_MS 60000

struct recover_args {
    struct cli *cli;
    const char *host;
};

enum { KEY_HOST = 0x200 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct recover_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common_ask);
        return 0;
    case KEY_HOST:
        args->host = arg;
        return 0;
    case ARGP_KEY_END:
        if (!args->host)
            argp_error(state, "which host? give --host");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"host", KEY_HOST, "HOST", 0, "the host that is lost, as 'radosvol holders' names it", 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .doc = "Free all volumes that a lost host holds, and print the commands that make them known "
           "to Docker on another host.",
    .children = cli_common_ask,
};

struct recovery {
    const struct volume_report **held; /* by the host */
    size_t count;
    json_t *volumes; /* the result, one object a volume */
    bool failed;
};

static bool held_by(const struct volume_report *report, const char *host)
{
    struct holder_text holder;

    if (report->facts.lock.count == 0)
        return false;
    holder_text(&report->facts.lock, &holder);
    return strcmp(holder.host, host) == 0;
}

/* Reports of what HOST holds. Volumes that cannot be read may be among them: they are named. */
static void pick(const struct volume_survey *survey, const char *host, struct recovery *recovery)
{
    for (size_t i = 0; i < survey->count; i++) {
        const struct volume_report *report = &survey->items[i];

        if (report->err.code < 0) {
            cli_fail(&report->err);
            recovery->failed = true;
        }
        if (held_by(report, host))
            recovery->held[recovery->count++] = report;
    }
}

static void announce(const char *host, const struct recovery *recovery)
{
    fprintf(stderr, "Host %s holds %zu volume(s):\n", host, recovery->count);
    holder_announce(recovery->held, recovery->count);
    fprintf(
        stderr,
        "Recovering them\n"
        "  - has the cluster refuse everything from the clients above, and from no others: what "
        "they\n"
        "    have not written yet is lost, and programs on %s that use these volumes get I/O "
        "errors;\n"
        "  - breaks their locks, so that any host can mount the volumes.\n",
        host);
}

static json_t *create_words(const struct create_line *line)
{
    json_t *words = json_array();

    for (size_t i = 0; i < line->count; i++)
        json_array_append_new(words, json_string(line->words[i]));
    return words;
}

static void add_command(const struct cli *cli, const struct volume_facts *facts, json_t *object)
{
    char driver[DRIVER_NAME_MAX];
    struct create_line line;
    char *text;

    if (volume_name_check(facts->name, NULL) < 0)
        return; /* an image of another tool, with a name that Docker knows no volume by */
    create_line_driver(cli->settings.socket, driver);
    if (create_line_make(driver, facts, &line) < 0 || !(text = create_line_text(&line)))
        exit(cli_fail_words("out of memory"));
    object_add_text(object, "command", text);
    object_add(object, "words", create_words(&line));
    free(text);
    create_line_free(&line);
}

static void recover_one(const struct cli *cli, struct cluster *cluster,
                        const struct volume_report *report, struct recovery *recovery)
{
    json_t *object = json_object();
    struct error err = {0};
    int r = volume_displace(cluster, &report->facts, cli->settings.host,
                            "an operator recovered all volumes of that host",
                            deadline_in_ms(DISPLACE_MS), &err);

    object_add_text(object, "volume", report->name);
    object_add(object, "from", holder_json(&report->facts.lock, report->life));
    object_add(object, "free", json_boolean(r == 0 || r == -ENOENT));
    if (r < 0 && r != -ENOENT) { /* -ENOENT: it let go by itself */
        object_add_text(object, "error", err.text);
        cli_fail(&err);
        recovery->failed = true;
    } else {
        add_command(cli, &report->facts, object);
    }
    json_array_append_new(recovery->volumes, object);
}

/* As text, only the commands are on stdout: it can be given to a shell. */
static void print(const struct cli *cli, const char *host, json_t *volumes)
{
    if (cli->json) {
        json_t *object = json_object();

        object_add_text(object, "host", host);
        object_add(object, "volumes", json_incref(volumes));
        object_print(cli, object);
        return;
    }
    fprintf(stderr, "Run these where the volumes are to be used from now on:\n");
    for (size_t i = 0; i < json_array_size(volumes); i++) {
        const json_t *command = json_object_get(json_array_get(volumes, i), "command");

        if (command)
            puts(json_string_value(command));
    }
}

static int recover(const struct cli *cli, struct cluster *cluster, const char *host,
                   struct recovery *recovery)
{
    struct error err;

    if (recovery->count == 0)
        return cli_fail_words("host '%s' holds no volume; 'radosvol holders' shows who holds what",
                              host);
    announce(host, recovery);
    if (cli_confirm(cli, &err) < 0)
        return cli_fail(&err);
    for (size_t i = 0; i < recovery->count; i++) {
        progress("freeing volume '%s', %zu of %zu", recovery->held[i]->name, i + 1,
                 recovery->count);
        recover_one(cli, cluster, recovery->held[i], recovery);
    }
    progress_end();
    print(cli, host, recovery->volumes);
    return recovery->failed ? EXIT_FAILED : 0;
}

int command_recover(struct cli *cli, int argc, char *argv[])
{
    const struct volume_survey_request request = {.look = true, .progress = progress_of_survey};
    cleanup_volume_survey struct volume_survey survey = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    struct recover_args args = {.cli = cli};
    struct recovery recovery = {0};
    struct error err;
    int status;

    cli_parse(cli, &argp, argc, argv, &args);
    if (cli_connect(cli, &cluster, &err) < 0 ||
        volume_survey(cluster, &request, deadline_in_ms(SURVEY_MS), &survey, &err) < 0)
        return cli_fail(&err);
    progress_end();
    recovery.held = calloc(survey.count + 1, sizeof(void *));
    recovery.volumes = json_array();
    if (!recovery.held || !recovery.volumes)
        return cli_fail_words("out of memory");
    pick(&survey, args.host, &recovery);
    status = recover(cli, cluster, args.host, &recovery);
    json_decref(recovery.volumes);
    free(recovery.held);
    return status;
}
