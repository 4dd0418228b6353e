/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "plugin/server/ledger.h"

#include "base/cleanup.h"
#include "base/file.h"

#define SUFFIX ".json"

static void closedirp(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}
#define cleanup_dir __attribute__((cleanup(closedirp)))

static int ledger_path(const char *run_dir, const char *file, const char *suffix,
                       char ret[PATH_MAX], struct error *err)
{
    if (snprintf(ret, PATH_MAX, "%s/ledger/%s%s", run_dir, file, suffix) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "the run directory's path is too long: '%s'", run_dir);
    return 0;
}

int ledger_save(const char *run_dir, const struct ledger_entry *entry, struct error *err)
{
    cleanup_free char *text = NULL;
    char path[PATH_MAX];
    int r = ledger_path(run_dir, entry->volume, SUFFIX, path, err);

    if (r < 0)
        return r;
    if (ledger_encode(entry, &text) < 0)
        return error_errno(err, -ENOMEM, "cannot write the ledger of volume '%s'", entry->volume);
    return file_replace(path, text, strlen(text), err);
}

int ledger_remove(const char *run_dir, const char *volume, struct error *err)
{
    char path[PATH_MAX];
    int r = ledger_path(run_dir, volume, SUFFIX, path, err);

    if (r == 0 && unlink(path) < 0 && errno != ENOENT)
        r = error_errno(err, -errno, "cannot remove '%s'", path);
    return r;
}

static int load_file(const char *run_dir, const char *file, struct ledger_entry *ret,
                     struct error *err)
{
    cleanup_free char *text = NULL;
    char path[PATH_MAX];
    size_t len = 0;
    int r = ledger_path(run_dir, file, "", path, err);

    if (r == 0)
        r = file_read(path, LEDGER_FILE_MAX, &text, &len, err);
    if (r < 0)
        return r;
    r = ledger_decode(text, len, ret, err);
    if (r < 0) {
        error_wrap(err, "the ledger file '%s' is not usable", path);
        return r;
    }
    /* The name inside and the name of the file must agree, or two files could speak of one volume.
     */
    if (strncmp(ret->volume, file, strlen(file) - strlen(SUFFIX)) != 0 ||
        strlen(ret->volume) != strlen(file) - strlen(SUFFIX)) {
        ledger_entry_free(ret);
        return error_set(err, -EBADMSG, "the ledger file '%s' speaks of another volume", path);
    }
    return 0;
}

int ledger_load(const char *run_dir, void (*each)(void *arg, struct ledger_entry *entry),
                void (*bad)(void *arg, const struct error *err), void *arg, struct error *err)
{
    cleanup_dir DIR *dir = NULL;
    char path[PATH_MAX];
    int r = ledger_path(run_dir, "", "", path, err);

    if (r < 0)
        return r;
    dir = opendir(path);
    if (!dir)
        return error_errno(err, -errno, "cannot read the directory '%s'", path);
    for (const struct dirent *d; (d = readdir(dir));) {
        cleanup_ledger_entry struct ledger_entry entry = {0};
        size_t len = strlen(d->d_name);
        struct error file_err = {0};

        if (len <= strlen(SUFFIX) || strcmp(d->d_name + len - strlen(SUFFIX), SUFFIX) != 0)
            continue;
        if (load_file(run_dir, d->d_name, &entry, &file_err) == 0)
            each(arg, &entry);
        else
            bad(arg, &file_err);
    }
    return 0;
}

int ledger_make_token(char ret[LEDGER_TOKEN_MAX], struct error *err)
{
    unsigned char bytes[(LEDGER_TOKEN_MAX - 1) / 2];

    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        return error_errno(err, -errno, "cannot make a random token");
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

int ledger_server_token(const char *run_dir, char ret[LEDGER_TOKEN_MAX], struct error *err)
{
    cleanup_free char *text = NULL;
    char path[PATH_MAX];
    size_t len = 0;
    int r;

    snprintf(path, sizeof(path), "%s/token", run_dir);
    if (file_read(path, LEDGER_TOKEN_MAX, &text, &len, NULL) == 0 && len == LEDGER_TOKEN_MAX - 1 &&
        strspn(text, "0123456789abcdef") == len) {
        memcpy(ret, text, LEDGER_TOKEN_MAX);
        return 0;
    }
    r = ledger_make_token(ret, err);
    return r < 0 ? r : file_replace(path, ret, LEDGER_TOKEN_MAX - 1, err);
}

int ledger_epoch_load(const char *run_dir, uint64_t *ret, struct error *err)
{
    cleanup_free char *text = NULL;
    char path[PATH_MAX];
    char *end;
    size_t len;
    int r;

    *ret = 0;
    snprintf(path, sizeof(path), "%s/epoch", run_dir);
    r = file_read(path, 32, &text, &len, err);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    if (errno != 0 || end == text || (*end != '\n' && *end != '\0') || *ret > INT64_MAX) {
        *ret = 0;
        return error_set(err, -EBADMSG, "'%s' does not hold a number", path);
    }
    return 0;
}

int ledger_epoch_save(const char *run_dir, uint64_t epoch, struct error *err)
{
    char path[PATH_MAX];
    char text[32];

    snprintf(path, sizeof(path), "%s/epoch", run_dir);
    snprintf(text, sizeof(text), "%" PRIu64 "\n", epoch);
    return file_replace(path, text, strlen(text), err);
}
