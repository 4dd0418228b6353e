/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "block/control.h"
#include "cli/cli.h"
#include "cli/rescue.h"
#include "cli/table.h"
#include "volume/filesystem.h"

/* radosvol umount DIR */

#define DETACH_MS 30000

struct umount_args {
    struct cli *cli;
    const char *dir;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct umount_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case ARGP_KEY_ARG:
        if (args->dir)
            argp_error(state, "one directory at a time");
        args->dir = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which directory?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "DIR",
    .doc = "Unmount what 'radosvol mount' has mounted on DIR, and give the volume back. May be "
           "repeated when it failed.",
    .children = cli_common,
};

static int find(const char *dir, char canonical[PATH_MAX], struct rescue *ret, struct error *err)
{
    int r = rescue_canonical(dir, canonical);

    if (r == 0)
        r = rescue_find(canonical, ret);
    if (r == -ENOENT)
        return error_set(err, r,
                         "nothing is mounted on '%s' by 'radosvol mount'; what Docker has mounted "
                         "goes with its container",
                         dir);
    return r < 0 ? error_errno(err, r, "cannot look at '%s'", dir) : 0;
}

static int detach(const struct rescue *rescue, struct error *err)
{
    struct blockd_reply reply;
    int r;

    progress("giving the volume back");
    r = blockd_call(rescue->socket, BLOCKD_DETACH, deadline_in_ms(DETACH_MS), &reply, err);
    progress_end();
    if (r != -ENOENT && r != -ECONNREFUSED && r != -ECONNRESET)
        return r;
    cli_fail_words("the volume's process had ended before; the cluster gives its lock up when the "
                   "next mount asks for it");
    return 0;
}

static int unmount(const struct umount_args *args, struct error *err)
{
    char dir[PATH_MAX];
    struct rescue rescue = {0};
    json_t *result;
    int r = find(args->dir, dir, &rescue, err);

    if (r == 0)
        r = filesystem_leave(dir, err);
    if (r == 0)
        r = detach(&rescue, err);
    if (r < 0)
        return r;
    rescue_remove(&rescue);
    result = json_object();
    object_add_text(result, "directory", dir);
    object_add(result, "mounted", json_false());
    object_print(args->cli, result);
    return 0;
}

int command_umount(struct cli *cli, int argc, char *argv[])
{
    struct umount_args args = {.cli = cli};
    struct error err;

    cli_parse(cli, &argp, argc, argv, &args);
    if (geteuid() != 0)
        return cli_fail_words("only root can unmount; run it as root");
    return unmount(&args, &err) < 0 ? cli_fail(&err) : 0;
}
