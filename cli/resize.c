/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "block/control.h"
#include "cli/cli.h"
#include "cli/holder.h"
#include "cli/rescue.h"
#include "cli/table.h"
#include "volume/filesystem.h"
#include "volume/resize.h"

/* radosvol resize VOLUME SIZE */

#define RESIZE_MS 120000
#define PEEK_MS   2000

struct resize_args {
    struct cli *cli;
    const char *name;
    uint64_t size;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct resize_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            args->name = arg;
        else if (state->arg_num > 1)
            argp_error(state, "one VOLUME and one SIZE");
        else if (size_parse(arg, &args->size) < 0)
            argp_error(state, "'%s' is no size; one is 20G, for example", arg);
        return 0;
    case ARGP_KEY_END:
        if (!args->size)
            argp_error(state, "which VOLUME, and which SIZE?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "VOLUME SIZE",
    .doc = "Make a volume larger, also while it is mounted.\v"
           "SIZE is its new size, such as 20G. The file system follows by itself on the host that "
           "has the volume mounted, or with the next mount. A volume cannot be made smaller.",
    .children = cli_common,
};

/* Of a volume that `radosvol mount` has mounted on this host: nobody else looks after it. 1 when
 * there is none. */
static int grow_rescue(const char *id, uint64_t *ret_size, struct error *err)
{
    struct blockd_reply reply;
    struct rescue rescue;
    char dir[PATH_MAX];
    uint64_t before;
    ssize_t len;

    rescue_paths(id, &rescue);
    len = readlink(rescue.link, dir, sizeof(dir) - 1);
    if (len <= 0 ||
        blockd_call(rescue.socket, BLOCKD_STATUS, deadline_in_ms(PEEK_MS), &reply, err) < 0)
        return 1;
    dir[len] = '\0';
    return filesystem_grow(reply.device, dir, &before, ret_size, err);
}

static void add_filesystem(json_t *result, const struct volume_facts *facts, uint64_t grown)
{
    struct holder_text holder;
    char words[512];

    if (grown > 0) {
        object_add(result, "file-system", json_integer((json_int_t)grown));
    } else if (facts->lock.count > 0) {
        holder_text(&facts->lock, &holder);
        snprintf(words, sizeof(words), "follows on %s, which has it mounted", holder.host);
        object_add_text(result, "file-system", words);
    } else {
        object_add_text(result, "file-system", "follows with the next mount");
    }
}

int command_resize(struct cli *cli, int argc, char *argv[])
{
    cleanup_volume_facts struct volume_facts facts = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    struct resize_args args = {.cli = cli};
    struct error err;
    uint64_t grown = 0;
    json_t *result;
    int r;

    cli_parse(cli, &argp, argc, argv, &args);
    if (cli_connect(cli, &cluster, &err) < 0)
        return cli_fail(&err);
    progress("resizing volume '%s'", args.name);
    r = volume_resize(cluster, args.name, args.size, cli->settings.host, deadline_in_ms(RESIZE_MS),
                      &facts, &err);
    if (r == 0)
        r = grow_rescue(facts.id, &grown, &err);
    progress_end();
    if (r < 0)
        return cli_fail(&err);
    result = json_object();
    object_add_text(result, "volume", args.name);
    object_add(result, "size", json_integer((json_int_t)args.size));
    object_add(result, "before", json_integer((json_int_t)facts.size));
    add_filesystem(result, &facts, grown);
    object_print(cli, result);
    return 0;
}
