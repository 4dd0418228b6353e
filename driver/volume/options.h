/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "rados/cls_rbd.h"

/* Volume names and create options: what a user may ask for. Pure functions: nothing here talks to
 * the cluster. */

#define VOLUME_NAME_MAX   201 /* bytes, its NUL included */
#define MOUNT_OPTIONS_MAX 256
#define OWNER_MAX         128
#define POOL_NAME_MAX     128
#define FROM_MAX          (VOLUME_NAME_MAX + RBD_NAME_MAX)

/* A volume's name: [A-Za-z0-9][A-Za-z0-9_.-]*, at most 200 bytes. 0, or -EINVAL with err saying
 * what is wrong and what is allowed. */
int volume_name_check(const char *name, struct error *err);

enum filesystem {
    FILESYSTEM_EXT4,
    FILESYSTEM_XFS,
};
const char *filesystem_name(enum filesystem fs);
int filesystem_parse(const char *text, enum filesystem *ret); /* 0 or -EINVAL */

/* What a new volume is made with. `given` tells an asked-for value from a default one. */
enum option_bit {
    OPTION_SIZE = 1 << 0,
    OPTION_FS = 1 << 1,
    OPTION_MOUNT_OPTIONS = 1 << 2,
    OPTION_UID = 1 << 3,
    OPTION_GID = 1 << 4,
    OPTION_MODE = 1 << 5,
    OPTION_OWNER = 1 << 6,
    OPTION_DATA_POOL = 1 << 7,
    OPTION_OBJECT_SIZE = 1 << 8,
    OPTION_PROTECT = 1 << 9,
    OPTION_FROM = 1 << 10,
    OPTION_ACCESS = 1 << 11,
};

struct volume_options {
    unsigned given; /* enum option_bit */
    uint64_t size;  /* bytes, a multiple of 4096 */
    enum filesystem fs;
    char mount_options[MOUNT_OPTIONS_MAX]; /* comma-separated; "" for none */
    uid_t uid;                             /* of the root directory */
    gid_t gid;
    mode_t mode;           /* of the root directory: permission bits and setuid/setgid/sticky */
    char owner[OWNER_MAX]; /* free text: whom to ask about the volume */
    char data_pool[POOL_NAME_MAX]; /* "" for the pool of the header */
    uint8_t order;                 /* log2 of the object size */
    bool protect;                  /* removal is refused */
    char from[FROM_MAX];           /* "volume" or "volume@snapshot" to clone (clone.h); "": none */
    bool read_only;                /* access=ro: shows what it was made from, on any host at once */
    struct rbd_pairs labels;       /* without the "label." in front, sorted by key */
};

void volume_options_free(struct volume_options *options); /* leaves it empty */

static inline void cleanup_volume_optionsp(struct volume_options *options)
{
    volume_options_free(options);
}
#define cleanup_volume_options __attribute__((cleanup(cleanup_volume_optionsp)))

/* The defaults: DEFAULT_SIZE bytes, DEFAULT_FS, no mount options, root 0:0 0755, 4 MiB objects. */
void volume_options_init(struct volume_options *options, uint64_t default_size,
                         enum filesystem default_fs);

/* Take over one option. 0, or -EINVAL with err naming the option, the value and what is allowed;
 * an unknown option lists all known ones. */
int volume_options_set(struct volume_options *options, const char *key, const char *value,
                       struct error *err);

/* What only the whole set can tell: size against the file system's limits and the object size,
 * mount options against the file system, and what comes next. 0, or -EINVAL with err. */
int volume_options_check(const struct volume_options *options, struct error *err);

/* access=ro against the rest: there is something to show, and nothing that would have to be
 * written. 0, or -EINVAL with err. */
int volume_options_check_access(const struct volume_options *options, struct error *err);

/* "ro" or "rw" */
const char *volume_access_name(bool read_only);

/* "10G", "512M", "1T", "1073741824", "1.5G": powers of 1024; K, M, G, T, P with optional "i" and
 * "B". Rounded up to 4096. 0 or -EINVAL. */
int size_parse(const char *text, uint64_t *ret);

/* The same to the byte: only a broken byte is rounded up. */
int size_parse_exact(const char *text, uint64_t *ret);

/* The shortest exact form: "10G", "1536M", "4097 bytes" is never made (sizes are 4096-multiples,
 * so the smallest unit is K). */
void size_format(uint64_t size, char *text, size_t text_size);

/* Mount options, checked against the list of what is allowed for FS, as mount(2) wants them: flags,
 * and the rest as data, both with what every mount gets unless TEXT says otherwise (nodev, discard,
 * ext4: errors=remount-ro and nodioread_nolock). 0, or -EINVAL with err naming the word and listing
 * the allowed ones. */
int mount_options_parse(enum filesystem fs, const char *text, unsigned long *ret_flags,
                        char ret_data[MOUNT_OPTIONS_MAX], struct error *err);

/* Make of DATA, as mount_options_parse gives it, that of a mount which leaves the journal as it is:
 * without what is about writing, and with the word that keeps the file system from recovery. */
void mount_options_leave_journal(enum filesystem fs, char data[MOUNT_OPTIONS_MAX]);
