/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* A loop device on an open file, with direct I/O, so that the page cache holds the data once, above
 * the device.
 *
 * The device is held by its open descriptor and configured to clear itself when the last one goes
 * away: whatever dies, no device is left behind (a mounted file system holds it open too). */

#define LOOP_DEVICE_MAX 64

/* What this machine needs for it: 0, or negative errno with err naming what is missing. */
int loop_probe(struct error *err);

/* Make a device on FILE_FD, which loop keeps open itself. NAME is shown by losetup. The caller
 * closes *ret_fd; the device's path goes to DEVICE. */
int loop_attach(int file_fd, const char *name, uint32_t block_bytes, bool read_only,
                char device[LOOP_DEVICE_MAX], int *ret_fd, struct error *err);

/* The path of the device behind FD, which may come from another process. */
int loop_device(int fd, char device[LOOP_DEVICE_MAX], struct error *err);

/* Take over the file's new size, if it has one. SIZE: bytes. */
int loop_set_size(int fd, const char *device, uint64_t size, struct error *err);

/* Write out what is cached, then have the device end as soon as FD and its copies are closed; from
 * now on nobody else can open it. -EBUSY: it is mounted or someone else has it open, and nothing
 * has changed; a short visit by blkid or udev is waited for until the deadline. */
int loop_clear(int fd, const char *device, bool read_only, int64_t deadline, struct error *err);
