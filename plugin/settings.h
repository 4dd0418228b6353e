/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"

/* The settings of supervisor and server: a flag and an environment variable each, the flag wins.
 * One table in settings.c makes both, the help text and the README's list agree. Strings are
 * borrowed from argv, environ or the binary: no allocation. */

struct settings {
    const char *socket;          /* --socket, RADOS_SOCKET: /run/docker/plugins/rados.sock */
    const char *run_dir;         /* --run-dir, RADOS_RUN_DIR: /run/docker-volume-rados */
    const char *lib_dir;         /* --lib-dir, RADOS_LIB_DIR: /var/lib/docker-volume-rados */
    const char *ceph_conf;       /* --ceph-conf, CEPH_CONF: /etc/ceph/ceph.conf */
    const char *ceph_client;     /* --ceph-client, CEPH_CLIENT: docker */
    const char *pool;            /* --pool, RADOS_POOL: docker */
    const char *namespace;       /* --namespace, RADOS_NAMESPACE: "" */
    const char *host;            /* --host, RADOS_HOST: this host's name, shown as the holder */
    const char *default_size;    /* --default-size, DEFAULT_SIZE: 10G; checked by the server */
    const char *default_fs;      /* --default-fs, DEFAULT_FS: ext4; checked by the server */
    unsigned watch_timeout_s;    /* --watch-timeout, WATCH_TIMEOUT: 15; 5 to 120 */
    bool fail_when_full;         /* --when-full, WHEN_FULL: wait (false), or fail */
    const char *backend;         /* --backend, BACKEND: auto, nbd or fuse */
    unsigned trash_expiry_s;     /* --trash-expiry, TRASH_EXPIRY: 7d; 0: delete at once */
    const char *metrics_address; /* --metrics-address, METRICS_ADDRESS: "" (none), see address.h */
    enum log_level log_level;    /* --log-level, LOG_LEVEL: info */
    const char *libexec_dir;     /* --libexec-dir, RADOS_LIBEXEC_DIR: where the server and blockd
                                  * binaries are; by default the directory of /proc/self/exe, or where
                                  * "make install" puts them when the server is not there */
};

/* Fill from argv and the environment. 0; 1 when --help or --version was asked for and printed;
 * -EINVAL with err naming the flag or variable, its value and what is allowed. */
int settings_parse(int argc, char *argv[], struct settings *ret, struct error *err);
