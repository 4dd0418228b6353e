/* SPDX-License-Identifier: Apache-2.0 */

/* radosvol: the operator's program. It talks to the cluster itself, so it works with the plugin
 * dead, and on hosts that have none. */

#include <locale.h>

#include "base/log.h"
#include "cli/commands.h"

static const struct command commands[] = {
    {"ls", "list the volumes", command_ls},
    {"inspect", "everything that is known of a volume", command_inspect},
    {"holders", "who holds which volume, and whether that client lives", command_holders},
    {"top", "what the volumes mounted here do at the moment", command_top},
    {"snapshot", "take, list, remove and protect snapshots", command_snapshot},
    {"restore", "bring a volume back to one of its snapshots", command_restore},
    {"resize", "make a volume larger, also while it is mounted", command_resize},
    {"trash", "list, bring back and delete removed volumes", command_trash},
    {"takeover", "take a volume away from a host that is cut off", command_takeover},
    {"recover", "free all volumes of a lost host", command_recover},
    {"clone", "make a volume that begins as another one, or a snapshot of it", command_clone},
    {"flatten", "make a clone independent of its source", command_flatten},
    {"mount", "mount a volume here without Docker", command_mount},
    {"umount", "undo a mount", command_umount},
    {"doctor", "check this host, the cluster and the volumes", command_doctor},
    {"keeper", NULL, command_keeper},
};

int main(int argc, char *argv[])
{
    static char name[] = "radosvol";
    struct cli cli = {0};

    setlocale(LC_CTYPE, "");
    log_init("radosvol", LOG_LEVEL_WARNING);
    argp_program_version = "radosvol " VERSION;
    argp_err_exit_status = EXIT_USAGE;
    argv[0] = name;
    return commands_run(&cli, "Look after Docker volumes that are RBD images in a Ceph cluster.",
                        commands, sizeof(commands) / sizeof(commands[0]), argc, argv);
}
