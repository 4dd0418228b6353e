/* SPDX-License-Identifier: Apache-2.0 */
#include "rados/cluster.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* How long librados itself keeps trying a control operation. Callers give up earlier, at their own
 * deadline (op.h); this bound makes sure that an abandoned operation ends at all. */
#define CONTROL_OP_TIMEOUT "30"

/* Monitor commands (blocklist) have a bound on the data path too: a takeover must not hang for
 * ever. */
#define MON_TIMEOUT "30"

#define MESSENGER_THREADS         "ms_async_op_threads"
#define MESSENGER_THREADS_DEFAULT 3

struct cluster {
    enum cluster_kind kind;
    bool is_view; /* the client is another's */
    rados_t rados;
    rados_ioctx_t io;
    int64_t pool_id;
    char *client;
    char *pool;
    char *namespace;
    char *token;
    char address[128];
};

/* Ceph's default number of messenger threads is for servers. With more than one for two processors,
 * a read of 1 MiB took 15 % more CPU time (docs/performance.md). Another number than the default is
 * an administrator's, and stays. */
static void spare_threads(rados_t rados)
{
    const long enough = sysconf(_SC_NPROCESSORS_ONLN) / 2;
    char number[16];

    if (enough >= MESSENGER_THREADS_DEFAULT ||
        rados_conf_get(rados, MESSENGER_THREADS, number, sizeof(number)) < 0 ||
        strtol(number, NULL, 10) != MESSENGER_THREADS_DEFAULT)
        return;
    snprintf(number, sizeof(number), "%ld", enough > 0 ? enough : 1);
    rados_conf_set(rados, MESSENGER_THREADS, number);
}

static int configure(rados_t rados, enum cluster_kind kind, int64_t deadline, struct error *err)
{
    int left_s = deadline_left_ms(deadline) / 1000;
    char mount_timeout[16];
    const struct {
        const char *option;
        const char *value;
    } options[] = {
        {"client_mount_timeout", mount_timeout},
        {"rados_osd_op_timeout", kind == CLUSTER_CONTROL ? CONTROL_OP_TIMEOUT : "0"},
        {"rados_mon_op_timeout", MON_TIMEOUT},
        /* What a client of a block device must not do: write files, perhaps on its own volume. */
        {"log_file", ""},
        {"admin_socket", ""},
        {"log_to_stderr", "false"},
        {"err_to_stderr", "false"},
    };

    snprintf(mount_timeout, sizeof(mount_timeout), "%d", left_s > 0 ? left_s : 1);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        int r = rados_conf_set(rados, options[i].option, options[i].value);

        if (r < 0)
            return error_errno(err, r, "cannot set '%s' for the Ceph client", options[i].option);
    }
    return 0;
}

/* Does any of the keyring files that ceph.conf names exist? */
static bool keyring_exists(rados_t rados, char *paths, size_t size)
{
    char copy[1024];
    char *rest = copy;
    char *path;

    if (rados_conf_get(rados, "keyring", paths, size) < 0)
        return false;
    snprintf(copy, sizeof(copy), "%s", paths);
    while ((path = strsep(&rest, ",; "))) {
        if (*path && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

static int connect_failed(rados_t rados, const struct cluster_settings *settings, int r,
                          struct error *err)
{
    char text[1024] = "";

    if (!keyring_exists(rados, text, sizeof(text)))
        return error_set(err, -ENOENT,
                         "no keyring for client.%s (looked for %s): put one there with "
                         "'ceph auth get client.%s'",
                         settings->client, text, settings->client);
    switch (r) {
    case -EACCES:
    case -EPERM:
        return error_set(err, r,
                         "the cluster refuses client.%s: its key in %s is wrong; compare it with "
                         "'ceph auth get client.%s'",
                         settings->client, text, settings->client);
    case -ETIMEDOUT:
        if (rados_conf_get(rados, "mon_host", text, sizeof(text)) < 0)
            text[0] = '\0';
        return error_set(err, r,
                         "no Ceph monitor answers (mon_host in %s: %s): check the network and "
                         "'ceph -s'",
                         settings->conf, text);
    default:
        return error_errno(err, r, "cannot connect to Ceph as client.%s with %s", settings->client,
                           settings->conf);
    }
}

static int open_io(struct cluster *cluster, const struct cluster_settings *settings,
                   struct error *err)
{
    int64_t id = cluster_pool_lookup(cluster, settings->pool, err);

    if (id < 0)
        return (int)id;
    cluster->pool_id = id;
    return cluster_open_pool(cluster, id, &cluster->io, err);
}

int cluster_connect(const struct cluster_settings *settings, enum cluster_kind kind,
                    int64_t deadline, struct cluster **ret, struct error *err)
{
    cleanup_cluster struct cluster *cluster = calloc(1, sizeof(*cluster));
    char *address = NULL;
    int r;

    if (!cluster)
        return error_set(err, -ENOMEM, "out of memory");
    cluster->kind = kind;
    cluster->client = strdup(settings->client);
    cluster->pool = strdup(settings->pool);
    cluster->namespace = strdup(settings->namespace);
    cluster->token = strdup(settings->token ? settings->token : "");
    if (!cluster->client || !cluster->pool || !cluster->namespace || !cluster->token)
        return error_set(err, -ENOMEM, "out of memory");

    r = rados_create(&cluster->rados, settings->client);
    if (r < 0) {
        cluster->rados = NULL;
        return error_errno(err, r, "cannot make a Ceph client");
    }
    r = rados_conf_read_file(cluster->rados, settings->conf);
    if (r == -ENOENT)
        return error_set(err, r, "%s does not exist: copy ceph.conf from the cluster",
                         settings->conf);
    if (r < 0)
        return error_errno(err, r, "cannot read %s", settings->conf);
    spare_threads(cluster->rados);
    r = configure(cluster->rados, kind, deadline, err);
    if (r < 0)
        return r;
    r = rados_connect(cluster->rados);
    if (r < 0)
        return connect_failed(cluster->rados, settings, r, err);
    r = open_io(cluster, settings, err);
    if (r < 0)
        return r;

    if (rados_getaddrs(cluster->rados, &address) == 0)
        snprintf(cluster->address, sizeof(cluster->address), "%s", address);
    free(address);
    *ret = steal_pointer(&cluster);
    return 0;
}

int cluster_open_view(const struct cluster *cluster, int64_t pool_id, const char *namespace,
                      struct cluster **ret, struct error *err)
{
    cleanup_cluster struct cluster *view = calloc(1, sizeof(*view));
    char pool[256];
    int r;

    if (!view)
        return error_set(err, -ENOMEM, "out of memory");
    view->kind = cluster->kind;
    view->is_view = true;
    view->rados = cluster->rados;
    view->pool_id = pool_id;
    snprintf(view->address, sizeof(view->address), "%s", cluster->address);
    r = rados_pool_reverse_lookup(cluster->rados, pool_id, pool, sizeof(pool));
    if (r < 0)
        return error_errno(err, r, "cannot find pool number %lld", (long long)pool_id);
    view->client = strdup(cluster->client);
    view->pool = strdup(pool);
    view->namespace = strdup(namespace);
    view->token = strdup(cluster->token);
    if (!view->client || !view->pool || !view->namespace || !view->token)
        return error_set(err, -ENOMEM, "out of memory");
    r = cluster_open_pool(view, pool_id, &view->io, err);
    if (r < 0)
        return r;
    *ret = steal_pointer(&view);
    return 0;
}

void cluster_close(struct cluster *cluster)
{
    if (!cluster)
        return;
    if (cluster->io)
        rados_ioctx_destroy(cluster->io);
    if (cluster->rados && !cluster->is_view)
        rados_shutdown(cluster->rados);
    free(cluster->client);
    free(cluster->pool);
    free(cluster->namespace);
    free(cluster->token);
    free(cluster);
}

rados_t cluster_rados(const struct cluster *cluster)
{
    return cluster->rados;
}

rados_ioctx_t cluster_io(const struct cluster *cluster)
{
    return cluster->io;
}

int64_t cluster_pool_id(const struct cluster *cluster)
{
    return cluster->pool_id;
}

const char *cluster_pool(const struct cluster *cluster)
{
    return cluster->pool;
}

const char *cluster_namespace(const struct cluster *cluster)
{
    return cluster->namespace;
}

const char *cluster_token(const struct cluster *cluster)
{
    return cluster->token;
}

uint64_t cluster_client_id(const struct cluster *cluster)
{
    return rados_get_instance_id(cluster->rados);
}

const char *cluster_address(const struct cluster *cluster)
{
    return cluster->address;
}

int cluster_explain(const struct cluster *cluster, int r, struct error *err)
{
    const char *words = error_words(r);
    size_t len;

    if (!err || (r != -EPERM && r != -EACCES))
        return r;
    len = strlen(err->text);
    if (len < strlen(words) || strcmp(err->text + len - strlen(words), words) != 0)
        return r;
    snprintf(err->text + len, sizeof(err->text) - len,
             "; the client lacks rights: ceph auth caps client.%s mon 'profile rbd' osd 'profile "
             "rbd pool=%s' mgr 'profile rbd pool=%s' (and osd 'profile rbd pool=...' for each pool "
             "of data)",
             cluster->client, cluster->pool, cluster->pool);
    return r;
}

int64_t cluster_pool_lookup(struct cluster *cluster, const char *pool, struct error *err)
{
    int64_t id = rados_pool_lookup(cluster->rados, pool);

    if (id == -ENOENT) {
        /* The pool may be newer than the map this client has. */
        rados_wait_for_latest_osdmap(cluster->rados);
        id = rados_pool_lookup(cluster->rados, pool);
    }
    if (id == -ENOENT)
        return error_set(err, -ENOENT,
                         "the cluster has no pool '%s': make it with 'ceph osd pool create %s' and "
                         "'ceph osd pool application enable %s rbd'",
                         pool, pool, pool);
    if (id < 0)
        return error_errno(err, (int)id, "cannot look up pool '%s'", pool);
    return id;
}

int cluster_open_pool(struct cluster *cluster, int64_t pool_id, rados_ioctx_t *ret,
                      struct error *err)
{
    rados_ioctx_t io;
    int r = rados_ioctx_create2(cluster->rados, pool_id, &io);

    if (r < 0)
        return error_errno(err, r, "cannot open pool number %lld", (long long)pool_id);
    rados_ioctx_set_namespace(io, cluster->namespace);
    /* A control operation on a full pool fails and frees; a write of the data path waits, as on a
     * disk that is slow, until there is space again. */
    if (cluster->kind == CLUSTER_CONTROL)
        rados_set_pool_full_try(io);
    *ret = io;
    return 0;
}
