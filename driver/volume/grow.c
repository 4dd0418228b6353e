/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "volume/filesystem.h"

#include "base/cleanup.h"
#include "volume/superblock.h"

/* Growing a mounted file system is one ioctl on its root directory, the one that resize2fs and
 * xfs_growfs make. Both are journalled: a crash leaves the old size, the new one, or for ext4 one
 * of its steps between, each of them whole. No header that Linux installs has them, so here they
 * are (fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h). */

#define EXT4_GROW _IOW('f', 16, uint64_t) /* EXT4_IOC_RESIZE_FS: blocks */

struct xfs_geometry {
    uint32_t block_size;
    uint32_t unused1[6];
    uint32_t imaxpct; /* part of the space that inodes may take */
    uint64_t data_blocks;
    uint64_t unused2[3];
    uint8_t uuid[16];
    uint32_t unused3[7];
};
#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry) /* XFS_IOC_FSGEOMETRY_V1 */

struct xfs_growth {
    uint64_t data_blocks;
    uint32_t imaxpct;
};
#define XFS_GROW _IOW('X', 110, struct xfs_growth) /* XFS_IOC_FSGROWFSDATA */

_Static_assert(sizeof(struct xfs_geometry) == 112 && sizeof(struct xfs_growth) == 16,
               "the kernel's structs");

struct growth {
    int device_fd;
    int root_fd;
    uint64_t room; /* bytes of the device */
};

/* The superblock is the kernel's own buffer, so it is that of now. */
static int grow_ext4(const struct growth *growth, uint64_t *ret_before, uint64_t *ret_after)
{
    uint8_t superblock[4096];
    uint32_t block_size;
    uint64_t blocks;
    uint64_t wanted;
    ssize_t len = pread(growth->device_fd, superblock, sizeof(superblock), 0);

    if (len != (ssize_t)sizeof(superblock))
        return len < 0 ? -errno : -EIO;
    if (superblock_ext4_blocks(superblock, &block_size, &blocks) < 0)
        return -EUCLEAN;
    wanted = growth->room / block_size;
    *ret_before = *ret_after = blocks * block_size;
    if (wanted <= blocks)
        return 0;
    if (ioctl(growth->root_fd, EXT4_GROW, &wanted) < 0)
        return -errno;
    /* A last block group that would hold nothing but its own tables is left out. */
    if (pread(growth->device_fd, superblock, sizeof(superblock), 0) == sizeof(superblock) &&
        superblock_ext4_blocks(superblock, &block_size, &blocks) == 0)
        *ret_after = blocks * block_size;
    return 0;
}

static int grow_xfs(const struct growth *growth, uint64_t *ret_before, uint64_t *ret_after)
{
    struct xfs_geometry geometry;
    struct xfs_growth wanted;

    if (ioctl(growth->root_fd, XFS_GEOMETRY, &geometry) < 0)
        return -errno;
    if (geometry.block_size == 0)
        return -EUCLEAN;
    *ret_before = *ret_after = geometry.data_blocks * geometry.block_size;
    wanted = (struct xfs_growth){.data_blocks = growth->room / geometry.block_size,
                                 .imaxpct = geometry.imaxpct};
    if (wanted.data_blocks <= geometry.data_blocks)
        return 0;
    if (ioctl(growth->root_fd, XFS_GROW, &wanted) < 0)
        return -errno;
    if (ioctl(growth->root_fd, XFS_GEOMETRY, &geometry) == 0)
        *ret_after = geometry.data_blocks * geometry.block_size;
    return 0;
}

int filesystem_grow(const char *device, const char *target, uint64_t *ret_before,
                    uint64_t *ret_after, struct error *err)
{
    cleanup_close int device_fd = open(device, O_RDONLY | O_CLOEXEC);
    cleanup_close int root_fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct growth growth = {.device_fd = device_fd, .root_fd = root_fd};
    struct statfs st;
    int r;

    *ret_before = *ret_after = 0;
    if (device_fd < 0 || root_fd < 0 || fstatfs(root_fd, &st) < 0 ||
        ioctl(device_fd, BLKGETSIZE64, &growth.room) < 0)
        return error_errno(err, -errno, "cannot look at '%s', mounted from '%s'", target, device);
    if (st.f_flags & ST_RDONLY)
        return 0;
    if (st.f_type == EXT4_SUPER_MAGIC)
        r = grow_ext4(&growth, ret_before, ret_after);
    else if (st.f_type == XFS_SUPER_MAGIC)
        r = grow_xfs(&growth, ret_before, ret_after);
    else
        return error_set(err, -EOPNOTSUPP, "'%s' is neither ext4 nor xfs, and so does not grow",
                         target);
    if (r == -EPERM)
        return error_set(
            err, r,
            "the file system on '%s' cannot grow to the size of its device: that takes "
            "CAP_SYS_RESOURCE, which this process lacks, and for ext4 one without "
            "recorded errors",
            target);
    return r < 0 ? error_errno(err, r,
                               "the file system on '%s' cannot grow to the size of its device "
                               "('dmesg' may say why)",
                               target)
                 : 0;
}
