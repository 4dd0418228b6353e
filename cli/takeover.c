/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/holder.h"
#include "cli/table.h"
#include "image/takeover.h"
#include "volume/displace.h"

/* radosvol takeover VOLUME */

#define TAKEOVER_MS 60000

static const char doc[] =
    "Take a volume away from the client that holds it, and leave it free.\v"
    "For a host that lives and is cut off from its users. A volume of a dead host needs none of "
    "this: the next mount takes it over by itself. 'radosvol recover' frees all that a host holds.";

static void announce(const struct volume_facts *facts, enum holder_life life)
{
    struct holder_text holder;

    holder_text(&facts->lock, &holder);
    fprintf(stderr,
            "Volume '%s' is held by %s%s%s (client %llu at %s), which is %s.\n"
            "Taking it over\n"
            "  - has the cluster refuse everything from that one client: what it has not written "
            "yet\n"
            "    is lost, and programs that use the volume there get I/O errors;\n"
            "  - breaks its lock, so that any host can mount the volume.\n"
            "Other volumes of that host stay as they are.\n",
            facts->name, holder.host, holder.since[0] ? " since " : "", holder.since,
            (unsigned long long)facts->lock.holder.client_id, facts->lock.holder.address,
            holder_life_word(life));
}

static int take_over(const struct cli *cli, struct cluster *cluster,
                     const struct volume_facts *facts, struct error *err)
{
    enum holder_life life;
    json_t *result;
    int r =
        takeover_look(cluster, facts->id, &facts->lock, deadline_in_ms(CLI_READ_MS), &life, err);

    if (r < 0)
        return r;
    announce(facts, life);
    r = cli_confirm(cli, err);
    if (r < 0)
        return r;
    progress("fencing client %llu", (unsigned long long)facts->lock.holder.client_id);
    r = volume_displace(cluster, facts, cli->settings.host, "an operator asked for it",
                        deadline_in_ms(TAKEOVER_MS), err);
    progress_end();
    if (r < 0)
        return r;
    result = json_object();
    object_add_text(result, "volume", facts->name);
    object_add(result, "from", holder_json(&facts->lock, life));
    object_add(result, "free", json_true());
    object_print(cli, result);
    return 0;
}

int command_takeover(struct cli *cli, int argc, char *argv[])
{
    cleanup_volume_facts struct volume_facts facts = {0};
    cleanup_cluster struct cluster *cluster = NULL;
    const char *name = cli_parse_word(cli, "VOLUME", doc, cli_common_ask, argc, argv);
    struct error err;

    if (cli_connect(cli, &cluster, &err) < 0 || cli_read_volume(cluster, name, &facts, &err) < 0)
        return cli_fail(&err);
    if (facts.lock.count == 0)
        return cli_fail_words("nobody holds volume '%s', so there is nothing to take over: any "
                              "host can mount it",
                              name);
    return take_over(cli, cluster, &facts, &err) < 0 ? cli_fail(&err) : 0;
}
