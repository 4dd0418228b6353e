/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

#include "cli/cli.h"

/* Commands that are found by name: those of radosvol, and those of a command that has some of its
 * own, such as "radosvol snapshot". */

struct command {
    const char *name;
    const char *help; /* NULL: not for people */
    int (*run)(struct cli *cli, int argc, char *argv[]);
};

/* Find the command that ARGV[1] names, or the first word after options that all commands have, and
 * run it with the rest; ARGV[0] is the name so far. DOC is the --help, to which the list of
 * COMMANDS is added. Ends the program on wrong usage. */
int commands_run(struct cli *cli, const char *doc, const struct command commands[], size_t count,
                 int argc, char *argv[]);
