/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "plugin/settings.h"
#include "rados/cluster.h"
#include "volume/options.h"
#include "volume/volume.h"

/* What the commands of radosvol share. One command is one file; the table of them is in main.c. A
 * command returns the program's exit status: 0, or EXIT_FAILED after it has said why. Out of memory
 * ends the program. */

#define EXIT_FAILED 1
#define EXIT_USAGE  2

#define CLI_FLAGS_MAX 32

struct cli {
    bool json; /* --json */
    bool yes;  /* --yes: do not ask */
    struct settings settings;

    /* Settings given as options so far, as settings_parse takes them. */
    char *flags[2 * CLI_FLAGS_MAX + 1];
    int flag_count;
};

/* Parse a command's words with ARGP, whose parser finds ARGS in state->input; then work the
 * settings out. Ends the program on wrong usage, --help and the like. ARGS' first member is a
 * struct cli *. */
void cli_parse(struct cli *cli, const struct argp *argp, int argc, char *argv[], void *args);

/* The same for a command that takes one word, such as "VOLUME", and the options of CHILDREN. DOC is
 * its --help. Returns the word. */
const char *cli_parse_word(struct cli *cli, const char *what, const char *doc,
                           const struct argp_child *children, int argc, char *argv[]);

/* Children of every command's argp: the options that all commands have, those and --yes, and those
 * of a program that works on this host. Their parsers are given the struct cli. */
extern const struct argp cli_common_argp;
extern const struct argp_child cli_common[];
extern const struct argp_child cli_common_ask[];
extern const struct argp_child cli_common_host[];

/* For ARGP_KEY_INIT in the parser of a command with these CHILDREN. */
void cli_init_children(struct argp_state *state, struct cli *cli,
                       const struct argp_child *children);

/* Say why on stderr. Its value is EXIT_FAILED. */
int cli_fail(const struct error *err);
int cli_fail_words(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Connect to the cluster, in CLI_CONNECT_MS. 0 or negative errno. */
#define CLI_CONNECT_MS 15000
int cli_connect(const struct cli *cli, struct cluster **ret, struct error *err);
struct cluster_settings cli_cluster_settings(const struct cli *cli);

/* Read volume NAME; -ENOENT comes with words. */
#define CLI_READ_MS 15000
int cli_read_volume(struct cluster *cluster, const char *name, struct volume_facts *ret,
                    struct error *err);

/* Ask whether to go on with what has been announced on stderr. 0: yes. -ECANCELED: no, or nobody
 * can be asked. */
int cli_confirm(const struct cli *cli, struct error *err);

/* A line of progress on stderr, when that is a terminal; the next one takes its place, and
 * progress_end takes the last one away. */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void progress_end(void);
void progress_of_survey(void *arg, size_t done, size_t total); /* for volume_survey */

/* Make volume NAME out of SOURCE, "volume" or "volume@snapshot", and print it. OPTIONS: what the
 * new one has of its own. 0 or negative errno. */
int cli_clone(const struct cli *cli, const char *source, const char *name,
              struct volume_options *options, struct error *err);

/* The commands. */
int command_clone(struct cli *cli, int argc, char *argv[]);
int command_doctor(struct cli *cli, int argc, char *argv[]);
int command_flatten(struct cli *cli, int argc, char *argv[]);
int command_holders(struct cli *cli, int argc, char *argv[]);
int command_inspect(struct cli *cli, int argc, char *argv[]);
int command_keeper(struct cli *cli, int argc, char *argv[]);
int command_ls(struct cli *cli, int argc, char *argv[]);
int command_mount(struct cli *cli, int argc, char *argv[]);
int command_recover(struct cli *cli, int argc, char *argv[]);
int command_restore(struct cli *cli, int argc, char *argv[]);
int command_resize(struct cli *cli, int argc, char *argv[]);
int command_snapshot(struct cli *cli, int argc, char *argv[]);
int command_snapshot_rename(struct cli *cli, int argc, char *argv[]);
int command_takeover(struct cli *cli, int argc, char *argv[]);
int command_top(struct cli *cli, int argc, char *argv[]);
int command_trash(struct cli *cli, int argc, char *argv[]);
int command_umount(struct cli *cli, int argc, char *argv[]);
