/* SPDX-License-Identifier: Apache-2.0 */
#include "block/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"

int claim_check(const char *device, bool read_only, struct error *err)
{
    cleanup_close int fd = open(device, (read_only ? O_RDONLY : O_RDWR) | O_EXCL | O_CLOEXEC);

    if (fd >= 0)
        return 0;
    if (errno == EBUSY)
        return error_set(err, -EBUSY, "%s is mounted or otherwise in use: unmount it first",
                         device);
    return error_errno(err, -errno, "cannot open %s", device);
}
