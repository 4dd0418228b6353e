/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "block/backend.h"
#include "image/io.h"

/* A FUSE file system with one file, the image, served by threads of its own.
 *
 * The session belongs to the kernel, not to this process: INIT is negotiated once, and any process
 * that has the same /dev/fuse descriptor can go on serving. So a crash is survived by keeping the
 * descriptor elsewhere (keeper.h). */

struct fuse_session;

/* A new file system. NAME names the file. IO and NAME are borrowed until fuse_session_end. The
 * session's descriptor gets a number above BELOW (fd_list.h says what for). */
int fuse_session_open(struct image_io *io, const struct backend_settings *settings, int below,
                      struct fuse_session **ret, struct error *err);

/* Go on with a predecessor's. The descriptors are taken over, also on failure.
 * -EOPNOTSUPP: the kernel cannot send its unanswered requests again (fuse_mount_resend). */
int fuse_session_resume(int fuse_fd, int root_fd, struct image_io *io,
                        const struct backend_settings *settings, struct fuse_session **ret,
                        struct error *err);

int fuse_session_fd(const struct fuse_session *session);   /* /dev/fuse; borrowed */
int fuse_session_root(const struct fuse_session *session); /* the mount; borrowed */

/* Open the image file, for writing unless read-only. The caller closes *ret. */
int fuse_session_open_file(struct fuse_session *session, int *ret, struct error *err);

/* Make the kernel look at the image's size again. */
int fuse_session_update_size(struct fuse_session *session, struct error *err);

uint64_t fuse_session_size(const struct fuse_session *session); /* of the file, bytes */
void fuse_session_stats(const struct fuse_session *session, struct backend_stats *ret);

/* Close the mount, wait until the kernel has let go of it, or for the deadline, and free. The
 * caller has seen to it that nobody uses the file any more. Accepts NULL. */
void fuse_session_end(struct fuse_session *session, int64_t deadline);
