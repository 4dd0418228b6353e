/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* Small whole files that must never be seen half-written. */

/* Read all of PATH, at most MAX bytes. *ret is NUL-terminated; the caller frees it.
 * 0, -ENOENT, -EFBIG, or another errno. */
int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct error *err);

/* Write all of DATA to FD. 0 or a negative errno. */
int file_write_all(int fd, const void *data, size_t len);

/* Replace PATH by LEN bytes of DATA at once: readers see the old file or the new one, and the new
 * one is on disk when the call returns. Mode 0600. */
int file_replace(const char *path, const void *data, size_t len, struct error *err);

/* Remove what calls of file_replace that a crash cut off have left in directory PATH. Nobody may be
 * replacing files in there. What cannot be removed stays. */
void file_remove_unfinished(const char *path);

/* Make PATH and its missing parents, MODE for the last one, 0755 for parents. */
int file_make_dir(const char *path, mode_t mode, struct error *err);
