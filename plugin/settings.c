/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/settings.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "plugin/address.h"

/* Both programs are built around these limits: a blockd's whole command line must fit into
 * SUPERVISOR_ARGS_MAX, and a socket's path into sun_path. */
#define PATH_TEXT_MAX 255
#define NAME_TEXT_MAX 128
#define HOST_TEXT_MAX 64

#define TRASH_EXPIRY_MAX_S (3650U * 86400)

struct setting {
    const char *flag;
    const char *env;
    const char *value;   /* what the help text calls the value */
    const char *initial; /* NULL: worked out at run time */
    const char *help;
    const char *allowed; /* for the words of an error */
    size_t offset;       /* of the text in struct settings, unless the check stores it itself */
    int (*set)(const struct setting *setting, const char *text, struct settings *settings);
};

static void store(const struct setting *setting, const char *text, struct settings *settings)
{
    *(const char **)((char *)settings + setting->offset) = text;
}

static int text_fits(const char *text, size_t min, size_t max, const char *refused)
{
    size_t len = strnlen(text, max + 1);

    if (len < min || len > max)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (!isgraph((unsigned char)text[i]) || strchr(refused, text[i]))
            return -EINVAL;
    }
    return 0;
}

static int set_path(const struct setting *setting, const char *text, struct settings *settings)
{
    if (text[0] != '/' || strnlen(text, PATH_TEXT_MAX + 1) > PATH_TEXT_MAX)
        return -EINVAL;
    for (const char *p = text; *p; p++) {
        if (iscntrl((unsigned char)*p))
            return -EINVAL;
    }
    store(setting, text, settings);
    return 0;
}

static int set_socket(const struct setting *setting, const char *text, struct settings *settings)
{
    if (strlen(text) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return -EINVAL;
    return set_path(setting, text, settings);
}

static int set_name(const struct setting *setting, const char *text, struct settings *settings)
{
    if (text_fits(text, 1, NAME_TEXT_MAX, "/@") < 0)
        return -EINVAL;
    store(setting, text, settings);
    return 0;
}

static int set_client(const struct setting *setting, const char *text, struct settings *settings)
{
    if (strncmp(text, "client.", strlen("client.")) == 0)
        return -EINVAL;
    return set_name(setting, text, settings);
}

static int set_namespace(const struct setting *setting, const char *text, struct settings *settings)
{
    if (text_fits(text, 0, NAME_TEXT_MAX, "/@") < 0)
        return -EINVAL;
    store(setting, text, settings);
    return 0;
}

static int set_host(const struct setting *setting, const char *text, struct settings *settings)
{
    if (text_fits(text, 1, HOST_TEXT_MAX, "/@") < 0)
        return -EINVAL;
    store(setting, text, settings);
    return 0;
}

static int set_word(const struct setting *setting, const char *text, struct settings *settings)
{
    if (text_fits(text, 1, 32, "") < 0)
        return -EINVAL;
    store(setting, text, settings);
    return 0;
}

static int set_watch_timeout(const struct setting *setting, const char *text,
                             struct settings *settings)
{
    unsigned seconds = 0;

    (void)setting;
    if (strnlen(text, 4) > 3 || text[0] == '\0')
        return -EINVAL;
    for (const char *p = text; *p; p++) {
        if (!isdigit((unsigned char)*p))
            return -EINVAL;
        seconds = seconds * 10 + (unsigned)(*p - '0');
    }
    if (seconds < 5 || seconds > 120)
        return -EINVAL;
    settings->watch_timeout_s = seconds;
    return 0;
}

/* "7d", "12h", "30m", "90s" or "0". */
static int set_trash_expiry(const struct setting *setting, const char *text,
                            struct settings *settings)
{
    static const struct {
        char unit;
        unsigned seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    size_t digits = strspn(text, "0123456789");
    unsigned long number;

    (void)setting;
    if (digits == 0 || digits > 9)
        return -EINVAL;
    number = strtoul(text, NULL, 10);
    if (number == 0 && text[digits] == '\0') {
        settings->trash_expiry_s = 0;
        return 0;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (text[digits] != units[i].unit || text[digits + 1] != '\0')
            continue;
        if (number > TRASH_EXPIRY_MAX_S / units[i].seconds)
            return -EINVAL;
        settings->trash_expiry_s = (unsigned)number * units[i].seconds;
        return 0;
    }
    return -EINVAL;
}

static int set_when_full(const struct setting *setting, const char *text, struct settings *settings)
{
    (void)setting;
    settings->fail_when_full = strcmp(text, "fail") == 0;
    return settings->fail_when_full || strcmp(text, "wait") == 0 ? 0 : -EINVAL;
}

static int set_backend(const struct setting *setting, const char *text, struct settings *settings)
{
    if (strcmp(text, "auto") != 0 && strcmp(text, "nbd") != 0 && strcmp(text, "fuse") != 0)
        return -EINVAL;
    store(setting, text, settings);
    return 0;
}

static int set_address(const struct setting *setting, const char *text, struct settings *settings)
{
    union address address;

    if (text[0] != '\0' && address_parse(text, &address) < 0)
        return -EINVAL;
    store(setting, text, settings);
    return 0;
}

static int set_log_level(const struct setting *setting, const char *text, struct settings *settings)
{
    (void)setting;
    return log_level_parse(text, &settings->log_level);
}

#define AT(member) offsetof(struct settings, member)

static const char path_allowed[] = "an absolute path of at most 255 bytes";
static const char socket_allowed[] = "an absolute path of at most 107 bytes";

/* The one list of settings: parsing, --help and the README follow its order. */
static const struct setting table[] = {
    {"--socket", "RADOS_SOCKET", "PATH", "/run/docker/plugins/rados.sock",
     "the socket Docker connects to; its name is the driver's", socket_allowed, AT(socket),
     set_socket},
    {"--run-dir", "RADOS_RUN_DIR", "DIR", "/run/docker-volume-rados",
     "state that may go with a reboot", path_allowed, AT(run_dir), set_path},
    {"--lib-dir", "RADOS_LIB_DIR", "DIR", "/var/lib/docker-volume-rados",
     "mounts, ledger and cache", path_allowed, AT(lib_dir), set_path},
    {"--ceph-conf", "CEPH_CONF", "FILE", "/etc/ceph/ceph.conf", "how to reach the cluster",
     path_allowed, AT(ceph_conf), set_path},
    {"--ceph-client", "CEPH_CLIENT", "NAME", "docker", "who to be there, without \"client.\"",
     "a client's name without \"client.\", such as \"docker\"", AT(ceph_client), set_client},
    {"--pool", "RADOS_POOL", "NAME", "docker", "the pool that holds the volumes",
     "a pool's name: 1 to 128 bytes without space, / and @", AT(pool), set_name},
    {"--namespace", "RADOS_NAMESPACE", "NAME", "", "the namespace in the pool",
     "a namespace's name: up to 128 bytes without space, / and @", AT(namespace), set_namespace},
    {"--host", "RADOS_HOST", "NAME", NULL, "this host's name, shown as a volume's holder",
     "a host's name: 1 to 64 bytes without space, / and @", AT(host), set_host},
    {"--default-size", "DEFAULT_SIZE", "SIZE", "10G", "size of a volume created without one",
     "a size such as 10G", AT(default_size), set_word},
    {"--default-fs", "DEFAULT_FS", "NAME", "ext4", "filesystem of a volume created without one",
     "ext4 or xfs", AT(default_fs), set_word},
    {"--watch-timeout", "WATCH_TIMEOUT", "SECONDS", "15",
     "after how long a lost host counts as dead", "whole seconds from 5 to 120", 0,
     set_watch_timeout},
    {"--when-full", "WHEN_FULL", "WORD", "wait",
     "what a write does that needs space while the pool is full", "wait or fail", 0, set_when_full},
    {"--backend", "BACKEND", "WORD", "auto",
     "what makes the block devices; auto: the first this machine has", "auto, fuse or nbd",
     AT(backend), set_backend},
    {"--trash-expiry", "TRASH_EXPIRY", "TIME", "7d",
     "how long a removed volume can be brought back; 0: not at all",
     "0, or a number of d, h, m or s up to 3650d, such as 7d", 0, set_trash_expiry},
    {"--metrics-address", "METRICS_ADDRESS", "ADDRESS", "",
     "TCP address that serves /metrics and /healthz to everybody who can reach it",
     "an address and port such as 127.0.0.1:9128, [::1]:9128 or :9128", AT(metrics_address),
     set_address},
    {"--log-level", "LOG_LEVEL", "LEVEL", "info", "error, warning, info or debug",
     "error, warning, info or debug", 0, set_log_level},
    {"--libexec-dir", "RADOS_LIBEXEC_DIR", "DIR", NULL, "where the other programs are",
     path_allowed, AT(libexec_dir), set_path},
};

#define SETTINGS (sizeof(table) / sizeof(table[0]))

static const char *program_name(int argc, char *argv[])
{
    const char *slash;

    if (argc < 1 || !argv[0] || !argv[0][0])
        return "docker-volume-rados";
    slash = strrchr(argv[0], '/');
    return slash ? slash + 1 : argv[0];
}

static void print_help(const char *program)
{
    printf("Usage: %s [--FLAG VALUE]...\n"
           "Docker volume plugin: each volume is an RBD image in a Ceph cluster.\n\n"
           "A setting is a flag or an environment variable; the flag wins.\n\n",
           program);
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &table[i];
        int width = (int)strlen(s->flag) + 1;

        printf("  %s %-*s %-18s %s", s->flag, 24 - width, s->value, s->env, s->help);
        if (s->initial)
            printf(" (%s)", s->initial[0] ? s->initial : "none");
        printf("\n");
    }
    printf("  --help\n  --version\n");
}

/* The setting ARG names, with *ret_value behind its '=' or NULL when the value is the next word. */
static const struct setting *find_flag(const char *arg, const char **ret_value)
{
    size_t len = strcspn(arg, "=");

    for (size_t i = 0; i < SETTINGS; i++) {
        if (strlen(table[i].flag) == len && memcmp(table[i].flag, arg, len) == 0) {
            *ret_value = arg[len] == '=' ? arg + len + 1 : NULL;
            return &table[i];
        }
    }
    return NULL;
}

static int parse_flags(int argc, char *argv[], const char *values[], struct error *err)
{
    for (int i = 1; i < argc; i++) {
        const struct setting *setting;
        const char *value;

        if (strcmp(argv[i], "--help") == 0) {
            print_help(program_name(argc, argv));
            return 1;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("%s %s\n", program_name(argc, argv), VERSION);
            return 1;
        }
        setting = find_flag(argv[i], &value);
        if (!setting)
            return error_set(err, -EINVAL,
                             "unknown flag \"%.64s\"; see --help for the allowed ones", argv[i]);
        if (!value && i + 1 == argc)
            return error_set(err, -EINVAL, "flag %s needs a value: %s", setting->flag,
                             setting->allowed);
        values[setting - table] = value ? value : argv[++i];
    }
    return 0;
}

static int default_host(const char **ret, struct error *err)
{
    static char name[HOST_TEXT_MAX + 1]; /* written once, before there are threads */

    if (gethostname(name, sizeof(name) - 1) < 0)
        return error_errno(err, -errno, "cannot find this host's name; set --host");
    *ret = name;
    return 0;
}

/* Beside this program as built, or where "make install" puts the rest when this one is in sbin. */
static int default_libexec_dir(const char **ret, struct error *err)
{
    static const char installed[] = "/../libexec/docker-volume-rados";
    static char dir[PATH_TEXT_MAX + 1]; /* written once, before there are threads */
    char server[sizeof(dir) + 32];
    size_t used;
    ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - sizeof(installed));
    char *slash;

    if (len < 0)
        return error_errno(err, -errno, "cannot read /proc/self/exe; set --libexec-dir");
    dir[len] = '\0';
    slash = strrchr(dir, '/');
    if (!slash || (size_t)len == sizeof(dir) - sizeof(installed))
        return error_set(err, -EINVAL, "this program's path is too long; set --libexec-dir");
    slash[slash == dir] = '\0';
    used = strlen(dir);
    snprintf(server, sizeof(server), "%s/docker-volume-rados-server", dir);
    if (access(server, F_OK) < 0)
        memcpy(dir + used, installed, sizeof(installed));
    *ret = dir;
    return 0;
}

static int set_default(const struct setting *setting, struct settings *settings, struct error *err)
{
    const char *text = setting->initial;
    int rc = 0;

    if (setting->offset == AT(host) && setting->set == set_host)
        rc = default_host(&text, err);
    else if (setting->offset == AT(libexec_dir) && setting->set == set_path)
        rc = default_libexec_dir(&text, err);
    if (rc < 0)
        return rc;
    if (setting->set(setting, text, settings) < 0)
        return error_set(err, -EINVAL, "the default \"%.64s\" does not serve; set %s to %s", text,
                         setting->flag, setting->allowed);
    return 0;
}

int settings_parse(int argc, char *argv[], struct settings *ret, struct error *err)
{
    const char *values[SETTINGS] = {NULL};
    struct settings settings = {0};
    int rc = parse_flags(argc, argv, values, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &table[i];
        const char *text = values[i];
        /* Managed plugins hand over every variable they know, empty when not set. */
        const char *env = text ? NULL : getenv(s->env);

        if (env && env[0])
            text = env;
        if (!text) {
            rc = set_default(s, &settings, err);
            if (rc < 0)
                return rc;
        } else if (s->set(s, text, &settings) < 0) {
            return error_set(err, -EINVAL, "%s %s: \"%.128s\" is not allowed; allowed: %s",
                             values[i] ? "flag" : "environment variable",
                             values[i] ? s->flag : s->env, text, s->allowed);
        }
    }
    *ret = settings;
    return 0;
}
