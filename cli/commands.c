/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

struct commands_args {
    struct cli *cli;
    const struct command *commands;
    size_t count;
    const struct command *command; /* the one that was found */
    int first;                     /* index of its name in argv */
};

static const struct command *find_command(const struct commands_args *args, const char *name)
{
    for (size_t i = 0; i < args->count; i++) {
        if (strcmp(args->commands[i].name, name) == 0)
            return &args->commands[i];
    }
    return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct commands_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case ARGP_KEY_ARG:
        args->command = find_command(args, arg);
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
    const struct commands_args *args = input;
    char *help = NULL;
    size_t size;
    FILE *out;

    if (key != ARGP_KEY_HELP_PRE_DOC || !args || !(out = open_memstream(&help, &size)))
        return (char *)text;
    fprintf(out, "%s\n\nCommands:\n", text);
    for (size_t i = 0; i < args->count; i++) {
        if (args->commands[i].help)
            fprintf(out, "  %-10s %s\n", args->commands[i].name, args->commands[i].help);
    }
    fprintf(out, "\n'COMMAND --help' says more.\n");
    return fclose(out) == 0 ? help : (char *)text;
}

int commands_run(struct cli *cli, const char *doc, const struct command commands[], size_t count,
                 int argc, char *argv[])
{
    const struct argp argp = {
        .parser = parse,
        .args_doc = "COMMAND [ARGUMENT...]",
        .doc = doc,
        .children = cli_common,
        .help_filter = add_commands,
    };
    struct commands_args args = {.cli = cli, .commands = commands, .count = count};
    char name[128];

    /* Ends the program unless it finds a command. */
    if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &args) != 0 || !args.command)
        return EXIT_USAGE;
    snprintf(name, sizeof(name), "%s %s", argv[0], args.command->name);
    argv[args.first] = name;
    return args.command->run(cli, argc - args.first, argv + args.first);
}
