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

static const char doc[] =
    "Unmount what 'radosvol mount' has mounted on DIR, and give the volume back. May be repeated "
    "when it failed.";

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

static int unmount(const struct cli *cli, const char *dir, struct error *err)
{
    char canonical[PATH_MAX];
    struct rescue rescue = {0};
    json_t *result;
    int r = find(dir, canonical, &rescue, err);

    if (r == 0)
        r = filesystem_leave(canonical, err);
    if (r == 0)
        r = detach(&rescue, err);
    if (r < 0)
        return r;
    rescue_remove(&rescue);
    result = json_object();
    object_add_text(result, "directory", canonical);
    object_add(result, "mounted", json_false());
    object_print(cli, result);
    return 0;
}

int command_umount(struct cli *cli, int argc, char *argv[])
{
    const char *dir = cli_parse_word(cli, "DIR", doc, cli_common, argc, argv);
    struct error err;

    if (geteuid() != 0)
        return cli_fail_words("only root can unmount; run it as root");
    return unmount(cli, dir, &err) < 0 ? cli_fail(&err) : 0;
}
