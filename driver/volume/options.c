/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/snapshot.h"
#include "volume/text.h"

#define LABEL_PREFIX    "label."
#define LABEL_KEY_MAX   128  /* bytes */
#define LABEL_VALUE_MAX 1024 /* bytes */
#define LABELS_MAX      64

#define ORDER_MIN     16 /* 64K objects */
#define ORDER_MAX     25 /* 32M, the most that Ceph's own tools make */
#define ORDER_DEFAULT 22 /* 4M */

/* What fits into an RBD object map (ceph: cls_rbd's MAX_OBJECT_MAP_OBJECT_COUNT), so that stock
 * tools can switch that feature on later. It also bounds how long a removal takes. */
#define OBJECTS_MAX UINT64_C(256000000)

#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)

/* The sizes a file system is made for. ext4: below 16 MiB a journal leaves next to no room; above
 * 16 TiB its group descriptors alone are hundreds of megabytes, written at creation. xfs: mkfs.xfs
 * refuses less than 300 MiB; beyond 1 PiB nobody has tried it. */
static const struct {
    const char *name;
    uint64_t size_min;
    uint64_t size_max;
} filesystems[] = {
    [FILESYSTEM_EXT4] = {"ext4", 16 * MIB, 16 * TIB},
    [FILESYSTEM_XFS] = {"xfs", 300 * MIB, 1024 * TIB},
};

#define FILESYSTEM_COUNT (sizeof(filesystems) / sizeof(filesystems[0]))

const char *filesystem_name(enum filesystem fs)
{
    return filesystems[fs].name;
}

int filesystem_parse(const char *text, enum filesystem *ret)
{
    for (size_t i = 0; i < FILESYSTEM_COUNT; i++) {
        if (strcmp(filesystems[i].name, text) == 0) {
            *ret = (enum filesystem)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* Letters and digits of ASCII, whatever the locale. */
static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* A letter or digit, then letters, digits and what is in OTHERS; fewer than SIZE bytes. */
static bool is_word(const char *text, const char *others, size_t size)
{
    size_t len = 0;

    if (!is_alnum(text[0]))
        return false;
    while (len < size && text[len] && (is_alnum(text[len]) || strchr(others, text[len])))
        len++;
    return len < size && !text[len];
}

int volume_name_check(const char *name, struct error *err)
{
    char quoted[TEXT_QUOTED_MAX];

    if (is_word(name, "_.-", VOLUME_NAME_MAX))
        return 0;
    text_quote(name, quoted);
    return error_set(err, -EINVAL,
                     "volume name '%s' is not allowed: use letters, digits, '_', '.' and '-', a "
                     "letter or digit first, at most %d characters",
                     quoted, VOLUME_NAME_MAX - 1);
}

void volume_options_free(struct volume_options *options)
{
    rbd_pairs_free(&options->labels);
    *options = (struct volume_options){0};
}

void volume_options_init(struct volume_options *options, uint64_t default_size,
                         enum filesystem default_fs)
{
    *options = (struct volume_options){
        .size = default_size,
        .fs = default_fs,
        .mode = 0755,
        .order = ORDER_DEFAULT,
    };
}

/* A whole number without sign or white space, at most MOST. */
static int parse_number(const char *text, unsigned base, uint32_t most, uint32_t *ret)
{
    uint64_t number = 0;

    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text >= (char)('0' + base))
            return -EINVAL;
        number = number * base + (unsigned)(*text - '0');
        if (number > most)
            return -EINVAL;
    }
    *ret = (uint32_t)number;
    return 0;
}

/* TEXT into the SIZE bytes at RET; -EINVAL when it does not fit. */
static int copy_text(char *ret, size_t size, const char *text)
{
    size_t len = strnlen(text, size);

    if (len == size)
        return -EINVAL;
    memcpy(ret, text, len + 1);
    return 0;
}

/* One setter per option: 0 or -EINVAL; the words come from the table below. */

static int set_size(struct volume_options *options, const char *value)
{
    return size_parse(value, &options->size);
}

static int set_fs(struct volume_options *options, const char *value)
{
    return filesystem_parse(value, &options->fs);
}

static int set_mount_options(struct volume_options *options, const char *value)
{
    if (!text_is_printable(value)) /* which words are right depends on fs: volume_options_check */
        return -EINVAL;
    return copy_text(options->mount_options, sizeof(options->mount_options), value);
}

static int set_uid(struct volume_options *options, const char *value)
{
    return parse_number(value, 10, UINT32_MAX - 1, &options->uid);
}

static int set_gid(struct volume_options *options, const char *value)
{
    return parse_number(value, 10, UINT32_MAX - 1, &options->gid);
}

static int set_mode(struct volume_options *options, const char *value)
{
    return parse_number(value, 8, 07777, &options->mode);
}

static int set_owner(struct volume_options *options, const char *value)
{
    return text_is_printable(value) ? copy_text(options->owner, sizeof(options->owner), value)
                                    : -EINVAL;
}

static int set_data_pool(struct volume_options *options, const char *value)
{
    return is_word(value, "_.-", sizeof(options->data_pool))
               ? copy_text(options->data_pool, sizeof(options->data_pool), value)
               : -EINVAL;
}

static int set_object_size(struct volume_options *options, const char *value)
{
    uint64_t size;
    int r = size_parse_exact(value, &size);

    if (r < 0)
        return r;
    for (uint8_t order = ORDER_MIN; order <= ORDER_MAX; order++) {
        if (size == UINT64_C(1) << order) {
            options->order = order;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_protect(struct volume_options *options, const char *value)
{
    bool protect = strcmp(value, "true") == 0;

    if (!protect && strcmp(value, "false") != 0)
        return -EINVAL;
    options->protect = protect;
    return 0;
}

static int set_from(struct volume_options *options, const char *value)
{
    char volume[VOLUME_NAME_MAX];
    size_t len = strcspn(value, "@");

    if (len >= sizeof(volume))
        return -EINVAL;
    snprintf(volume, sizeof(volume), "%.*s", (int)len, value);
    if (!is_word(volume, "_.-", sizeof(volume)) ||
        (value[len] && snapshot_check_name(value + len + 1, NULL) < 0))
        return -EINVAL;
    return copy_text(options->from, sizeof(options->from), value);
}

const char *volume_access_name(bool read_only)
{
    return read_only ? "ro" : "rw";
}

static int set_access(struct volume_options *options, const char *value)
{
    bool read_only = strcmp(value, volume_access_name(true)) == 0;

    if (!read_only && strcmp(value, volume_access_name(false)) != 0)
        return -EINVAL;
    options->read_only = read_only;
    return 0;
}

struct option {
    const char *key;
    enum option_bit bit;
    int (*set)(struct volume_options *options, const char *value);
    const char *allowed; /* goes behind "use " */
};

static const struct option option_table[] = {
    {"size", OPTION_SIZE, set_size, "a number with K, M, G or T, such as 10G"},
    {"fs", OPTION_FS, set_fs, "ext4 or xfs"},
    {"mount-options", OPTION_MOUNT_OPTIONS, set_mount_options,
     "words separated by commas, such as noatime,nodiscard, at most 255 characters"},
    {"uid", OPTION_UID, set_uid, "a user number from 0 to 4294967294"},
    {"gid", OPTION_GID, set_gid, "a group number from 0 to 4294967294"},
    {"mode", OPTION_MODE, set_mode, "an octal number from 0 to 7777, such as 0750"},
    {"owner", OPTION_OWNER, set_owner, "at most 127 bytes of printable UTF-8 text"},
    {"data-pool", OPTION_DATA_POOL, set_data_pool,
     "the name of a pool: letters, digits, '_', '.' and '-', at most 127 characters"},
    {"object-size", OPTION_OBJECT_SIZE, set_object_size,
     "a power of two from 64K to 32M, such as 4M"},
    {"protect", OPTION_PROTECT, set_protect, "true or false"},
    {"from", OPTION_FROM, set_from, "the name of a volume, or volume@snapshot"},
    {"access", OPTION_ACCESS, set_access, "rw, or ro together with from"},
};

#define OPTION_COUNT (sizeof(option_table) / sizeof(option_table[0]))

static int refuse_key(const char *key, struct error *err)
{
    char quoted[TEXT_QUOTED_MAX], known[256];
    size_t used = 0;

    for (size_t i = 0; i < OPTION_COUNT; i++)
        used += (size_t)snprintf(known + used, sizeof(known) - used, "%s, ", option_table[i].key);
    text_quote(key, quoted);
    return error_set(err, -EINVAL, "unknown option '%s': the options are %s" LABEL_PREFIX "<key>",
                     quoted, known);
}

/* Where KEY is, or belongs, in the sorted labels. */
static size_t label_position(const struct rbd_pairs *labels, const char *key, bool *ret_found)
{
    size_t at = 0;
    int order = 1;

    while (at < labels->count && (order = strcmp(labels->items[at].key, key)) < 0)
        at++;
    *ret_found = at < labels->count && order == 0;
    return at;
}

/* Set label KEY; a label set before is replaced. 0 or -ENOMEM. */
static int put_label(struct rbd_pairs *labels, const char *key, const char *value)
{
    struct rbd_pair pair = {.key = strdup(key), .value = strdup(value), .value_len = strlen(value)};
    bool found;
    size_t at = label_position(labels, key, &found);
    struct rbd_pair *items = labels->items;

    if (pair.key && pair.value && !found)
        items = reallocarray(labels->items, labels->count + 1, sizeof(*items));
    if (!pair.key || !pair.value || !items) {
        free(pair.key);
        free(pair.value);
        return -ENOMEM;
    }
    labels->items = items;
    if (found) {
        free(items[at].key);
        free(items[at].value);
    } else {
        memmove(&items[at + 1], &items[at], (labels->count - at) * sizeof(*items));
        labels->count++;
    }
    items[at] = pair;
    return 0;
}

static int set_label(struct volume_options *options, const char *key, const char *value,
                     struct error *err)
{
    char quoted[TEXT_QUOTED_MAX];
    bool found;
    int r;

    if (!is_word(key, "._/-", LABEL_KEY_MAX + 1)) {
        text_quote(key, quoted);
        return error_set(err, -EINVAL,
                         "label '%s' is not allowed: use letters, digits, '.', '_', '/' and '-', a "
                         "letter or digit first, at most %d characters",
                         quoted, LABEL_KEY_MAX);
    }
    if (strnlen(value, LABEL_VALUE_MAX + 1) > LABEL_VALUE_MAX || !text_is_printable(value)) {
        text_quote(value, quoted);
        return error_set(err, -EINVAL,
                         "label '%s' has value '%s': use at most %d bytes of printable UTF-8 text",
                         key, quoted, LABEL_VALUE_MAX);
    }
    label_position(&options->labels, key, &found);
    if (!found && options->labels.count == LABELS_MAX)
        return error_set(err, -EINVAL, "too many labels: a volume has at most %d", LABELS_MAX);
    r = put_label(&options->labels, key, value);
    return r < 0 ? error_errno(err, r, "label '%s'", key) : 0;
}

int volume_options_set(struct volume_options *options, const char *key, const char *value,
                       struct error *err)
{
    char quoted[TEXT_QUOTED_MAX];

    if (strncmp(key, LABEL_PREFIX, strlen(LABEL_PREFIX)) == 0)
        return set_label(options, key + strlen(LABEL_PREFIX), value, err);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &option_table[i];

        if (strcmp(option->key, key) != 0)
            continue;
        if (option->set(options, value) < 0) {
            text_quote(value, quoted);
            return error_set(err, -EINVAL, "option '%s' has value '%s': use %s", key, quoted,
                             option->allowed);
        }
        options->given |= option->bit;
        return 0;
    }
    return refuse_key(key, err);
}

int volume_options_check_access(const struct volume_options *options, struct error *err)
{
    static const unsigned written = OPTION_UID | OPTION_GID | OPTION_MODE;

    if (!options->read_only)
        return 0;
    if (!options->from[0])
        return error_set(err, -EINVAL,
                         "option 'access' has value 'ro': it shows a snapshot of another volume, "
                         "so say which with from=<volume>@<snapshot>");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (options->given & written & option_table[i].bit)
            return error_set(err, -EINVAL,
                             "option '%s' would have to be written to the volume, and with "
                             "access=ro nothing is: leave one of the two out",
                             option_table[i].key);
    }
    return 0;
}

int volume_options_check(const struct volume_options *options, struct error *err)
{
    const char *fs = filesystem_name(options->fs);
    uint64_t least = filesystems[options->fs].size_min;
    uint64_t most = filesystems[options->fs].size_max;
    char size[24], limit[24], data[MOUNT_OPTIONS_MAX];
    unsigned long flags;
    int r = volume_options_check_access(options, err);

    if (r < 0)
        return r;
    size_format(options->size, size, sizeof(size));
    if (options->size % 4096 != 0)
        return error_set(err, -EINVAL, "size %s is not a multiple of 4096 bytes", size);
    if (options->size < least || options->size > most) {
        size_format(options->size < least ? least : most, limit, sizeof(limit));
        return error_set(err, -EINVAL, "size %s is too %s for %s: use at %s %s", size,
                         options->size < least ? "small" : "large", fs,
                         options->size < least ? "least" : "most", limit);
    }
    if ((options->size - 1) >> options->order >= OBJECTS_MAX) {
        size_format(UINT64_C(1) << options->order, limit, sizeof(limit));
        return error_set(err, -EINVAL,
                         "size %s is too large for objects of %s: use a larger object-size", size,
                         limit);
    }
    return mount_options_parse(options->fs, options->mount_options, &flags, data, err);
}
