/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "volume/trash.h"

/* radosvol trash ls|restore|purge */

#define LIST_MS    60000
#define RESTORE_MS 60000
#define PURGE_MS   (24 * 3600 * INT64_C(1000)) /* terabytes take hours */

/* "2026-01-02T03:04:05Z" */
#define TIME_TEXT_MAX 32
static void time_text(const struct timespec *when, char ret[TIME_TEXT_MAX])
{
    struct tm tm;

    ret[0] = '\0';
    if (gmtime_r(&when->tv_sec, &tm))
        strftime(ret, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int connect_and_list(const struct cli *cli, struct cluster **cluster,
                            struct trashed_volumes *ret, struct error *err)
{
    int r = cli_connect(cli, cluster, err);

    return r < 0 ? r : volume_trash_list(*cluster, deadline_in_ms(LIST_MS), ret, err);
}

struct trash_args {
    struct cli *cli;
    const struct argp_child *children;
    const char *word; /* NAME or ID */
    const char *as;
    bool expired;
    bool all;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct trash_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, args->children);
        return 0;
    case 'n':
        args->as = arg;
        return 0;
    case 'e':
        args->expired = true;
        return 0;
    case 'a':
        args->all = true;
        return 0;
    case ARGP_KEY_ARG:
        if (args->word)
            argp_error(state, "one NAME or ID at a time");
        args->word = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_ls(int key, char *arg, struct argp_state *state)
{
    return key == ARGP_KEY_ARG ? ARGP_ERR_UNKNOWN : parse(key, arg, state);
}

static int ls(struct cli *cli, int argc, char *argv[])
{
    enum { NAME, ID, SIZE, SNAPSHOTS, REMOVED, EXPIRES, THEN, STATE, COLUMNS };
    static const struct column columns[COLUMNS] = {
        [NAME] = {"NAME", COLUMN_TEXT},       [ID] = {"ID", COLUMN_TEXT},
        [SIZE] = {"SIZE", COLUMN_SIZE},       [SNAPSHOTS] = {"SNAPSHOTS", COLUMN_NUMBER},
        [REMOVED] = {"REMOVED", COLUMN_TEXT}, [EXPIRES] = {"EXPIRES", COLUMN_TEXT},
        [THEN] = {"THEN", COLUMN_TEXT},       [STATE] = {"STATE", COLUMN_TEXT},
    };
    static const struct argp argp = {
        .parser = parse_ls,
        .doc = "List the removed volumes that can be brought back.\v"
               "THEN is what becomes of one that has expired: \"deleted\" by a plugin within ten "
               "minutes, or \"kept\" until it is purged, where a stock tool put it into the trash.",
        .children = cli_common,
    };
    cleanup_trashed_volumes struct trashed_volumes trash = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    struct trash_args args = {.cli = cli, .children = cli_common};
    struct table *table;
    struct error err;

    cli_parse(cli, &argp, argc, argv, &args);
    if (connect_and_list(cli, &cluster, &trash, &err) < 0)
        return cli_fail(&err);
    table = table_new(cli, "removed", columns, COLUMNS);
    for (size_t i = 0; i < trash.count; i++) {
        const struct trashed_volume *volume = &trash.items[i];
        char when[TIME_TEXT_MAX];

        table_row(table);
        table_text(table, NAME, volume->name);
        table_text(table, ID, volume->id);
        if (volume->size > 0)
            table_number(table, SIZE, volume->size);
        table_number(table, SNAPSHOTS, volume->snapshot_count);
        time_text(&volume->deleted, when);
        table_text(table, REMOVED, when);
        time_text(&volume->expires, when);
        table_text(table, EXPIRES, when);
        table_text(table, THEN, volume->swept ? "deleted" : "kept");
        table_text(table, STATE, volume->state);
    }
    table_print(table, stdout);
    return 0;
}

/* DESTROY: not one of several with that name. */
static const struct trashed_volume *find(const struct trashed_volumes *trash, const char *word,
                                         bool destroy, struct error *err)
{
    size_t same;
    const struct trashed_volume *volume = volume_trash_find(trash, word, &same);

    if (!volume) {
        error_set(err, -ENOENT,
                  "no removed volume '%s' is in the trash: 'radosvol trash ls' lists them", word);
        return NULL;
    }
    if (destroy && same > 1) {
        error_set(err, -EINVAL,
                  "%zu removed volumes were called '%s': say which by its id ('radosvol trash ls')",
                  same, word);
        return NULL;
    }
    return volume;
}

static int restore(struct cli *cli, int argc, char *argv[])
{
    static const struct argp_option options[] = {
        {"as", 'n', "NEW", 0, "give it this name", 1},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "NAME|ID",
        .doc = "Bring a removed volume back, with its snapshots.\v"
               "Of several that had the name NAME it is the one that was removed last.",
        .children = cli_common,
    };
    cleanup_trashed_volumes struct trashed_volumes trash = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    struct trash_args args = {.cli = cli, .children = cli_common};
    const struct trashed_volume *volume;
    struct error err;
    json_t *result;

    cli_parse(cli, &argp, argc, argv, &args);
    if (!args.word) {
        cli_fail_words("which NAME or ID? See 'radosvol trash restore --help'");
        return EXIT_USAGE;
    }
    if (connect_and_list(cli, &cluster, &trash, &err) < 0 ||
        !(volume = find(&trash, args.word, false, &err)))
        return cli_fail(&err);
    if (!args.as)
        args.as = volume->name;
    if (volume_trash_restore(cluster, volume->id, args.as, deadline_in_ms(RESTORE_MS), &err) < 0)
        return cli_fail(&err);
    result = json_object();
    object_add_text(result, "volume", args.as);
    object_add_text(result, "id", volume->id);
    object_add(result, "size", json_integer((json_int_t)volume->size));
    object_add(result, "snapshots", json_integer(volume->snapshot_count));
    object_print(cli, result);
    return 0;
}

static bool is_meant(const struct trash_args *args, const struct trashed_volume *volume,
                     const struct trashed_volume *one)
{
    if (one)
        return volume == one;
    return args->all || trashed_volume_has_expired(volume);
}

static size_t announce(const struct trash_args *args, const struct trashed_volumes *trash,
                       const struct trashed_volume *one)
{
    size_t count = 0;

    for (size_t i = 0; i < trash->count; i++) {
        const struct trashed_volume *volume = &trash->items[i];
        char removed[TIME_TEXT_MAX];
        char size[32];

        if (!is_meant(args, volume, one))
            continue;
        if (count++ == 0)
            fputs("Deleted for good will be:\n", stderr);
        time_text(&volume->deleted, removed);
        size_format(volume->size, size, sizeof(size));
        fprintf(stderr, "  %s (id %s, %s, %u snapshots), removed %s\n", volume->name, volume->id,
                size, volume->snapshot_count, removed);
    }
    return count;
}

struct purge {
    size_t gone;
    int status;
};

static void report(void *arg, const struct trashed_volume *volume, const struct error *err)
{
    struct purge *purge = arg;

    progress_end();
    if (err->code < 0) {
        cli_fail_words("volume '%s' (%s): %s", volume->name, volume->id, err->text);
        purge->status = EXIT_FAILED;
        return;
    }
    purge->gone++;
    progress("deleted %zu, the last one '%s'", purge->gone, volume->name);
}

static int purge_meant(struct cluster *cluster, const struct trash_args *args,
                       const struct trashed_volumes *trash, const struct trashed_volume *one,
                       struct purge *purge, struct error *err)
{
    const int64_t deadline = deadline_in_ms(PURGE_MS);
    struct error why = {0};
    int r;

    if (!one)
        return volume_trash_purge_all(cluster, trash, !args->all, deadline, report, purge, err);
    r = volume_trash_purge(cluster, one->id, false, deadline, &why);
    if (r == 0 || r == -EBUSY)
        report(purge, one, &why);
    else if (r < 0)
        *err = why;
    return r == -EBUSY ? 0 : r;
}

static int purge(struct cli *cli, int argc, char *argv[])
{
    static const struct argp_option options[] = {
        {"expired", 'e', NULL, 0, "those that have expired", 1},
        {"all", 'a', NULL, 0, "all removed volumes", 1},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[NAME|ID]",
        .doc = "Delete removed volumes for good, their snapshots with them.\v"
               "One whose snapshots have clones, or are protected, stays.",
        .children = cli_common_ask,
    };
    cleanup_trashed_volumes struct trashed_volumes trash = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    struct trash_args args = {.cli = cli, .children = cli_common_ask};
    const struct trashed_volume *one = NULL;
    struct purge purge = {0};
    struct error err = {0};
    json_t *result;
    int r;

    cli_parse(cli, &argp, argc, argv, &args);
    if (!!args.word + args.expired + args.all != 1) {
        cli_fail_words("what is to be deleted? One of NAME or ID, --expired, and --all");
        return EXIT_USAGE;
    }
    if (connect_and_list(cli, &cluster, &trash, &err) < 0 ||
        (args.word && !(one = find(&trash, args.word, true, &err))))
        return cli_fail(&err);
    if (announce(&args, &trash, one) > 0) {
        r = cli_confirm(cli, &err);
        if (r == 0)
            r = purge_meant(cluster, &args, &trash, one, &purge, &err);
        progress_end();
        if (r < 0)
            return cli_fail(&err);
    }
    result = json_object();
    object_add(result, "deleted", json_integer((json_int_t)purge.gone));
    object_print(cli, result);
    return purge.status;
}

int command_trash(struct cli *cli, int argc, char *argv[])
{
    static const struct command commands[] = {
        {"ls", "list the removed volumes", ls},
        {"restore", "bring one back", restore},
        {"purge", "delete them for good", purge},
    };

    return commands_run(cli, "Look after removed volumes, which stay in the RBD trash for a while.",
                        commands, sizeof(commands) / sizeof(commands[0]), argc, argv);
}
