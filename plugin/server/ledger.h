/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "volume/options.h"

/* Who on this host uses a volume: one small file per attached volume, so that a killed server finds
 * its way back. Each change replaces the file.
 *
 * dockerd's mount IDs are neither a set nor a counter: it mounts the same ID again for `docker cp`
 * (same life of dockerd: one more use), and after a crash it mounts with the ID of its former life,
 * for which no unmount ever came (the use is taken over, not added). An epoch is one life of a
 * dockerd; it begins with Plugin.Activate. */

#define LEDGER_ID_MAX    257  /* bytes of a mount ID, its NUL included */
#define LEDGER_REFS_MAX  1024 /* mount IDs per volume */
#define LEDGER_FILE_MAX  (1024 * 1024)
#define LEDGER_TOKEN_MAX 33

struct ledger_ref {
    char id[LEDGER_ID_MAX];
    uint32_t count;
    uint64_t epoch;
};

/* Encoded as JSON in RUN_DIR/ledger/<volume>.json; new members are optional when read. */
struct ledger_entry {
    char volume[VOLUME_NAME_MAX];
    char image_id[IMAGE_ID_MAX];
    char device[64];              /* "" until the device is attached */
    char token[LEDGER_TOKEN_MAX]; /* hex; see ownership.h: knows a dead predecessor's lock */
    struct ledger_ref *refs;
    size_t ref_count;
};

void ledger_entry_free(struct ledger_entry *entry); /* leaves it empty */

static inline void cleanup_ledger_entryp(struct ledger_entry *entry)
{
    ledger_entry_free(entry);
}
#define cleanup_ledger_entry __attribute__((cleanup(cleanup_ledger_entryp)))

/* A mount with ID in EPOCH. 0; -EMFILE (LEDGER_REFS_MAX), -EOVERFLOW or -ENOMEM with err. */
int ledger_mount(struct ledger_entry *entry, const char *id, uint64_t epoch, struct error *err);

/* An unmount of ID. 0, or -ENOENT when ID is not known. */
int ledger_unmount(struct ledger_entry *entry, const char *id);

/* How many IDs of EPOCH there are; the others are left over from a former dockerd. */
size_t ledger_count_epoch(const struct ledger_entry *entry, uint64_t epoch);

/* Pure. *ret is NUL-terminated, free(). 0 or -ENOMEM. */
int ledger_encode(const struct ledger_entry *entry, char **ret);
/* 0; -EBADMSG with err saying what is wrong (*ret is empty then), or -ENOMEM. */
int ledger_decode(const char *text, size_t len, struct ledger_entry *ret, struct error *err);

/* The files. RUN_DIR/ledger must exist. */
int ledger_save(const char *run_dir, const struct ledger_entry *entry, struct error *err);
int ledger_remove(const char *run_dir, const char *volume, struct error *err);
/* Call EACH for every readable entry; unreadable ones are reported to BAD and left alone.
 * EACH may keep the entry by emptying it. 0 or negative errno. */
int ledger_load(const char *run_dir, void (*each)(void *arg, struct ledger_entry *entry),
                void (*bad)(void *arg, const struct error *err), void *arg, struct error *err);

/* A new random token. 0 or negative errno. */
int ledger_make_token(char ret[LEDGER_TOKEN_MAX], struct error *err);

/* The token that all servers of this host have from its start to its end (RUN_DIR/token, made when
 * there is none), by which one knows its dead predecessor's locks (cluster.h). */
int ledger_server_token(const char *run_dir, char ret[LEDGER_TOKEN_MAX], struct error *err);

/* The number of the current dockerd life, in RUN_DIR/epoch; 0 when there is no such file yet. */
int ledger_epoch_load(const char *run_dir, uint64_t *ret, struct error *err);
int ledger_epoch_save(const char *run_dir, uint64_t epoch, struct error *err);
