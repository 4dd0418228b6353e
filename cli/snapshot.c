/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "volume/group.h"
#include "volume/snapshots.h"

/* radosvol snapshot create|ls|rm|rename|protect|unprotect; rename is in snapshot_rename.c */

#define SNAPSHOT_MS 60000
#define USAGE_MS    (24 * 3600 * INT64_C(1000))

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
    char *words[2];
    unsigned word_count;
    const char *volume; /* one; else a group: */
    const char **volumes;
    size_t volume_count;
    const char *label;
    const char *name; /* NULL: by the time */
};

enum { OPTION_VOLUMES = 0x100, OPTION_LABEL };

/* "a,b,c", which is taken apart. */
static void add_volumes(struct create_args *args, char *text, struct argp_state *state)
{
    char *name;

    while ((name = strsep(&text, ","))) {
        const char **more = reallocarray(args->volumes, args->volume_count + 1, sizeof(*more));

        if (!more)
            argp_failure(state, EXIT_FAILED, 0, "out of memory");
        if (name[0] == '\0')
            argp_error(state, "--volumes has names with commas between, such as db,db-log");
        if (!more)
            return;
        args->volumes = more;
        args->volumes[args->volume_count++] = name;
    }
}

/* Who is meant, now that all words are there. */
static void sort_words(struct create_args *args, struct argp_state *state)
{
    const bool group = args->volume_count > 0 || args->label;

    if (args->volume_count > 0 && args->label)
        argp_error(state, "either --volumes or --label");
    if (group && args->word_count > 1)
        argp_error(state, "with --volumes or --label there is one NAME, for the snapshot of each");
    if (!group && args->word_count == 0)
        argp_error(state, "which VOLUME?");
    if (!group)
        args->volume = args->words[0];
    args->name = args->words[group ? 0 : 1];
}

static error_t parse_create(int key, char *arg, struct argp_state *state)
{
    struct create_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case ARGP_KEY_ARG:
        if (args->word_count == 2)
            argp_error(state, "one VOLUME and one NAME");
        args->words[args->word_count++] = arg;
        return 0;
    case OPTION_VOLUMES:
        add_volumes(args, arg, state);
        return 0;
    case OPTION_LABEL:
        args->label = arg;
        return 0;
    case ARGP_KEY_END:
        sort_words(args, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int create_one(const struct create_args *args, struct cluster *cluster, int64_t deadline,
                      struct error *err)
{
    struct snapshot snapshot = {0};
    char created[TIME_TEXT_MAX];
    json_t *result;
    int r;

    progress("taking a snapshot of volume '%s'", args->volume);
    r = volume_snapshot_create(cluster, args->volume, args->name, args->cli->settings.host,
                               deadline, &snapshot, err);
    progress_end();
    if (r < 0)
        return r;
    result = json_object();
    time_text(&snapshot.created, created);
    object_add_text(result, "volume", args->volume);
    object_add_text(result, "snapshot", snapshot.name);
    object_add(result, "id", json_integer((json_int_t)snapshot.id));
    object_add(result, "size", json_integer((json_int_t)snapshot.size));
    object_add_text(result, "created", created);
    object_print(args->cli, result);
    return 0;
}

static void print_group(const struct cli *cli, const struct volume_group *group)
{
    enum { VOLUME, SNAPSHOT, ID, SIZE, CREATED, COLUMNS };
    static const struct column columns[COLUMNS] = {
        [VOLUME] = {"VOLUME", COLUMN_TEXT},   [SNAPSHOT] = {"SNAPSHOT", COLUMN_TEXT},
        [ID] = {"ID", COLUMN_NUMBER},         [SIZE] = {"SIZE", COLUMN_SIZE},
        [CREATED] = {"CREATED", COLUMN_TEXT},
    };
    struct table *table = table_new(cli, "snapshots", columns, COLUMNS);

    for (size_t i = 0; i < group->count; i++) {
        const struct snapshot_member *member = &group->members[i];
        char created[TIME_TEXT_MAX];

        time_text(&member->snapshot.created, created);
        table_row(table);
        table_text(table, VOLUME, member->volume);
        table_text(table, SNAPSHOT, member->snapshot.name);
        table_number(table, ID, member->snapshot.id);
        table_number(table, SIZE, member->snapshot.size);
        table_text(table, CREATED, created);
    }
    table_print(table, stdout);
}

static void show_step(void *arg, const char *step)
{
    const struct volume_group *group = arg;

    progress("%zu volumes: %s", group->count, step);
}

static int create_group(const struct create_args *args, struct cluster *cluster, int64_t deadline,
                        struct error *err)
{
    cleanup_volume_group struct volume_group group = {0};
    int r;

    progress("looking for the volumes");
    r = args->label ? volume_group_by_label(cluster, args->label, deadline, &group, err)
                    : volume_group_by_names(cluster, args->volumes, args->volume_count, deadline,
                                            &group, err);
    if (r == 0)
        r = volume_group_snapshot(cluster, &group, args->name, args->cli->settings.host, show_step,
                                  &group, deadline, err);
    progress_end();
    if (r == 0)
        print_group(args->cli, &group);
    return r;
}

static int create(struct cli *cli, int argc, char *argv[])
{
    static const struct argp_option options[] = {
        {"volumes", OPTION_VOLUMES, "VOLUME,...", 0, "of all of these, at one point in time", 0},
        {"label", OPTION_LABEL, "KEY[=VALUE]", 0, "the same of all volumes with this label", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_create,
        .args_doc = "VOLUME [NAME]\n--volumes=VOLUME,... [NAME]\n--label=KEY[=VALUE] [NAME]",
        .doc = "Take a snapshot, called NAME or by the UTC time.\v"
               "Where the volume is mounted its host freezes the file system for the moment, so "
               "that the snapshot holds a clean one. Several volumes are all frozen, on whichever "
               "hosts, before the first snapshot is taken, so that the snapshots fit together; "
               "all of them are taken, or none.",
        .children = cli_common,
    };
    cleanup_cluster struct cluster *cluster = NULL;
    struct create_args args = {.cli = cli};
    struct error err;
    int r;

    cli_parse(cli, &argp, argc, argv, &args);
    r = cli_connect(cli, &cluster, &err);
    if (r == 0)
        r = args.volume ? create_one(&args, cluster, deadline_in_ms(SNAPSHOT_MS), &err)
                        : create_group(&args, cluster, deadline_in_ms(SNAPSHOT_MS), &err);
    free(args.volumes);
    return r < 0 ? cli_fail(&err) : 0;
}

struct ls_args {
    struct cli *cli;
    const char *volume;
    bool all;
    bool used;
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
    case 'u':
        args->used = true;
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

/* USED: of each, in the order of the list; NULL when nobody asked. */
static void print_snapshots(const struct ls_args *args, const struct snapshots *list,
                            const uint64_t *used)
{
    enum { NAME, ID, SIZE, CREATED, PROTECTED, CHILDREN, ALWAYS, COLUMNS = ALWAYS + 2 };
    struct column columns[COLUMNS] = {
        [NAME] = {"NAME", COLUMN_TEXT},
        [ID] = {"ID", COLUMN_NUMBER},
        [SIZE] = {"SIZE", COLUMN_SIZE},
        [CREATED] = {"CREATED", COLUMN_TEXT},
        [PROTECTED] = {"PROTECTED", COLUMN_BOOLEAN},
        [CHILDREN] = {"CHILDREN", COLUMN_NUMBER},
    };
    size_t count = ALWAYS;
    size_t used_at = 0, removed_at = 0;
    struct table *table;

    if (used)
        columns[used_at = count++] = (struct column){"USED", COLUMN_SIZE};
    if (args->all)
        columns[removed_at = count++] = (struct column){"REMOVED", COLUMN_BOOLEAN};
    table = table_new(args->cli, "snapshots", columns, count);
    for (size_t i = 0; i < list->count; i++) {
        const struct snapshot *snapshot = &list->items[i];
        char created[TIME_TEXT_MAX];

        if (snapshot->trashed && !args->all)
            continue;
        time_text(&snapshot->created, created);
        table_row(table);
        table_text(table, NAME, snapshot->name);
        table_number(table, ID, snapshot->id);
        table_number(table, SIZE, snapshot->size);
        table_text(table, CREATED, created);
        table_text(table, PROTECTED, snapshot->protected ? "yes" : "no");
        table_number(table, CHILDREN, snapshot->child_count);
        if (used)
            table_number(table, used_at, used[i]);
        if (args->all)
            table_text(table, removed_at, snapshot->trashed ? "yes" : "no");
    }
    table_print(table, stdout);
}

static int show_looked_at(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    progress("%llu of %llu objects looked at", (unsigned long long)done, (unsigned long long)total);
    return 0;
}

static int ls(struct cli *cli, int argc, char *argv[])
{
    static const struct argp_option options[] = {
        {"all", 'a', NULL, 0, "also those that are removed and kept for their clones", 0},
        {"used", 'u', NULL, 0, "also the space that each keeps; looks at every object", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_ls,
        .args_doc = "VOLUME",
        .doc =
            "List the snapshots of a volume, the oldest first.\v"
            "CHILDREN are volumes cloned from a snapshot that still need it. USED is what "
            "removing a snapshot frees, before replication: the objects that neither its "
            "neighbours nor the volume now share with it. The cluster keeps no account of it, so "
            "every object is looked at.",
        .children = cli_common,
    };
    static const struct snapshot_usage usage = {.progress = show_looked_at};
    cleanup_snapshots struct snapshots list = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    cleanup_free uint64_t *used = NULL;
    struct ls_args args = {.cli = cli};
    struct error err;
    int r;

    cli_parse(cli, &argp, argc, argv, &args);
    r = cli_connect(cli, &cluster, &err);
    if (r == 0)
        r = args.used ? volume_snapshot_usage(cluster, args.volume, &usage,
                                              deadline_in_ms(USAGE_MS), &list, &used, &err)
                      : volume_snapshot_list(cluster, args.volume, args.all,
                                             deadline_in_ms(SNAPSHOT_MS), &list, &err);
    progress_end();
    if (r < 0)
        return cli_fail(&err);
    print_snapshots(&args, &list, used);
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
        {"rename", "give a snapshot another name", command_snapshot_rename},
        {"protect", "refuse to remove a snapshot", protect},
        {"unprotect", "let a snapshot be removed again", unprotect},
    };

    return commands_run(cli, "Take, list, remove, rename and protect snapshots.", commands,
                        sizeof(commands) / sizeof(commands[0]), argc, argv);
}
