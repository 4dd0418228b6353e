/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "volume/options.h"
#include "volume/text.h"

/* Which mount options a volume may have: the ones listed here and no others.
 *
 * Left out on purpose is whatever can lose or expose data that an application believes is safe
 * (nobarrier and barrier=0, data=writeback, journal_async_commit, noauto_da_alloc, noload and
 * norecovery, commit= above 30 s), whatever makes errors pass unseen (errors=), what reaches
 * outside the volume (journal_dev, logdev, rtdev), and ro and rw, which belong to who mounts and
 * not to the volume.
 *
 * What every mount gets unless its options say otherwise:
 * - discard: a volume is thin; files that are removed give their objects back to the pool.
 * - nodev: whoever is root in a container can make device nodes in its volume; nodev keeps them
 *   from working through the mount point on the host, or on the next host. No program keeps data
 *   in a device node, and a container's own /dev is not on a volume; "dev" is there for those who
 *   build root file systems in one. Set-user-id programs do work, as they do on Docker's local
 *   volumes: images are unpacked into volumes with sudo or ping in them.
 * - ext4: errors=remount-ro, so that a damaged file system stops taking writes at once. xfs shuts
 *   down by itself.
 * - ext4: nodioread_nolock. Otherwise a new block counts as written only once its data are there
 *   and a transaction has said so. When that fails because the journal was aborted meanwhile (the
 *   volume was fenced), the kernel (seen with 6.18) forgets it, and fsync says that the data are
 *   safe. Without, data come before the transaction, whose failure fsync does tell.
 * - xfs: nouuid, so that a clone can be mounted on the host of its source. That no volume is
 * mounted twice is the business of its lock. */

enum on {
    EXT4 = 1 << FILESYSTEM_EXT4,
    XFS = 1 << FILESYSTEM_XFS,
    BOTH = EXT4 | XFS,
};

/* Words of one subject contradict or repeat each other: only one of them may be given. */
enum subject {
    ATIME,
    DIRATIME,
    LAZYTIME,
    DEV,
    SUID,
    EXEC,
    SYNC,
    DIRSYNC,
    DISCARD,
    COMMIT,
    DATA,
    DELALLOC,
    STRIPE,
    LOGBUFS,
    LOGBSIZE,
    ALLOCSIZE,
    INODE64,
    LARGEIO,
    WSYNC,
    SUBJECT_COUNT
};

struct mount_word {
    const char *word;
    unsigned on; /* enum on */
    enum subject subject;
    unsigned long flag; /* for mount(2); 0: the word goes into the data unless it is `silent` */
    bool silent;        /* only switches a default off */
    /* For word=value: the values allowed, separated by "|", or a range of whole numbers. */
    const char *values;
    unsigned least, most;
};

static const struct mount_word words[] = {
    {.word = "noatime", .on = BOTH, .subject = ATIME, .flag = MS_NOATIME},
    {.word = "relatime", .on = BOTH, .subject = ATIME, .flag = MS_RELATIME},
    {.word = "strictatime", .on = BOTH, .subject = ATIME, .flag = MS_STRICTATIME},
    {.word = "nodiratime", .on = BOTH, .subject = DIRATIME, .flag = MS_NODIRATIME},
    {.word = "lazytime", .on = BOTH, .subject = LAZYTIME, .flag = MS_LAZYTIME},
    {.word = "nodev", .on = BOTH, .subject = DEV, .flag = MS_NODEV},
    {.word = "dev", .on = BOTH, .subject = DEV, .silent = true},
    {.word = "nosuid", .on = BOTH, .subject = SUID, .flag = MS_NOSUID},
    {.word = "noexec", .on = BOTH, .subject = EXEC, .flag = MS_NOEXEC},
    {.word = "sync", .on = BOTH, .subject = SYNC, .flag = MS_SYNCHRONOUS},
    {.word = "dirsync", .on = BOTH, .subject = DIRSYNC, .flag = MS_DIRSYNC},
    {.word = "discard", .on = BOTH, .subject = DISCARD},
    {.word = "nodiscard", .on = BOTH, .subject = DISCARD},
    {.word = "commit", .on = EXT4, .subject = COMMIT, .least = 1, .most = 30},
    {.word = "data", .on = EXT4, .subject = DATA, .values = "ordered|journal"},
    {.word = "nodelalloc", .on = EXT4, .subject = DELALLOC},
    {.word = "stripe", .on = EXT4, .subject = STRIPE, .least = 1, .most = 8192},
    {.word = "logbufs", .on = XFS, .subject = LOGBUFS, .least = 2, .most = 8},
    {.word = "logbsize", .on = XFS, .subject = LOGBSIZE, .values = "32k|64k|128k|256k"},
    {.word = "allocsize",
     .on = XFS,
     .subject = ALLOCSIZE,
     .values = "64k|128k|256k|512k|1m|2m|4m|8m|16m|32m|64m"},
    {.word = "inode64", .on = XFS, .subject = INODE64},
    {.word = "largeio", .on = XFS, .subject = LARGEIO},
    {.word = "wsync", .on = XFS, .subject = WSYNC},
};

#define WORD_COUNT (sizeof(words) / sizeof(words[0]))

/* "noatime, relatime, ..., commit=1..30, data=ordered|journal" */
static void list_words(enum filesystem fs, char *text, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < WORD_COUNT; i++) {
        const struct mount_word *w = &words[i];

        if (!(w->on & 1U << fs))
            continue;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", w->word);
        if (w->values)
            used += (size_t)snprintf(text + used, size - used, "=%s", w->values);
        else if (w->most)
            used += (size_t)snprintf(text + used, size - used, "=%u..%u", w->least, w->most);
        assert(used < size);
    }
}

static bool value_is_listed(const char *list, const char *value, size_t len)
{
    while (*list) {
        size_t item = strcspn(list, "|");

        if (item == len && strncmp(list, value, len) == 0)
            return true;
        list += item + (list[item] == '|');
    }
    return false;
}

static bool value_is_within(const struct mount_word *w, const char *value, size_t len)
{
    unsigned number = 0;

    if (len == 0 || len > 5 || value[0] == '0')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)value[i]))
            return false;
        number = number * 10 + (unsigned)(value[i] - '0');
    }
    return number >= w->least && number <= w->most;
}

/* The entry for the LEN bytes at TEXT, "word" or "word=value"; NULL when it is not allowed. */
static const struct mount_word *find_word(enum filesystem fs, const char *text, size_t len)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - text) : len;
    const char *value = equals ? equals + 1 : NULL;
    size_t value_len = equals ? len - name_len - 1 : 0;

    for (size_t i = 0; i < WORD_COUNT; i++) {
        const struct mount_word *w = &words[i];

        if (!(w->on & 1U << fs) || strlen(w->word) != name_len ||
            strncmp(w->word, text, name_len) != 0)
            continue;
        if (w->values)
            return value && value_is_listed(w->values, value, value_len) ? w : NULL;
        if (w->most)
            return value && value_is_within(w, value, value_len) ? w : NULL;
        return value ? NULL : w;
    }
    return NULL;
}

static int refuse_word(enum filesystem fs, const char *text, size_t len, struct error *err)
{
    char word[MOUNT_OPTIONS_MAX], quoted[TEXT_QUOTED_MAX], allowed[640];

    snprintf(word, sizeof(word), "%.*s", (int)len, text);
    text_quote(word, quoted);
    list_words(fs, allowed, sizeof(allowed));
    return error_set(err, -EINVAL, "mount option '%s' is not allowed on %s: use %s", quoted,
                     filesystem_name(fs), allowed);
}

/* Add LEN bytes to the comma-separated DATA. False when they do not fit. */
static bool append(char data[MOUNT_OPTIONS_MAX], const char *text, size_t len)
{
    size_t used = strlen(data);

    if (used + (used > 0) + len >= MOUNT_OPTIONS_MAX)
        return false;
    snprintf(data + used, MOUNT_OPTIONS_MAX - used, "%s%.*s", used ? "," : "", (int)len, text);
    return true;
}

static bool append_text(char data[MOUNT_OPTIONS_MAX], const char *text)
{
    return append(data, text, strlen(text));
}

int mount_options_parse(enum filesystem fs, const char *text, unsigned long *ret_flags,
                        char ret_data[MOUNT_OPTIONS_MAX], struct error *err)
{
    const char *given[SUBJECT_COUNT] = {0}; /* the word given on each subject */
    unsigned long flags = 0;
    char data[MOUNT_OPTIONS_MAX] = "";
    bool fits = strlen(text) < MOUNT_OPTIONS_MAX;
    const char *at = text;

    while (fits && *text) {
        size_t len = strcspn(at, ",");
        const struct mount_word *w = find_word(fs, at, len);

        if (!w)
            return refuse_word(fs, at, len, err);
        if (given[w->subject])
            return error_set(err, -EINVAL,
                             "mount option '%s' contradicts or repeats '%s': give one of them",
                             w->word, given[w->subject]);
        given[w->subject] = w->word;
        flags |= w->flag;
        if (!w->flag && !w->silent)
            fits = append(data, at, len);
        if (!at[len])
            break;
        at += len + 1;
    }
    if (!given[DEV])
        flags |= MS_NODEV;
    if (!given[DISCARD])
        fits = fits && append_text(data, "discard");
    fits = fits && append_text(data, fs == FILESYSTEM_EXT4 ? "errors=remount-ro,nodioread_nolock"
                                                           : "nouuid");
    if (!fits)
        return error_set(err, -EINVAL, "mount options are too long: at most %d characters",
                         MOUNT_OPTIONS_MAX - 1);
    *ret_flags = flags;
    memcpy(ret_data, data, sizeof(data));
    return 0;
}

/* Is the word of LEN bytes about writing? ext4 even refuses to be told how to commit to a journal
 * that it is to leave alone. */
static bool is_about_writing(const char *word, size_t len)
{
    static const enum subject subjects[] = {DISCARD, COMMIT, DATA, DELALLOC};
    const struct mount_word *w = find_word(FILESYSTEM_EXT4, word, len);

    for (size_t i = 0; w && i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        if (w->subject == subjects[i])
            return true;
    }
    return false;
}

void mount_options_leave_journal(enum filesystem fs, char data[MOUNT_OPTIONS_MAX])
{
    char kept[MOUNT_OPTIONS_MAX] = "";
    size_t len;

    for (const char *at = data; *at; at += len + (at[len] == ',')) {
        len = strcspn(at, ",");
        if (!is_about_writing(at, len))
            append(kept, at, len);
    }
    /* There is room: of each subject there is one word at most. */
    append_text(kept, fs == FILESYSTEM_EXT4 ? "noload" : "norecovery");
    memcpy(data, kept, sizeof(kept));
}
