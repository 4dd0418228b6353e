/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/filesystem.h"

#include <errno.h>
#include <sys/statvfs.h>

#include "base/spawn.h"

int filesystem_check_tools(enum filesystem fs, struct error *err)
{
    static const char *const tools[][3] = {
        [FILESYSTEM_EXT4] = {"mkfs.ext4", "debugfs", "e2fsck"},
        [FILESYSTEM_XFS] = {"mkfs.xfs", "xfs_db"},
    };

    for (size_t i = 0; i < sizeof(tools[fs]) / sizeof(tools[fs][0]) && tools[fs][i]; i++) {
        int r = spawn_check(tools[fs][i], err);

        if (r < 0)
            return r;
    }
    return 0;
}

int filesystem_usage(const char *target, uint64_t *ret_used, uint64_t *ret_size)
{
    struct statvfs st;

    if (statvfs(target, &st) < 0)
        return -errno;
    *ret_used = (uint64_t)(st.f_blocks - st.f_bfree) * st.f_frsize;
    *ret_size = (uint64_t)st.f_blocks * st.f_frsize;
    return 0;
}
