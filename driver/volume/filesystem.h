/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "volume/options.h"

/* The file system on a volume: made in a sparse local file, checked, mounted, unmounted.
 * Everything here blocks up to its deadline and is for any thread. */

/* Are the tools for FS installed? 0, or -ENOENT with err naming tool and package. */
int filesystem_check_tools(enum filesystem fs, struct error *err);

/* Format the empty sparse file FD, SIZE bytes long: root directory empty (no lost+found), owned
 * and with the mode asked for; 4096-byte blocks and sectors. Refuses with -EEXIST when the file
 * carries any signature (libblkid). Nothing is ever formatted but such a file.
 * On success the file's data extents (SEEK_DATA) are what the volume needs stored. */
int filesystem_format(const struct volume_options *options, int fd, int64_t deadline,
                      struct error *err);

/* Which of our file systems is on DEVICE (a block device or a file)? 0; -ENODATA when it carries no
 * signature at all; -EMEDIUMTYPE with err naming what it is when it is something else or several
 * things at once. */
int filesystem_probe(const char *device, enum filesystem *ret, struct error *err);

/* The smallest logical block a device must have for the file system that starts with the first
 * 4096 bytes SUPERBLOCK of an image: 512 or 4096 (xfs sector size, ext4 block size). Pure. */
uint32_t filesystem_logical_block(const uint8_t superblock[4096]);

enum filesystem_mode {
    FILESYSTEM_WRITE,
    FILESYSTEM_READ,       /* fails with -EROFS where the journal has to be replayed first */
    FILESYSTEM_READ_AS_IS, /* leaves the journal alone: what only it holds does not show, which for
                            * a snapshot taken while the file system was frozen is nothing */
};

/* Check DEVICE where its file system asks for it (ext4 with its error flag set: e2fsck -p; xfs
 * replays its log at mount), then mount it on the directory TARGET, which is made when missing.
 * 0, or negative errno with err: what is wrong and the next step, such as -EUCLEAN when a repair
 * needs a human (err then names the command). */
int filesystem_mount(const char *device, enum filesystem fs, const char *mount_options,
                     enum filesystem_mode mode, const char *target, int64_t deadline,
                     struct error *err);

/* Does the journal on DEVICE hold what a mount would have to replay? 0; 1: it does; or a negative
 * errno. Told of ext4 only: xfs leaves something to replay whenever it was not unmounted, frozen or
 * not. */
int filesystem_wants_recovery(const char *device, struct error *err);

/* Unmount TARGET and remove the directory. 0 also when it was not mounted; -EBUSY when processes
 * use it for longer than a few seconds. Never lazy: when it returns 0 this mount is gone, though
 * other mount namespaces may still hold the file system (the block device then stays busy). */
int filesystem_unmount(const char *target, struct error *err);

/* The same, but the directory stays: it is not ours. */
int filesystem_leave(const char *target, struct error *err);

/* Is something mounted on TARGET, and from which device number? 0 with *ret_device, or -ENOENT. */
int filesystem_mounted(const char *target, dev_t *ret_device);

/* Make the file system that is mounted from the block device DEVICE on TARGET as large as that
 * device, while it is in use: *ret_before and *ret_after are its bytes. 0, also when it is so
 * already or is mounted read-only (then 0 bytes); or a negative errno with err. Waits for the
 * device's writes, however long that takes. */
int filesystem_grow(const char *device, const char *target, uint64_t *ret_before,
                    uint64_t *ret_after, struct error *err);

/* Bytes used and size of the file system mounted on TARGET. */
int filesystem_usage(const char *target, uint64_t *ret_used, uint64_t *ret_size);
