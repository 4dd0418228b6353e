/* SPDX-License-Identifier: Apache-2.0 */

/* radosvol: the operator's program. It talks to the cluster itself, so it works with the plugin
 * dead, and on hosts that have none. */

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"

struct command {
    const char *name;
    const char *help; /* NULL: not for people */
    int (*run)(struct cli *cli, int argc, char *argv[]);
};

static const struct command commands[] = {
    {"ls", "list the volumes", command_ls},
    {"inspect", "everything that is known of a volume", command_inspect},
    {"holders", "who holds which volume, and whether that client lives", command_holders},
    {"takeover", "take a volume away from a host that is cut off", command_takeover},
    {"recover", "free all volumes of a lost host", command_recover},
    {"clone", "make a volume that begins as another one, or a snapshot of it", command_clone},
    {"flatten", "make a clone independent of its source", command_flatten},
    {"mount", "mount a volume here without Docker", command_mount},
    {"umount", "undo a mount", command_umount},
    {"doctor", "check this host, the cluster and the volumes", command_doctor},
    {"keeper", NULL, command_keeper},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

struct main_args {
    struct cli *cli;
    const struct command *command;
    int first; /* index of the command's name in argv */
};

static error_t parse_main(int key, char *arg, struct argp_state *state)
{
    struct main_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case ARGP_KEY_ARG:
        args->command = find_command(arg);
        if (!args->command)
            argp_error(state, "there is no command '%s'", arg);
        args->first = state->next - 1;
        state->next = state->argc; /* the rest is the command's own */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The list of commands, in front of the options. */
static char *add_commands(int key, const char *text, void *input)
{
    char *help = NULL;
    size_t size;
    FILE *out;

    (void)input;
    if (key != ARGP_KEY_HELP_PRE_DOC || !(out = open_memstream(&help, &size)))
        return (char *)text;
    fprintf(out, "%s\n\nCommands:\n", text);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (commands[i].help)
            fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    }
    fprintf(out, "\n'radosvol COMMAND --help' says more.\n");
    return fclose(out) == 0 ? help : (char *)text;
}

int main(int argc, char *argv[])
{
    static const struct argp argp = {
        .parser = parse_main,
        .args_doc = "COMMAND [ARGUMENT...]",
        .doc = "Look after Docker volumes that are RBD images in a Ceph cluster.",
        .children = cli_common,
        .help_filter = add_commands,
    };
    struct cli cli = {0};
    struct main_args args = {.cli = &cli};
    char name[64];

    setlocale(LC_CTYPE, "");
    log_init("radosvol", LOG_LEVEL_WARNING);
    argp_program_version = "radosvol " VERSION;
    argp_err_exit_status = EXIT_USAGE;
    /* Ends the program unless it finds a command. */
    if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &args) != 0 || !args.command)
        return EXIT_USAGE;
    snprintf(name, sizeof(name), "radosvol %s", args.command->name);
    argv[args.first] = name;
    return args.command->run(&cli, argc - args.first, argv + args.first);
}
