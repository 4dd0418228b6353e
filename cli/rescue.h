/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <limits.h>

#include "base/error.h"
#include "image/image.h"

/* Mounts without Docker. What is known of one lies in RESCUE_DIR, named after the image's id, so
 * that `radosvol umount` needs no memory of its own:
 *
 *   ID.sock  the control socket of its radosvol-blockd
 *   ID.dir   a symbolic link to where it is mounted
 *   ID.log   what its processes had to say
 *
 * mount makes .sock first (which only one can), then .dir before it mounts; umount removes .dir and
 * .sock last. So after a crash at any point umount finds what there is to undo. */

#define RESCUE_DIR "/run/radosvol"

struct rescue {
    char id[IMAGE_ID_MAX];
    char socket[PATH_MAX];
    char link[PATH_MAX];
    char log[PATH_MAX];
};

/* Where things are for image ID. */
void rescue_paths(const char *id, struct rescue *ret);

/* DIR as RESCUE_DIR and the kernel know it: absolute, without symbolic links. Does not ask the file
 * system that is mounted there, which may not answer any more. 0 or negative errno. */
int rescue_canonical(const char *dir, char ret[PATH_MAX]);

/* The one that is mounted, or was to be, on the canonical DIR: 0 or -ENOENT. */
int rescue_find(const char *dir, struct rescue *ret);

/* Forget it. */
void rescue_remove(const struct rescue *rescue);
