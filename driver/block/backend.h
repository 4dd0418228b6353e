/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "block/latency.h"
#include "image/io.h"

/* A device back end turns an open image into a kernel block device. One instance per process;
 * descriptors that must survive the process are handed to the keeper. */

struct backend;

/* Where descriptors are kept over a crash (the supervisor). NAME is at most 31 bytes, such as
 * "fuse" or "loop". */
struct fd_keeper {
    /* Keep a copy of FD under NAME in place of any other; FD -1 forgets NAME: the copies are
     * closed soon after. 0 or negative errno. */
    int (*store)(struct fd_keeper *keeper, const char *name, int fd);
    /* A copy of the descriptor kept under NAME by a predecessor, or -1; the caller's. */
    int (*fetch)(struct fd_keeper *keeper, const char *name);
};

/* Read-ahead of a device in 512-byte sectors: 4 MiB, the usual object size, so that a sequential
 * reader has several objects under way. */
#define BACKEND_READ_AHEAD_SECTORS 8192UL

struct backend_settings {
    const char *name;             /* shown by losetup and lsblk: the volume's name */
    const char *identifier;       /* of this use of the image: nobody else has a device of it */
    uint32_t logical_block_bytes; /* 512 or 4096 */
    int read_only;
};

/* What is measured apart; BACKEND_DISCARD stands for zeroing too, which kernels ask for alike.
 * BACKEND_FLUSH is a place in the packets and nothing more: what is acknowledged is durable, so no
 * back end is asked to flush. */
enum backend_op { BACKEND_READ, BACKEND_WRITE, BACKEND_DISCARD, BACKEND_FLUSH, BACKEND_OPS };

/* Since the start of the process. Fixed layout: part of control.h's packets. */
struct backend_stats {
    struct latency_counts done[BACKEND_OPS]; /* requests that succeeded */
    uint64_t read_bytes, write_bytes;        /* of those */
    uint64_t errors;                         /* requests that failed */
    uint64_t in_flight;                      /* requests not done yet */
};

struct backend_ops {
    const char *name; /* "fuse" */
    /* The names under which it keeps descriptors, ended by NULL. Required. */
    const char *const *kept;
    /* Can this machine do it? 0, or negative errno with err naming what is missing. Required. */
    int (*probe)(struct error *err);
    /* Would a device here fail where a disk would not? 0, or negative errno with err naming why and
     * what to do. Optional. */
    int (*caution)(struct error *err);
    /* Make the device and serve it from threads of its own until detach. Required. */
    int (*attach)(struct image_io *io, struct fd_keeper *keeper,
                  const struct backend_settings *settings, struct backend **ret, struct error *err);
    /* "/dev/loop3". Required. */
    const char *(*device)(const struct backend *backend);
    /* Follow the image's new size. Required. */
    int (*resize)(struct backend *backend, uint64_t size, struct error *err);
    void (*stats)(const struct backend *backend, struct backend_stats *ret); /* Required. */
    /* Remove the device; waits for its requests. -EBUSY when somebody has it open (err says so):
     * then nothing has changed and the device goes on. On success BACKEND is freed. Required. */
    int (*detach)(struct backend *backend, int64_t deadline, struct error *err);
};

extern const struct backend_ops fuse_loop_backend;
extern const struct backend_ops nbd_backend;

/* Which one is wanted: the name of one, or "auto". */
#define BACKEND_AUTO "auto"
bool backend_is_known(const char *wanted);

/* The one that a predecessor's descriptors in KEEPER (or NULL) belong to; else the one WANTED, of
 * all of them the first this machine has, and without a caution if there is such a one. NULL with
 * err saying what is missing. */
const struct backend_ops *backend_choose(const char *wanted, struct fd_keeper *keeper,
                                         struct error *err);

/* The data process of DEVICE, which is in use, is gone and nobody keeps its descriptors: have all
 * I/O fail that would wait for another one. */
int backend_give_up(dev_t device, struct error *err);
