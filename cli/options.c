/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

/* The options that commands share. What is a setting of the plugin too is checked, and given its
 * default or the value of its environment variable, where the plugin's settings are. */

enum key {
    KEY_JSON = 0x100,
    KEY_YES,
    KEY_SETTING, /* and the following: an index into setting_flags */
};

static char *const setting_flags[] = {"--ceph-conf",   "--ceph-client", "--pool",
                                      "--namespace",   "--host",        "--watch-timeout",
                                      "--libexec-dir", "--socket"};

enum { CEPH_CONF, CEPH_CLIENT, POOL, NAMESPACE, HOST, WATCH_TIMEOUT, LIBEXEC_DIR, SOCKET };

static const struct argp_option common_options[] = {
    {"ceph-conf", KEY_SETTING + CEPH_CONF, "FILE", 0,
     "how to reach the cluster (CEPH_CONF; /etc/ceph/ceph.conf)", 10},
    {"ceph-client", KEY_SETTING + CEPH_CLIENT, "NAME", 0,
     "who to be there, without \"client.\" (CEPH_CLIENT; docker)", 10},
    {"pool", KEY_SETTING + POOL, "NAME", 0, "the pool that holds the volumes (RADOS_POOL; docker)",
     10},
    {"namespace", KEY_SETTING + NAMESPACE, "NAME", 0,
     "the namespace in the pool (RADOS_NAMESPACE; none)", 10},
    {"json", KEY_JSON, NULL, 0, "print JSON; sizes are in bytes", 10},
    {0},
};

static const struct argp_option ask_options[] = {
    {"yes", KEY_YES, NULL, 0, "do not ask", 5},
    {0},
};

static const struct argp_option host_options[] = {
    {"host", KEY_SETTING + HOST, "NAME", 0,
     "this host's name, shown as the holder (RADOS_HOST; its own)", 5},
    {"watch-timeout", KEY_SETTING + WATCH_TIMEOUT, "SECONDS", 0,
     "after how long a lost host counts as dead (WATCH_TIMEOUT; 15)", 5},
    {"libexec-dir", KEY_SETTING + LIBEXEC_DIR, "DIR", 0,
     "where radosvol-blockd is (RADOS_LIBEXEC_DIR)", 5},
    {"socket", KEY_SETTING + SOCKET, "PATH", 0,
     "the plugin's socket (RADOS_SOCKET; /run/docker/plugins/rados.sock)", 5},
    {0},
};

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    struct cli *cli = state->input;

    if (key == KEY_JSON) {
        cli->json = true;
    } else if (key == KEY_YES) {
        cli->yes = true;
    } else if (key >= KEY_SETTING &&
               key < KEY_SETTING + (int)(sizeof(setting_flags) / sizeof(setting_flags[0]))) {
        if (cli->flag_count + 2 > 2 * CLI_FLAGS_MAX)
            argp_error(state, "too many options");
        cli->flags[cli->flag_count++] = setting_flags[key - KEY_SETTING];
        cli->flags[cli->flag_count++] = arg;
    } else {
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp cli_common_argp = {.options = common_options, .parser = parse_common};
static const struct argp ask_argp = {.options = ask_options, .parser = parse_common};
static const struct argp host_argp = {.options = host_options, .parser = parse_common};

const struct argp_child cli_common[] = {{&cli_common_argp, 0, NULL, 0}, {0}};
const struct argp_child cli_common_ask[] = {
    {&cli_common_argp, 0, NULL, 0}, {&ask_argp, 0, NULL, 0}, {0}};
const struct argp_child cli_common_host[] = {
    {&cli_common_argp, 0, NULL, 0}, {&host_argp, 0, NULL, 0}, {0}};

void cli_init_children(struct argp_state *state, struct cli *cli, const struct argp_child *children)
{
    for (size_t i = 0; children[i].argp; i++)
        state->child_inputs[i] = cli;
}

void cli_parse(struct cli *cli, const struct argp *argp, int argc, char *argv[], void *args)
{
    char *words[2 * CLI_FLAGS_MAX + 2] = {argv[0]};
    struct error err;

    if (argp_parse(argp, argc, argv, 0, NULL, args) != 0)
        exit(EXIT_USAGE);
    for (int i = 0; i < cli->flag_count; i++)
        words[i + 1] = cli->flags[i];
    if (settings_parse(cli->flag_count + 1, words, &cli->settings, &err) != 0) {
        cli_fail(&err);
        exit(EXIT_USAGE);
    }
}

struct word_args {
    struct cli *cli;
    const char *what;
    const struct argp_child *children;
    const char *word;
};

static error_t parse_word(int key, char *arg, struct argp_state *state)
{
    struct word_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, args->children);
        return 0;
    case ARGP_KEY_ARG:
        if (args->word)
            argp_error(state, "one %s at a time", args->what);
        args->word = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which %s?", args->what);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const char *cli_parse_word(struct cli *cli, const char *what, const char *doc,
                           const struct argp_child *children, int argc, char *argv[])
{
    struct word_args args = {.cli = cli, .what = what, .children = children};
    const struct argp argp = {
        .parser = parse_word, .args_doc = what, .doc = doc, .children = children};

    cli_parse(cli, &argp, argc, argv, &args);
    return args.word;
}
