/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spawn.h"
#include "volume/filesystem.h"
#include "volume/probe.h"

/* Formatting a new volume.
 *
 * The tools work on a sparse local file; what they leave in it is then stored as the volume. So
 * each block they do not write is time and space saved: the file reads as zeros wherever nothing
 * was written, and so does a new image, hence nothing has to be zeroed. With the arguments below
 * 10 GiB of ext4 is 0.6 MiB in ten objects, 1 TiB is 14 MiB in 24; xfs is 0.2 MiB in four at both.
 *
 * Features are named one by one. Another host, maybe with an older kernel, must be able to mount
 * the volume, whatever the distribution of the host that made it likes to switch on by default.
 *
 * Neither mkfs can make the root directory that is asked for (ext4 always has a lost+found there,
 * which copy-up and the database images take for somebody's data; mkfs.xfs knows no sticky bit), so
 * the debugger of each file system follows. Debuggers end with status 0 whatever happened:
 * what they print last, the root directory as it is now, tells whether they succeeded. */

#define TOOL_FILE "/proc/self/fd/3" /* how a tool names the descriptor that spawn_run passes */

#define BLOCK 4096
#define MIB   (UINT64_C(1) << 20)
#define GIB   (UINT64_C(1) << 30)
#define TIB   (UINT64_C(1) << 40)

static const char ext4_features[] =
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum";
static const char xfs_features[] = "crc=1,finobt=1,reflink=1,rmapbt=0,bigtime=1,inobtcount=1";

/* Run a tool on FD; a non-zero end is -EIO with what the tool said. */
static int run_tool(const char *const argv[], const char *input, int fd, int64_t deadline,
                    struct spawn_result *ret, struct error *err)
{
    int r = spawn_run(argv, input, fd, deadline, ret, err);

    if (r == 0 && ret->status != 0)
        r = error_set(err, -EIO, "'%s' failed with status %d: %s", argv[0], ret->status,
                      *ret->output ? ret->output : "it said nothing");
    return r;
}

/* Blocks up to which ext4 can grow online before it has to change its layout to META_BG (the
 * kernel does so by itself). mkfs's own choice, 1024 times the size, costs a 10 GiB volume 4 MiB
 * of block lists; room up to 1 TiB, or 16 times the size where that is more, is enough. */
static uint64_t ext4_blocks_max(uint64_t size)
{
    uint64_t roomy = 16 * size > TIB ? 16 * size : TIB;
    uint64_t usual = 1024 * size;
    uint64_t blocks = (roomy < usual ? roomy : usual) / BLOCK;

    return blocks < UINT32_MAX ? blocks : UINT32_MAX; /* what the layout can promise */
}

/* MiB of journal: what mkfs.ext4 itself takes, but never more than 256 where it takes up to 1024: a
 * lost host's journal is read in full before the next host can mount. */
static unsigned ext4_journal_mib(uint64_t size)
{
    static const struct {
        uint64_t below;
        unsigned mib;
    } steps[] = {{128 * MIB, 4}, {GIB, 16}, {2 * GIB, 32}, {16 * GIB, 64}, {32 * GIB, 128}};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (size < steps[i].below)
            return steps[i].mib;
    }
    return 256;
}

/* - packed_meta_blocks: bitmaps, inode tables and journal sit together at the front. On a disk
 *   they are spread to save seeks; here each place is one more object to write at creation and to
 *   read at mount (1 TiB: 24 objects instead of 534).
 * - discard, and no lazy_itable_init: the file reads as zeros, which mkfs.ext4 knows; so all inode
 *   tables are marked as zeroed without being written, and no kernel thread writes 16 GiB of
 *   zeros to a 1 TiB volume after its first mount.
 * - lazy_journal_init: the journal's blocks are zeros as they are, too.
 * - inode ratio: mkfs's own for this size; fixed here because mke2fs.conf differs between hosts.
 * - errors: e2fsck and foreign mounts find remount-ro in the superblock. */
static int format_ext4(const struct volume_options *options, int fd, int64_t deadline,
                       struct error *err)
{
    const char *inode_ratio = options->size < 512 * MIB ? "4096" : "16384";
    uint64_t grown = ext4_blocks_max(options->size);
    char journal[24], extended[160], growth[40] = "";
    struct spawn_result result;

    snprintf(journal, sizeof(journal), "size=%u", ext4_journal_mib(options->size));
    if (grown > options->size / BLOCK)
        snprintf(growth, sizeof(growth), ",resize=%" PRIu64, grown);
    snprintf(extended, sizeof(extended),
             "discard,lazy_itable_init=0,lazy_journal_init=1,packed_meta_blocks=1,"
             "root_owner=%u:%u%s",
             options->uid, options->gid, growth);

    /* clang-format off */
    const char *const argv[] = {
        "mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-i", inode_ratio, "-m", "0",
        "-e", "remount-ro",
        "-O", ext4_features, "-J", journal, "-E", extended, TOOL_FILE, NULL};
    /* clang-format on */

    return run_tool(argv, NULL, fd, deadline, &result, err);
}

static int finish_ext4_root(const struct volume_options *options, int fd, int64_t deadline,
                            struct error *err)
{
    static const char *const argv[] = {"debugfs", "-w", "-f", "-", TOOL_FILE, NULL};
    char commands[128], root[64];
    struct spawn_result result;
    int r;

    snprintf(commands, sizeof(commands),
             "rmdir lost+found\n"
             "set_inode_field / mode 04%04o\n"
             "ls -p /\n",
             options->mode);
    r = run_tool(argv, commands, fd, deadline, &result, err);
    if (r < 0)
        return r;

    /* ls -p has a line "/inode/mode/uid/gid/name/size/" for each name. The owner is mkfs's work and
     * not looked at: debugfs shows large numbers as negative ones. */
    snprintf(root, sizeof(root), "/2/04%04o/", options->mode);
    if (!strstr(result.output, root) || strstr(result.output, "/lost+found/"))
        return error_set(err, -EIO, "'debugfs' did not make the root directory asked for: %s",
                         result.output);
    return 0;
}

/* Blocks and sectors of 4096 bytes because that is what the device takes. The log: mkfs.xfs's own
 * choice, a 2048th and at least 64 MiB, but at most 256 MiB instead of 2 GiB, for the same reason
 * as with ext4, and because it takes real space in the sparse file while that exists. */
static int format_xfs(const struct volume_options *options, int fd, int64_t deadline,
                      struct error *err)
{
    uint64_t log_mib = options->size / 2048 / MIB;
    char log[40];
    struct spawn_result result;

    log_mib = log_mib < 64 ? 64 : log_mib > 256 ? 256 : log_mib;
    snprintf(log, sizeof(log), "size=%" PRIu64 "m", log_mib);

    /* clang-format off */
    const char *const argv[] = {
        "mkfs.xfs", "-q", "-f", "-b", "size=4096", "-s", "size=4096",
        "-m", xfs_features, "-l", log, TOOL_FILE, NULL};
    /* clang-format on */

    return run_tool(argv, NULL, fd, deadline, &result, err);
}

static int finish_xfs_root(const struct volume_options *options, int fd, int64_t deadline,
                           struct error *err)
{
    char mode[40], uid[40], gid[40], root[96];
    struct spawn_result result;
    size_t printed, wanted;
    int r;

    snprintf(mode, sizeof(mode), "write core.mode 04%04o", options->mode);
    snprintf(uid, sizeof(uid), "write core.uid %u", options->uid);
    snprintf(gid, sizeof(gid), "write core.gid %u", options->gid);

    /* clang-format off */
    const char *const argv[] = {
        "xfs_db", "-x", "-f", "-c", "sb 0", "-c", "addr rootino",
        "-c", mode, "-c", uid, "-c", gid, "-c", "print core.mode core.uid core.gid",
        TOOL_FILE, NULL};
    /* clang-format on */

    r = run_tool(argv, NULL, fd, deadline, &result, err);
    if (r < 0)
        return r;
    wanted = (size_t)snprintf(root, sizeof(root), "core.mode = 04%04o core.uid = %u core.gid = %u",
                              options->mode, options->uid, options->gid);
    printed = strlen(result.output);
    if (printed < wanted || strcmp(result.output + printed - wanted, root) != 0)
        return error_set(err, -EIO, "'xfs_db' did not make the root directory asked for: %s",
                         result.output);
    return 0;
}

/* Refuse whatever is not an empty file of the right size. Looking for signatures would be enough
 * for a device; a file that has never been written to is better still. */
static int check_is_blank(int fd, uint64_t size, struct error *err)
{
    char name[SIGNATURE_MAX];
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0)
        return error_errno(err, -errno, "cannot look at the file to format");
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
        return error_set(err, -EINVAL, "only a regular file of the volume's size is formatted");
    r = probe_signature(fd, name, err);
    if (r == 0 || r == -EMEDIUMTYPE)
        return error_set(err, -EEXIST, "the file to format already carries %s", name);
    if (r != -ENODATA)
        return r;
    if (lseek(fd, 0, SEEK_DATA) >= 0)
        return error_set(err, -EEXIST,
                         "the file to format already holds data (or the file system that it is on "
                         "keeps no holes)");
    return errno == ENXIO ? 0 : error_errno(err, -errno, "cannot look at the file to format");
}

int filesystem_format(const struct volume_options *options, int fd, int64_t deadline,
                      struct error *err)
{
    int r = check_is_blank(fd, options->size, err);

    assert(options->mode <= 07777);
    if (r < 0)
        return r;
    switch (options->fs) {
    case FILESYSTEM_EXT4:
        r = format_ext4(options, fd, deadline, err);
        return r < 0 ? r : finish_ext4_root(options, fd, deadline, err);
    case FILESYSTEM_XFS:
        r = format_xfs(options, fd, deadline, err);
        return r < 0 ? r : finish_xfs_root(options, fd, deadline, err);
    }
    return error_set(err, -EINVAL, "no such file system");
}
