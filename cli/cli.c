/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

int cli_fail(const struct error *err)
{
    progress_end();
    fprintf(stderr, "radosvol: %s\n", err->text);
    return EXIT_FAILED;
}

int cli_fail_words(const char *format, ...)
{
    va_list ap;

    progress_end();
    fputs("radosvol: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

struct cluster_settings cli_cluster_settings(const struct cli *cli)
{
    return (struct cluster_settings){
        .conf = cli->settings.ceph_conf,
        .client = cli->settings.ceph_client,
        .pool = cli->settings.pool,
        .namespace = cli->settings.namespace,
    };
}

int cli_connect(const struct cli *cli, struct cluster **ret, struct error *err)
{
    const struct cluster_settings settings = cli_cluster_settings(cli);
    int r;

    progress("connecting to the cluster");
    r = cluster_connect(&settings, CLUSTER_CONTROL, deadline_in_ms(CLI_CONNECT_MS), ret, err);
    progress_end();
    return r;
}

int cli_read_volume(struct cluster *cluster, const char *name, struct volume_facts *ret,
                    struct error *err)
{
    int r = volume_read(cluster, name, deadline_in_ms(CLI_READ_MS), ret, err);

    if (r == -ENOENT)
        error_set(err, r, "no such volume: '%s'; see 'radosvol ls'", name);
    return r;
}

int cli_confirm(const struct cli *cli, struct error *err)
{
    char answer[16] = "";

    if (cli->yes)
        return 0;
    if (!isatty(STDIN_FILENO))
        return error_set(err, -ECANCELED,
                         "nothing was done: there is no terminal to ask on; add --yes if this is "
                         "what you want");
    fputs("Go on? [y/N] ", stderr);
    fflush(stderr);
    if (fgets(answer, sizeof(answer), stdin) &&
        (strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0))
        return 0;
    return error_set(err, -ECANCELED, "nothing was done");
}

void progress(const char *format, ...)
{
    va_list ap;

    if (!isatty(STDERR_FILENO))
        return;
    fputs("\r\033[K", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fflush(stderr);
}

void progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

void progress_of_survey(void *arg, size_t done, size_t total)
{
    (void)arg;
    progress("%zu of %zu volumes", done, total);
}
