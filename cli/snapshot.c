/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "volume/snapshots.h"

/* radosvol snapshot create|ls|rm|protect|unprotect */

#define SNAPSHOT_MS 60000

/* "2026-01-02T03:04:05Z" */
#define TIME_TEXT_MAX 32
static void time_text(const struct timespec *when, char ret[TIME_TEXT_MAX])
{
    struct tm tm;

    ret[0] = '\0';
    if (when->tv_sec > 0 && gmtime_r(&when->tv_sec, &tm))
        strftime(ret, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

struct create_args {
    struct cli *cli;
    const char *volume;
    const char *name; /* NULL: by the time */
};

static error_t parse_create(int key, char *arg, struct argp_state *state)
{
    struct create_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case ARGP_KEY_ARG:
        if (args->name)
            argp_error(state, "one VOLUME and one NAME");
        if (args->volume)
            args->name = arg;
        else
            args->volume = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which VOLUME?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int create(struct cli *cli, int argc, char *argv[])
{
    static const struct argp argp = {
        .parser = parse_create,
        .args_doc = "VOLUME [NAME]",
        .doc = "Take a snapshot, called NAME or by the UTC time.\v"
               "Where the volume is mounted its host freezes the file system for the moment, so "
               "that the snapshot holds a clean one.",
        .children = cli_common,
    };
    cleanup_cluster struct cluster *cluster = NULL;
    struct create_args args = {.cli = cli};
    struct snapshot snapshot = {0};
    char created[TIME_TEXT_MAX];
    struct error err;
    json_t *result;
    int r;

    cli_parse(cli, &argp, argc, argv, &args);
    if (cli_connect(cli, &cluster, &err) < 0)
        return cli_fail(&err);
    progress("taking a snapshot of volume '%s'", args.volume);
    r = volume_snapshot_create(cluster, args.volume, args.name, cli->settings.host,
                               deadline_in_ms(SNAPSHOT_MS), &snapshot, &err);
    progress_end();
    if (r < 0)
        return cli_fail(&err);
    result = json_object();
    time_text(&snapshot.created, created);
    object_add_text(result, "volume", args.volume);
    object_add_text(result, "snapshot", snapshot.name);
    object_add(result, "id", json_integer((json_int_t)snapshot.id));
    object_add(result, "size", json_integer((json_int_t)snapshot.size));
    object_add_text(result, "created", created);
    object_print(cli, result);
    return 0;
}

struct ls_args {
    struct cli *cli;
    const char *volume;
    bool all;
};

static error_t parse_ls(int key, char *arg, struct argp_state *state)
{
    struct ls_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case 'a':
        args->all = true;
        return 0;
    case ARGP_KEY_ARG:
        if (args->volume)
            argp_error(state, "one VOLUME at a time");
        args->volume = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which VOLUME?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_snapshots(const struct cli *cli, const struct snapshots *list, bool all)
{
    enum { NAME, ID, SIZE, CREATED, PROTECTED, CHILDREN, REMOVED, COLUMNS };
    static const struct column columns[COLUMNS] = {
        [NAME] = {"NAME", COLUMN_TEXT},
        [ID] = {"ID", COLUMN_NUMBER},
        [SIZE] = {"SIZE", COLUMN_SIZE},
        [CREATED] = {"CREATED", COLUMN_TEXT},
        [PROTECTED] = {"PROTECTED", COLUMN_BOOLEAN},
        [CHILDREN] = {"CHILDREN", COLUMN_NUMBER},
        [REMOVED] = {"REMOVED", COLUMN_BOOLEAN},
    };
    struct table *table = table_new(cli, "snapshots", columns, all ? COLUMNS : REMOVED);

    for (size_t i = 0; i < list->count; i++) {
        const struct snapshot *snapshot = &list->items[i];
        char created[TIME_TEXT_MAX];

        time_text(&snapshot->created, created);
        table_row(table);
        table_text(table, NAME, snapshot->name);
        table_number(table, ID, snapshot->id);
        table_number(table, SIZE, snapshot->size);
        table_text(table, CREATED, created);
        table_text(table, PROTECTED, snapshot->protected ? "yes" : "no");
        table_number(table, CHILDREN, snapshot->child_count);
        if (all)
            table_text(table, REMOVED, snapshot->trashed ? "yes" : "no");
    }
    table_print(table, stdout);
}

static int ls(struct cli *cli, int argc, char *argv[])
{
    static const struct argp_option options[] = {
        {"all", 'a', NULL, 0, "also those that are removed and kept for their clones", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_ls,
        .args_doc = "VOLUME",
        .doc = "List the snapshots of a volume, the oldest first.\v"
               "CHILDREN are volumes cloned from a snapshot that still need it. How much space a "
               "snapshot keeps is not among the facts: 'rbd du' works it out.",
        .children = cli_common,
    };
    cleanup_snapshots struct snapshots list = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    struct ls_args args = {.cli = cli};
    struct error err;

    cli_parse(cli, &argp, argc, argv, &args);
    if (cli_connect(cli, &cluster, &err) < 0 ||
        volume_snapshot_list(cluster, args.volume, args.all, deadline_in_ms(SNAPSHOT_MS), &list,
                             &err) < 0)
        return cli_fail(&err);
    print_snapshots(cli, &list, args.all);
    return 0;
}

/* Read the word VOLUME@SNAPSHOT and connect. */
static int begin(struct cli *cli, const char *doc, const struct argp_child *children, int argc,
                 char *argv[], char ret_volume[RBD_NAME_MAX], char ret_snapshot[SNAPSHOT_NAME_MAX],
                 struct cluster **ret, struct error *err)
{
    const char *word = cli_parse_word(cli, "VOLUME@SNAPSHOT", doc, children, argc, argv);
    int r = volume_parse_snapshot(word, ret_volume, ret_snapshot, err);

    return r < 0 ? r : cli_connect(cli, ret, err);
}

static int rm_announced(const struct cli *cli, struct cluster *cluster, const char *volume,
                        const char *snapshot, struct error *err)
{
    bool trashed = false;
    json_t *result;
    int r;

    fprintf(stderr, "Snapshot '%s' of volume '%s' will be gone for good.\n", snapshot, volume);
    r = cli_confirm(cli, err);
    if (r < 0)
        return r;
    progress("removing snapshot '%s'", snapshot);
    r = volume_snapshot_remove(cluster, volume, snapshot, cli->settings.host,
                               deadline_in_ms(SNAPSHOT_MS), &trashed, err);
    progress_end();
    if (r < 0)
        return r;
    result = json_object();
    object_add_text(result, "volume", volume);
    object_add_text(result, "removed", snapshot);
    object_add(result, "kept-for-clones", json_boolean(trashed));
    object_print(cli, result);
    return 0;
}

static int rm(struct cli *cli, int argc, char *argv[])
{
    static const char doc[] = "Remove a snapshot.\v"
                              "Volumes cloned from it keep its data until the last of them is "
                              "removed or flattened.";
    cleanup_cluster struct cluster *cluster = NULL;
    char volume[RBD_NAME_MAX];
    char snapshot[SNAPSHOT_NAME_MAX];
    struct error err;

    if (begin(cli, doc, cli_common_ask, argc, argv, volume, snapshot, &cluster, &err) < 0 ||
        rm_announced(cli, cluster, volume, snapshot, &err) < 0)
        return cli_fail(&err);
    return 0;
}

static int set_protection(struct cli *cli, const char *doc, bool protect, int argc, char *argv[])
{
    cleanup_cluster struct cluster *cluster = NULL;
    char volume[RBD_NAME_MAX];
    char snapshot[SNAPSHOT_NAME_MAX];
    struct error err;
    json_t *result;

    if (begin(cli, doc, cli_common, argc, argv, volume, snapshot, &cluster, &err) < 0 ||
        volume_snapshot_protect(cluster, volume, snapshot, protect, deadline_in_ms(SNAPSHOT_MS),
                                &err) < 0)
        return cli_fail(&err);
    result = json_object();
    object_add_text(result, "volume", volume);
    object_add_text(result, "snapshot", snapshot);
    object_add(result, "protected", json_boolean(protect));
    object_print(cli, result);
    return 0;
}

static int protect(struct cli *cli, int argc, char *argv[])
{
    return set_protection(cli, "Refuse to remove a snapshot, until it is unprotected.", true, argc,
                          argv);
}

static int unprotect(struct cli *cli, int argc, char *argv[])
{
    return set_protection(cli, "Let a snapshot be removed again.", false, argc, argv);
}

int command_snapshot(struct cli *cli, int argc, char *argv[])
{
    static const struct command commands[] = {
        {"create", "take a snapshot", create},
        {"ls", "list the snapshots of a volume", ls},
        {"rm", "remove a snapshot", rm},
        {"protect", "refuse to remove a snapshot", protect},
        {"unprotect", "let a snapshot be removed again", unprotect},
    };

    return commands_run(cli, "Take, list, remove and protect snapshots.", commands,
                        sizeof(commands) / sizeof(commands[0]), argc, argv);
}
