/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/io.h"
#include "rados/cluster.h"

/* Reading an image that nobody writes, on any number of hosts at once. There is no lock to take and
 * nothing to take over: a reader watches the header, which keeps the image from being removed, and
 * tells whoever asks which host it is.
 *
 *   state      watch   reads      leaves by
 *   watching   yes     yes        reader_close                      -> (ended)
 *                                 watch error                       -> unwatched
 *   unwatched  no      yes        re-watch                          -> watching
 *                                 the image is gone                 -> gone
 *                                 blocklisted (-ESHUTDOWN)          -> cut off
 *   gone       no      all fail   reader_close
 *   cut off    no      all fail   the process ends; the next one, another client, reads on
 *
 * One that removes the image locks it and then looks for watches; a reader watches and then looks
 * for a lock. So one of the two sees the other. */

enum reader_state {
    READER_WATCHING,
    READER_UNWATCHED,
    READER_GONE,
    READER_CUT_OFF,
};

struct reader;

/* Watch image ID's header, see that nobody holds its lock, and read it into *ret_header (the caller
 * frees it). A lock whose holder is dead is broken as ownership_acquire does. HOST is told to
 * others, with the time. RESUMES: a predecessor's device waits, so a writer that came meanwhile is
 * no reason to give up. WATCH_TIMEOUT_S: seconds after which the cluster forgets a silent watcher.
 * 0; -EBUSY (a client holds the lock, as those do who write: err names it and the next step);
 * -EAGAIN (it is being removed, and a predecessor's device waits: try again); -ENOENT; -ETIMEDOUT;
 * -EOPNOTSUPP (image_check_readable); or what librados returned. */
int reader_open(struct cluster *cluster, const char *id, const char *host, bool resumes,
                unsigned watch_timeout_s, int64_t deadline, struct image_header *ret_header,
                struct reader **ret, struct error *err);

/* The I/O that must follow the header's changes (its parent may go: rbd flatten). Set once, before
 * serving. */
void reader_attach_io(struct reader *reader, struct image_io *io);

/* Called from reader_run when a client of another kind has taken the image's lock, as it does
 * before it writes. Optional. */
void reader_on_lock(struct reader *reader, void (*locked)(void *arg, const struct lock_info *lock),
                    void *arg);

/* As ownership_fd and ownership_run: for the process' main loop. */
int reader_fd(const struct reader *reader);
void reader_run(struct reader *reader);

enum reader_state reader_state(const struct reader *reader);

/* When the cluster last confirmed the watch, as of the last reader_run (CLOCK_MONOTONIC ns). */
int64_t reader_confirmed(const struct reader *reader);

/* Unwatch, free. Accepts NULL. */
void reader_close(struct reader *reader);

/* Who has an image open that nobody owns. */
struct image_reader {
    uint64_t client_id;
    bool answers;   /* else the cluster has not given it up yet */
    char host[256]; /* "", and so the next two, of one that is no reader of ours or does not answer
                     */
    char since[64]; /* RFC 3339, UTC */
    char address[128];
};

struct image_readers {
    struct image_reader *items; /* image_readers_free */
    size_t count;
};
void image_readers_free(struct image_readers *readers); /* leaves it empty */

/* Ask all watchers of image ID. 0; -ENOENT, -ETIMEDOUT, or what librados returned. Takes about a
 * second when a watcher is silent. Blocks; any thread but librados' own. */
int image_readers_list(struct cluster *cluster, const char *id, int64_t deadline,
                       struct image_readers *ret, struct error *err);
