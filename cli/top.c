/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "block/blockd_options.h"
#include "block/control.h"
#include "block/fuse_wire.h"
#include "cli/cli.h"
#include "cli/rescue.h"
#include "cli/table.h"

/* radosvol top [--interval SECONDS] [--count N]. Asks the data processes of this host, and neither
 * the plugin nor the cluster. */

#define VOLUMES_MAX  4096
#define ANSWER_MS    200
#define INTERVAL_S   2
#define INTERVAL_MAX 3600
#define COUNT_MAX    1000000
#define ARGS_MAX     64    /* words of a data process's command line */
#define CMDLINE_MAX  16384 /* bytes */
#define CLEAR        "\033[H\033[2J"

enum { KEY_INTERVAL = 0x300, KEY_COUNT };

struct top_args {
    struct cli *cli;
    unsigned interval_s;
    unsigned count; /* 0: for ever */
};

/* A data process, at one moment. */
struct sample {
    char id[IMAGE_ID_MAX];
    char name[FUSE_WIRE_NAME_MAX + 1];
    bool answers;
    struct blockd_stats stats;
    int64_t at; /* CLOCK_MONOTONIC ns */
};

struct samples {
    struct sample *items;
    size_t count;
};

/* What one did between two moments, a second. */
struct rates {
    const struct sample *sample;
    uint64_t requests[BACKEND_OPS];
    uint64_t mean_us[BACKEND_OPS];
    uint64_t read_bytes, write_bytes;
};

static unsigned number(struct argp_state *state, const char *option, const char *text, unsigned max)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 || value > max)
        argp_error(state, "%s=%s: a number from 1 to %u is allowed", option, text, max);
    return (unsigned)value;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct top_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case KEY_INTERVAL:
        args->interval_s = number(state, "--interval", arg, INTERVAL_MAX);
        return 0;
    case KEY_COUNT:
        args->count = number(state, "--count", arg, COUNT_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"interval", KEY_INTERVAL, "SECONDS", 0, "what each table is about (2)", 0},
    {"count", KEY_COUNT, "N", 0, "show so many tables (on a terminal until it is ended, else 1)",
     0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .doc = "Show what the volumes mounted on this host do, the busiest first:\v"
           "READS, WRITES and DISCARDS are requests a second, READ and WRITTEN bytes a second, "
           "READ-US and WRITE-US how long a request took on average, in microseconds. WAITING are "
           "the requests not answered yet, ERRORS those that failed since the data process began. "
           "STATE is ok, fenced (another host has taken the volume over) or silent (its data "
           "process does not answer).",
    .children = cli_common,
};

/* The volume's name in the words of a command line in file PATH, of which the
 * first FIRST are not there. */
static int read_name(const char *path, int first, char *ret, size_t size)
{
    static char program[] = "radosvol-blockd";
    cleanup_free char *words = NULL;
    struct blockd_options parsed;
    char *argv[ARGS_MAX + 1] = {program};
    size_t len;
    int argc = first;
    int r = file_read(path, CMDLINE_MAX, &words, &len, NULL);

    if (r < 0)
        return r;
    for (size_t i = 0; i < len && argc < ARGS_MAX; i += strlen(words + i) + 1)
        argv[argc++] = words + i;
    r = blockd_options_parse(argc, argv, &parsed, NULL);
    if (r == 0)
        snprintf(ret, size, "%s", parsed.name);
    return r;
}

/* What the supervisor has noted for the case that the process dies; else what the process itself
 * was told; else the image's id. */
static void name_sample(const char *dir, struct sample *sample)
{
    char args[PATH_MAX];
    char cmdline[64];

    snprintf(args, sizeof(args), "%s/%s.args", dir, sample->id);
    snprintf(cmdline, sizeof(cmdline), "/proc/%llu/cmdline", (unsigned long long)sample->stats.pid);
    if (read_name(args, 1, sample->name, sizeof(sample->name)) < 0 &&
        read_name(cmdline, 0, sample->name, sizeof(sample->name)) < 0)
        snprintf(sample->name, sizeof(sample->name), "%s", sample->id);
}

static void take(const char *dir, const char *file, struct samples *samples)
{
    struct sample *sample = &samples->items[samples->count];
    const char *dot = strrchr(file, '.');
    char path[PATH_MAX];
    int r;

    if (!dot || strcmp(dot, ".sock") != 0 || (size_t)(dot - file) >= sizeof(sample->id) ||
        samples->count == VOLUMES_MAX)
        return;
    *sample = (struct sample){0};
    memcpy(sample->id, file, (size_t)(dot - file));
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    r = blockd_call_stats(path, deadline_in_ms(ANSWER_MS), &sample->stats, NULL);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return; /* it has just ended */
    sample->answers = r == 0;
    sample->at = clock_now();
    name_sample(dir, sample);
    samples->count++;
}

static int take_all(const char *dir, struct samples *samples)
{
    DIR *stream = opendir(dir);
    struct dirent *entry;

    if (!stream)
        return errno == ENOENT ? 0 : -errno;
    while ((entry = readdir(stream)))
        take(dir, entry->d_name, samples);
    closedir(stream);
    return 0;
}

static int sample_host(const struct cli *cli, struct samples *ret, struct error *err)
{
    char dir[PATH_MAX];
    int r;

    *ret = (struct samples){.items = calloc(VOLUMES_MAX, sizeof(*ret->items))};
    if (!ret->items)
        return error_errno(err, -ENOMEM, "cannot look at the data processes");
    snprintf(dir, sizeof(dir), "%s/blockd", cli->settings.run_dir);
    r = take_all(dir, ret);
    if (r == 0)
        r = take_all(RESCUE_DIR, ret);
    return r < 0 ? error_errno(err, r, "cannot look for data processes in '%s'", dir) : 0;
}

static const struct sample *find(const struct samples *samples, const struct sample *like)
{
    for (size_t i = 0; i < samples->count; i++) {
        const struct sample *sample = &samples->items[i];

        if (sample->answers && sample->stats.pid == like->stats.pid &&
            strcmp(sample->id, like->id) == 0)
            return sample;
    }
    return NULL;
}

/* Rounded up: what does something is not shown as doing nothing. */
static uint64_t a_second(uint64_t amount, int64_t ns)
{
    return (uint64_t)((double)amount * NS_PER_S / (double)ns + 0.999);
}

static void compare(const struct samples *before, const struct sample *sample, int64_t interval,
                    struct rates *ret)
{
    static const struct sample none;
    const struct sample *old = find(before, sample);
    const struct backend_stats *now = &sample->stats.io;
    const struct backend_stats *then = old ? &old->stats.io : &none.stats.io;
    const int64_t ns = old ? sample->at - old->at : interval;

    *ret = (struct rates){.sample = sample};
    for (unsigned op = 0; op < BACKEND_OPS; op++) {
        const uint64_t count = latency_total(&now->done[op]) - latency_total(&then->done[op]);

        ret->requests[op] = a_second(count, ns);
        if (count > 0)
            ret->mean_us[op] = (now->done[op].sum_ns - then->done[op].sum_ns) / count / 1000;
    }
    ret->read_bytes = a_second(now->read_bytes - then->read_bytes, ns);
    ret->write_bytes = a_second(now->write_bytes - then->write_bytes, ns);
}

static uint64_t all_requests(const struct rates *rates)
{
    uint64_t sum = 0;

    for (unsigned op = 0; op < BACKEND_OPS; op++)
        sum += rates->requests[op];
    return sum;
}

static int busiest_first(const void *a, const void *b)
{
    const uint64_t x = all_requests(a);
    const uint64_t y = all_requests(b);

    if (x != y)
        return x < y ? 1 : -1;
    return strcmp(((const struct rates *)a)->sample->name, ((const struct rates *)b)->sample->name);
}

/* For people, four digits and a unit will do. */
static uint64_t rounded(const struct cli *cli, uint64_t bytes)
{
    uint64_t unit = 1;

    while (!cli->json && bytes / unit >= 10000)
        unit *= 1024;
    return bytes / unit * unit;
}

static const char *state_of(const struct sample *sample)
{
    if (!sample->answers)
        return "silent";
    return sample->stats.state == BLOCKD_FENCED ? "fenced" : "ok";
}

static void print(const struct cli *cli, const struct rates *rates, size_t count)
{
    enum {
        VOLUME,
        READS,
        READ,
        READ_US,
        WRITES,
        WRITTEN,
        WRITE_US,
        DISCARDS,
        WAITING,
        ERRORS,
        STATE
    };
    static const struct column columns[] = {
        {"VOLUME", COLUMN_TEXT},     {"READS", COLUMN_NUMBER},    {"READ", COLUMN_SIZE},
        {"READ-US", COLUMN_NUMBER},  {"WRITES", COLUMN_NUMBER},   {"WRITTEN", COLUMN_SIZE},
        {"WRITE-US", COLUMN_NUMBER}, {"DISCARDS", COLUMN_NUMBER}, {"WAITING", COLUMN_NUMBER},
        {"ERRORS", COLUMN_NUMBER},   {"STATE", COLUMN_TEXT},
    };
    struct table *table = table_new(cli, "volumes", columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; i < count; i++) {
        const struct rates *r = &rates[i];

        table_row(table);
        table_text(table, VOLUME, r->sample->name);
        table_text(table, STATE, state_of(r->sample));
        if (!r->sample->answers)
            continue;
        table_number(table, READS, r->requests[BACKEND_READ]);
        table_number(table, READ, rounded(cli, r->read_bytes));
        table_number(table, READ_US, r->mean_us[BACKEND_READ]);
        table_number(table, WRITES, r->requests[BACKEND_WRITE]);
        table_number(table, WRITTEN, rounded(cli, r->write_bytes));
        table_number(table, WRITE_US, r->mean_us[BACKEND_WRITE]);
        table_number(table, DISCARDS, r->requests[BACKEND_DISCARD]);
        table_number(table, WAITING, r->sample->stats.io.in_flight);
        table_number(table, ERRORS, r->sample->stats.io.errors);
    }
    table_print(table, stdout);
    fflush(stdout);
}

static int show(const struct top_args *args, const struct samples *before,
                const struct samples *now, bool on_terminal)
{
    cleanup_free struct rates *rates = calloc(now->count + 1, sizeof(*rates));

    if (!rates)
        return cli_fail_words("out of memory");
    for (size_t i = 0; i < now->count; i++)
        compare(before, &now->items[i], args->interval_s * NS_PER_S, &rates[i]);
    qsort(rates, now->count, sizeof(*rates), busiest_first);
    if (on_terminal)
        fputs(CLEAR, stdout);
    print(args->cli, rates, now->count);
    if (on_terminal && now->count == 0)
        puts("no volume is mounted on this host");
    return 0;
}

int command_top(struct cli *cli, int argc, char *argv[])
{
    const bool on_terminal = isatty(STDOUT_FILENO);
    struct top_args args = {.cli = cli, .interval_s = INTERVAL_S};
    struct samples before = {0};
    struct error err;
    int status = 0;
    int r;

    args.count = on_terminal ? 0 : 1;
    cli_parse(cli, &argp, argc, argv, &args);
    if (geteuid() != 0)
        return cli_fail_words("only root can ask the data processes; run it as root");
    r = sample_host(cli, &before, &err);
    for (unsigned shown = 0; r == 0 && status == 0 && (args.count == 0 || shown < args.count);
         shown++) {
        struct samples now;

        if (shown == 0)
            progress("watching for %u s", args.interval_s);
        sleep(args.interval_s);
        r = sample_host(cli, &now, &err);
        progress_end();
        if (r == 0)
            status = show(&args, &before, &now, on_terminal && !cli->json);
        free(before.items);
        before = now;
    }
    free(before.items);
    return r < 0 ? cli_fail(&err) : status;
}
