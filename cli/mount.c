/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "block/control.h"
#include "cli/cli.h"
#include "cli/rescue.h"
#include "cli/start.h"
#include "cli/table.h"
#include "plugin/blockd_args.h"
#include "volume/filesystem.h"
#include "volume/volume.h"

/* radosvol mount VOLUME DIR: the plugin's mount, without the plugin. Two processes stay behind: a
 * radosvol-blockd, which holds the volume as it does for a container, and its keeper (keeper.c). */

#define ATTACH_MS 40000 /* a lost holder is waited for */
#define MOUNT_MS  60000
#define UNDO_MS   15000
#define PEEK_MS   1000

#define TOKEN_BYTES 16

struct mount_args {
    struct cli *cli;
    const char *name;
    const char *dir;
    bool read_only;
};

enum { KEY_READ_ONLY = 'r' };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct mount_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        cli_init_children(state, args->cli, cli_common_host);
        return 0;
    case KEY_READ_ONLY:
        args->read_only = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            args->name = arg;
        else if (state->arg_num == 1)
            args->dir = arg;
        else
            argp_error(state, "too many arguments");
        return 0;
    case ARGP_KEY_END:
        if (!args->dir)
            argp_error(state, "which volume, and where? VOLUME and DIR are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"read-only", KEY_READ_ONLY, NULL, 0, "write nothing to the volume", 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "VOLUME DIR",
    .doc = "Mount a volume on a directory of this host, without Docker and the plugin. It is held "
           "as for a container: nobody else can mount it until 'radosvol umount DIR'; one with "
           "access=ro is mounted read-only, beside others.",
    .children = cli_common_host,
};

/* The directory, absolute; it must be there and have nothing mounted on it. */
static int check_dir(const char *dir, char ret[PATH_MAX], struct error *err)
{
    struct stat st;
    dev_t device;
    int r = rescue_canonical(dir, ret);

    if (r == 0 && stat(ret, &st) < 0)
        r = -errno;
    if (r == 0 && !S_ISDIR(st.st_mode))
        r = -ENOTDIR;
    if (r == 0 && strcmp(ret, "/") == 0)
        r = -EBUSY;
    if (r < 0)
        return error_errno(err, r, "cannot mount on '%s'", dir);
    if (filesystem_mounted(ret, &device) == 0)
        return error_set(err, -EBUSY, "something is mounted on '%s' already", ret);
    return 0;
}

static int read_facts(const struct cli *cli, const char *name, struct volume_facts *ret,
                      uint32_t *ret_block, struct error *err)
{
    cleanup_cluster struct cluster *cluster = NULL;
    int r = cli_connect(cli, &cluster, err);

    if (r == 0)
        r = cli_read_volume(cluster, name, ret, err);
    if (r == 0 && ret->unwritable[0] != '\0' && !ret->read_only)
        r = error_set(err, -EOPNOTSUPP, "volume '%s' cannot be mounted: %s", name, ret->unwritable);
    if (r == 0)
        r = volume_logical_block(cluster, ret, deadline_in_ms(CLI_READ_MS), ret_block, err);
    return r;
}

/* A socket of that name is there: of a mount that lives, or of one whose processes are gone. */
static int clear_socket(const struct rescue *rescue, const char *name, struct error *err)
{
    struct blockd_reply reply;
    struct error why;
    char dir[PATH_MAX] = "";
    dev_t device;
    int r = blockd_call(rescue->socket, BLOCKD_STATUS, deadline_in_ms(PEEK_MS), &reply, &why);

    if (readlink(rescue->link, dir, sizeof(dir) - 1) < 0)
        dir[0] = '\0';
    if (r != -ENOENT && r != -ECONNREFUSED && r != -ECONNRESET)
        return error_set(err, -EBUSY, "volume '%s' is mounted already, on '%s'", name, dir);
    if (dir[0] == '/' && filesystem_mounted(dir, &device) == 0)
        return error_set(err, -EBUSY,
                         "the process behind the mount of volume '%s' on '%s' has ended: "
                         "'radosvol umount %s' first",
                         name, dir, dir);
    rescue_remove(rescue);
    return 0;
}

static int try_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
        return -errno;
    return steal_fd(&fd);
}

static int make_socket(const struct rescue *rescue, const char *name, int *ret, struct error *err)
{
    int r = file_make_dir(RESCUE_DIR, 0700, err);

    if (r < 0)
        return r;
    r = try_listen(rescue->socket);
    if (r == -EADDRINUSE) {
        r = clear_socket(rescue, name, err);
        if (r < 0)
            return r;
        r = try_listen(rescue->socket);
    }
    if (r < 0)
        return error_errno(err, r, "cannot listen on %s", rescue->socket);
    *ret = r;
    return 0;
}

static int make_token(char ret[2 * TOKEN_BYTES + 1], struct error *err)
{
    unsigned char bytes[TOKEN_BYTES];

    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        return error_errno(err, -errno, "cannot make a random token");
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

static int start_keeper(const struct mount_args *args, const struct rescue *rescue,
                        const struct volume_facts *facts, uint32_t block_bytes, int listener,
                        struct error *err)
{
    const struct settings *settings = &args->cli->settings;
    struct blockd_args blockd;
    char token[2 * TOKEN_BYTES + 1];
    char program[PATH_MAX];
    const char *argv[3 + BLOCKD_ARGS_MAX] = {"radosvol", "keeper", program};
    cleanup_close int log =
        open(rescue->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    pid_t pid;
    int r = make_token(token, err);

    if (r < 0)
        return r;
    if (log < 0)
        return error_errno(err, -errno, "cannot write %s", rescue->log);
    snprintf(program, sizeof(program), "%s/radosvol-blockd", settings->libexec_dir);
    if (access(program, X_OK) < 0)
        return error_errno(err, -errno, "cannot run %s; --libexec-dir says where it is", program);
    blockd_args_make(settings, facts, token, block_bytes, args->read_only, &blockd);
    memcpy(&argv[3], blockd.list, sizeof(blockd.list));
    return start_process("/proc/self/exe", (char *const *)argv, listener, -1, log, &pid, err);
}

/* From a device to a mounted volume. */
static int mount_device(const struct mount_args *args, const struct volume_facts *facts,
                        const char *device, const char *dir, enum filesystem *ret_fs,
                        struct error *err)
{
    enum filesystem_mode mode = facts->read_only  ? FILESYSTEM_READ_AS_IS
                                : args->read_only ? FILESYSTEM_READ
                                                  : FILESYSTEM_WRITE;
    int r = filesystem_probe(device, ret_fs, err);

    if (r == -ENODATA)
        return error_set(err, r, "volume '%s' carries no file system", facts->name);
    if (r < 0)
        return error_wrap(err, "volume '%s'", facts->name);
    r = filesystem_mount(device, *ret_fs, facts->mount_options, mode, dir, deadline_in_ms(MOUNT_MS),
                         err);
    if (mode == FILESYSTEM_READ && (r == -EROFS || r == -EACCES))
        error_wrap(err, "mount it once without --read-only, so that its journal is replayed");
    return r;
}

static int attach_and_mount(const struct mount_args *args, const struct rescue *rescue,
                            const struct volume_facts *facts, const char *dir, struct error *err)
{
    struct blockd_reply reply = {0};
    enum filesystem fs = FILESYSTEM_EXT4;
    json_t *result;
    int r;

    progress("attaching volume '%s'", facts->name);
    r = blockd_call(rescue->socket, BLOCKD_STATUS, deadline_in_ms(ATTACH_MS), &reply, err);
    if (r == -ECONNRESET || r == -ECONNREFUSED)
        return error_wrap(err, "volume '%s' (%s may say why)", facts->name, rescue->log);
    if (r < 0)
        return error_wrap(err, "volume '%s' cannot be attached", facts->name);
    progress("mounting %s", reply.device);
    r = mount_device(args, facts, reply.device, dir, &fs, err);
    if (r < 0)
        return r;
    progress_end();
    result = json_object();
    object_add_text(result, "volume", facts->name);
    object_add_text(result, "directory", dir);
    object_add_text(result, "device", reply.device);
    object_add_text(result, "fs", filesystem_name(fs));
    object_add(result, "read-only", json_boolean(args->read_only || facts->read_only));
    object_print(args->cli, result);
    return 0;
}

/* Give everything back. The log stays where a process ended without a word. */
static void undo(const struct rescue *rescue, int why)
{
    struct blockd_reply reply;
    struct error err;
    int r = blockd_call(rescue->socket, BLOCKD_DETACH, deadline_in_ms(UNDO_MS), &reply, &err);

    if (r < 0 && r != -ENOENT && r != -ECONNREFUSED && r != -ECONNRESET) {
        cli_fail_words("the volume stays attached: %s; 'radosvol umount' tries again", err.text);
        return;
    }
    if (why == -ECONNRESET || why == -ECONNREFUSED) {
        unlink(rescue->link);
        unlink(rescue->socket);
    } else {
        rescue_remove(rescue);
    }
}

static int mount_volume(const struct mount_args *args, const struct volume_facts *facts,
                        uint32_t block_bytes, const char *dir, struct error *err)
{
    cleanup_close int listener = -1;
    struct rescue rescue = {0};
    int r;

    rescue_paths(facts->id, &rescue);
    r = make_socket(&rescue, facts->name, &listener, err);
    if (r < 0)
        return r;
    if (unlink(rescue.link) < 0 && errno != ENOENT)
        r = error_errno(err, -errno, "cannot remove %s", rescue.link);
    if (r == 0 && symlink(dir, rescue.link) < 0)
        r = error_errno(err, -errno, "cannot make %s", rescue.link);
    if (r == 0)
        r = start_keeper(args, &rescue, facts, block_bytes, listener, err);
    if (r < 0) {
        rescue_remove(&rescue);
        return r;
    }
    close(steal_fd(&listener)); /* its blockd has it */
    r = attach_and_mount(args, &rescue, facts, dir, err);
    if (r < 0)
        undo(&rescue, r);
    return r;
}

int command_mount(struct cli *cli, int argc, char *argv[])
{
    cleanup_volume_facts struct volume_facts facts = {0};
    struct mount_args args = {.cli = cli};
    uint32_t block_bytes = 4096;
    char dir[PATH_MAX];
    struct error err;

    cli_parse(cli, &argp, argc, argv, &args);
    if (geteuid() != 0)
        return cli_fail_words("only root can mount; run it as root");
    if (check_dir(args.dir, dir, &err) < 0 ||
        read_facts(cli, args.name, &facts, &block_bytes, &err) < 0 ||
        mount_volume(&args, &facts, block_bytes, dir, &err) < 0)
        return cli_fail(&err);
    return 0;
}
