/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "volume/snapshots.h"

/* radosvol restore VOLUME@SNAPSHOT [--to NEW] */

/* Nobody waits for the answer but a person, who can stop it and go on at any time. */
#define RESTORE_MS (24 * 3600 * INT64_C(1000))

struct restore_args {
    struct cli *cli;
    const char *word;
    const char *to; /* NULL: in place */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct restore_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common_ask);
        return 0;
    case 't':
        args->to = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (args->word)
            argp_error(state, "too many arguments");
        args->word = arg;
        return 0;
    case ARGP_KEY_END:
        if (!args->word)
            argp_error(state, "which one? VOLUME@SNAPSHOT is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"to", 't', "NEW", 0, "make this volume of it instead, at once, and leave VOLUME alone", 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "VOLUME@SNAPSHOT",
    .doc =
        "Bring a volume back to what it held at a snapshot, in place, or as a new one.\v"
        "In place it must be mounted nowhere. A snapshot of what it holds now is taken first, so "
        "this can be undone by restoring that one. The OSDs do the work, and leave alone what has "
        "not changed. When it is cut off, the volume cannot be mounted until the same command has "
        "ended it, or one that restores the snapshot that was taken first. With --to nothing is "
        "changed, and the volume may be in use: it is what clone does.",
    .children = cli_common_ask,
};

/* Set by SIGINT and SIGTERM: stop in order, which gives the volume's lock back. */
static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static void stop_in_order(void)
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int show(void *arg, const struct rollback_progress *done)
{
    (void)arg;
    progress("%llu of %llu objects looked at, %llu changed", (unsigned long long)done->done,
             (unsigned long long)done->total, (unsigned long long)done->changed);
    return stopping;
}

static int announce(const struct cli *cli, struct cluster *cluster, const char *volume,
                    const char *name, struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    struct snapshot snapshot;
    char created[32];
    struct tm tm;
    int r = cli_read_volume(cluster, volume, &facts, err);

    if (r == 0)
        r = snapshot_find(cluster, facts.id, name, deadline_in_ms(CLI_READ_MS), &snapshot, err);
    if (r == -ENOENT && facts.name[0] != '\0')
        return error_set(err, r, "volume '%s' has no snapshot '%s'; see 'radosvol snapshot ls %s'",
                         volume, name, volume);
    if (r < 0)
        return r;
    strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ",
             gmtime_r(&snapshot.created.tv_sec, &tm));
    fprintf(stderr,
            "Volume '%s' will hold again what it held at its snapshot '%s', of %s.\n"
            "What it holds now is kept as a new snapshot, called '" ROLLBACK_SAFETY_PREFIX
            "' and the time.\n",
            volume, name, created);
    return cli_confirm(cli, err);
}

static void print(const struct cli *cli, const char *volume, const char *snapshot,
                  const struct rollback_result *result)
{
    json_t *object = json_object();

    object_add_text(object, "volume", volume);
    object_add_text(object, "restored", snapshot);
    object_add_text(object, "before", result->safety);
    object_add(object, "resumed", json_boolean(result->resumed));
    object_add(object, "objects", json_integer((json_int_t)result->objects.total));
    object_add(object, "changed", json_integer((json_int_t)result->objects.changed));
    object_print(cli, object);
}

static int restore_as(struct cli *cli, const char *word, const char *name, struct error *err)
{
    struct volume_options none;
    int r;

    volume_options_init(&none, 0, FILESYSTEM_EXT4);
    r = cli_clone(cli, word, name, &none, err);
    volume_options_free(&none);
    return r;
}

static int restore_in_place(struct cli *cli, const char *volume, const char *snapshot,
                            struct error *err)
{
    cleanup_cluster struct cluster *cluster = NULL;
    struct rollback_result result = {0};
    const struct rollback rollback = {
        .snapshot = snapshot, .host = cli->settings.host, .progress = show};
    int r = cli_connect(cli, &cluster, err);

    if (r == 0)
        r = announce(cli, cluster, volume, snapshot, err);
    if (r < 0)
        return r;
    stop_in_order();
    progress("taking a snapshot of what there is");
    r = volume_restore(cluster, volume, &rollback, deadline_in_ms(RESTORE_MS), &result, err);
    progress_end();
    if (r == 0)
        print(cli, volume, snapshot, &result);
    return r;
}

int command_restore(struct cli *cli, int argc, char *argv[])
{
    struct restore_args args = {.cli = cli};
    char volume[RBD_NAME_MAX];
    char snapshot[SNAPSHOT_NAME_MAX];
    struct error err;
    int r;

    cli_parse(cli, &argp, argc, argv, &args);
    r = volume_parse_snapshot(args.word, volume, snapshot, &err);
    if (r == 0)
        r = args.to ? restore_as(cli, args.word, args.to, &err)
                    : restore_in_place(cli, volume, snapshot, &err);
    return r < 0 ? cli_fail(&err) : 0;
}
