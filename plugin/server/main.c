/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "block/backend.h"
#include "plugin/server/http.h"
#include "plugin/server/metrics_listen.h"
#include "plugin/server/monitoring.h"
#include "plugin/server/operator.h"
#include "plugin/server/supervisor_client.h"
#include "plugin/server/volume_driver.h"
#include "plugin/settings.h"
#include "volume/filesystem.h"

/* The server: started by the supervisor with descriptor 3, the way back to it, and 4, the HTTP
 * socket. It may be killed at any time and started again. What is wrong with the machine or the
 * cluster is logged and does not keep it from serving: dockerd must always get its answers. */

#define PROGRAM      "docker-volume-rados-server"
#define STOP_METRICS 500  /* ms for scrapes to end */
#define STOP_CALLS   7000 /* ms for running calls to end */
#define STOP_MOUNTS  700  /* ms to give back what nobody uses */
#define STOP_CLUSTER 200

/* Log what is missing on this machine. What is wrong with ceph.conf, keyring or pool is said by
 * cluster_link, which tries them now. */
static void check_machine(const struct settings *settings)
{
    const struct backend_ops *backend;
    struct error err = {0};

    for (enum filesystem fs = FILESYSTEM_EXT4; fs <= FILESYSTEM_XFS; fs++) {
        if (filesystem_check_tools(fs, &err) < 0)
            log_error("%s volumes cannot be made or mounted: %s", filesystem_name(fs), err.text);
    }
    backend = backend_choose(settings->backend, NULL, &err);
    if (!backend)
        log_error("volumes cannot be mounted on this machine: %s", err.text);
    else if (backend->caution && backend->caution(&err) < 0)
        log_warning("%s", err.text);
}

static int read_defaults(const struct settings *settings, struct volume_driver *ret,
                         struct error *err)
{
    struct volume_options options = {0};
    int r;

    if (size_parse(settings->default_size, &ret->default_size) < 0)
        return error_set(err, -EINVAL,
                         "the default size (--default-size, DEFAULT_SIZE) is '%s'; it must be a "
                         "size such as 10G",
                         settings->default_size);
    if (filesystem_parse(settings->default_fs, &ret->default_fs) < 0)
        return error_set(err, -EINVAL,
                         "the default file system (--default-fs, DEFAULT_FS) is '%s'; it must be "
                         "ext4 or xfs",
                         settings->default_fs);
    volume_options_init(&options, ret->default_size, ret->default_fs);
    r = volume_options_check(&options, err);
    volume_options_free(&options);
    if (r < 0)
        error_wrap(err, "the default size '%s' does not fit the default file system '%s'",
                   settings->default_size, settings->default_fs);
    return r;
}

static int make_dirs(const struct settings *settings, char scratch[PATH_MAX], struct error *err)
{
    const struct {
        const char *parent;
        const char *name;
    } dirs[] = {
        {settings->run_dir, "ledger"},
        {settings->run_dir, "blockd"},
        {settings->lib_dir, "mounts"},
        {settings->lib_dir, "scratch"},
    };
    char path[PATH_MAX];
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        if (snprintf(path, sizeof(path), "%s/%s", dirs[i].parent, dirs[i].name) >=
            PATH_MAX - VOLUME_NAME_MAX)
            return error_set(err, -ENAMETOOLONG, "the directory's path is too long: '%s'",
                             dirs[i].parent);
        r = file_make_dir(path, 0700, err);
        if (r == 0 && chmod(path, 0700) < 0) /* it may have been there */
            r = error_errno(err, -errno, "cannot keep others out of '%s'", path);
    }
    snprintf(scratch, PATH_MAX, "%s", path);
    return r;
}

/* A server that was killed while it wrote a state file has left half of one. */
static void clean_dirs(const struct settings *settings)
{
    char ledger[PATH_MAX];

    snprintf(ledger, sizeof(ledger), "%s/ledger", settings->run_dir);
    file_remove_unfinished(ledger);
    file_remove_unfinished(settings->run_dir);
    file_remove_unfinished(settings->lib_dir);
}

static int open_cache(const struct settings *settings, struct cache **ret, struct error *err)
{
    char file[PATH_MAX];

    if (snprintf(file, sizeof(file), "%s/cache.json", settings->lib_dir) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "the directory's path is too long: '%s'",
                         settings->lib_dir);
    return cache_open(file, ret, err);
}

/* What Docker's calls go through, and what is measured. */
struct fronts {
    struct calls *calls;
    struct http *http;
    struct metrics_listener *metrics; /* NULL: no address is set, or it cannot be had */
};

static int start_fronts(struct volume_driver *driver, const struct attach *attach,
                        struct fronts *ret, struct error *err)
{
    static const struct endpoint *const endpoints[] = {
        volume_driver_endpoints,
        operator_volume_endpoints,
        operator_snapshot_endpoints,
        operator_clone_endpoints,
        operator_trash_endpoints,
        monitoring_endpoints,
        NULL,
    };
    const char *address = driver->settings->metrics_address;
    struct error why = {0};
    int r;

    ret->calls = calls_new(driver);
    if (!ret->calls)
        return error_errno(err, -ENOMEM, "cannot start the HTTP front");
    r = metrics_start(attach, driver->mounts, ret->calls, &driver->metrics, err);
    if (r == 0)
        r = http_start(HTTP_LISTEN_FD, HTTP_CONNECTIONS_FREE, endpoints, driver, ret->calls,
                       &ret->http, err);
    if (r == 0 && address[0] != '\0' && metrics_listen(address, driver, &ret->metrics, &why) < 0)
        log_error("%s", why.text);
    return r;
}

static int start(const struct settings *settings, struct volume_driver *driver, struct fronts *ret,
                 struct error *err)
{
    static char scratch[PATH_MAX];
    static char token[LEDGER_TOKEN_MAX];
    struct attach attach = {.settings = settings};
    int r = make_dirs(settings, scratch, err);

    driver->settings = settings;
    driver->scratch_dir = scratch;
    clean_dirs(settings);
    if (r == 0)
        r = supervisor_client_open(SUPERVISOR_FD, &attach.supervisor, err);
    if (r == 0)
        r = ledger_server_token(settings->run_dir, token, err);
    if (r == 0)
        r = cluster_link_start(settings, token, &attach.link, err);
    driver->link = attach.link;
    if (r == 0)
        r = open_cache(settings, &driver->cache, err);
    if (r == 0)
        r = mounts_open(&attach, &driver->mounts, err);
    if (r == 0)
        r = space_start(driver->link, &driver->space, err);
    if (r == 0)
        r = sweeper_start(driver->link, &driver->sweeper, err);
    if (r == 0)
        r = start_fronts(driver, &attach, ret, err);
    return r;
}

static void stop(struct volume_driver *driver, struct fronts *fronts)
{
    int64_t deadline = deadline_in_ms(STOP_CALLS);

    metrics_listener_stop(fronts->metrics,
                          deadline_earlier(deadline, deadline_in_ms(STOP_METRICS)));
    if (!http_stop(fronts->http, deadline) || !calls_free(fronts->calls, deadline))
        log_warning("ending although some calls are still running");
    mounts_stop(driver->mounts, deadline_in_ms(STOP_MOUNTS));
    cache_close(driver->cache);
    cluster_link_stop(driver->link, deadline_in_ms(STOP_CLUSTER));
}

int main(int argc, char *argv[])
{
    struct settings settings;
    struct volume_driver driver = {0};
    struct fronts fronts = {0};
    struct error err = {0};
    sigset_t signals;
    int signal_number;
    int r;

    log_init(PROGRAM, LOG_LEVEL_INFO);
    r = settings_parse(argc, argv, &settings, &err);
    if (r > 0)
        return 0;
    if (r == 0)
        r = read_defaults(&settings, &driver, &err);
    if (r < 0) {
        log_error("%s", err.text);
        return 2;
    }
    log_init(PROGRAM, settings.log_level);
    log_set_place(settings.host, NULL);

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    fcntl(SUPERVISOR_FD, F_SETFD, FD_CLOEXEC);
    fcntl(HTTP_LISTEN_FD, F_SETFD, FD_CLOEXEC);

    r = start(&settings, &driver, &fronts, &err);
    if (r < 0) {
        log_error("%s", err.text);
        return 1;
    }
    check_machine(&settings);
    log_info("serving %s, pool '%s', as host '%s'", settings.socket, settings.pool, settings.host);
    sigwait(&signals, &signal_number);
    log_info("ending on signal %d", signal_number);
    stop(&driver, &fronts);
    /* Not exit(): threads that could not be waited for must not run into its handlers. */
    _exit(0);
}
