/* SPDX-License-Identifier: Apache-2.0 */
#include "image/resize.h"

#include <errno.h>
#include <inttypes.h>

#include "image/image.h"
#include "image/owner_call.h"
#include "image/owner_work.h"
#include "rados/header_notify.h"

static int resize_as_owner(void *arg, const struct owned_image *image, int64_t deadline,
                           struct error *err)
{
    return owned_resize(image, *(const uint64_t *)arg, deadline, err);
}

int image_resize(struct cluster *cluster, const char *id, uint64_t size, const char *host,
                 int64_t deadline, struct error *err)
{
    const struct header_notify request = {.op = NOTIFY_RESIZE, .size = size};
    cleanup_image_header struct image_header header = {0};
    int r = image_read_header(cluster, id, deadline, &header, err);

    if (r < 0)
        return r;
    if (size < header.size)
        return error_set(err, -EINVAL,
                         "image %s has %" PRIu64 " bytes and cannot be made smaller (%" PRIu64
                         " bytes): the file system on it would lose its end",
                         id, header.size, size);
    if (size == header.size)
        return 0;
    return owner_call(cluster, id, host, &request, resize_as_owner, &size, deadline, err);
}
