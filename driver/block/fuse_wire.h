/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>

/* The kernel's side of the FUSE protocol, as far as one file needs it. Pure functions over bytes:
 * every length and offset is checked here, once, and nowhere else. */

#define FUSE_WIRE_IO_MAX     (1024u * 1024) /* bytes of one READ or WRITE */
#define FUSE_WIRE_PACKET_MAX (FUSE_WIRE_IO_MAX + 4096)
#define FUSE_WIRE_NAME_MAX   255

/* The file system: a root directory that holds one file. */
#define FUSE_WIRE_ROOT  1 /* node id, fixed by the protocol */
#define FUSE_WIRE_IMAGE 2

/* What <linux/fuse.h> of older systems does not know. */
#define FUSE_WIRE_HAS_RESEND    (UINT64_C(1) << 39)
#define FUSE_WIRE_NOTIFY_RESEND 7

struct fuse_wire_request {
    uint32_t opcode; /* enum fuse_opcode, or a number newer than it */
    uint64_t unique; /* goes into the reply as it is; bit 63: the kernel sent it again */
    uint64_t node;
    union {
        struct {
            uint32_t major, minor, max_readahead;
            uint64_t flags;
        } init;
        struct {
            const char *name; /* borrowed from the packet, NUL-terminated */
        } lookup;
        struct {
            uint64_t offset;  /* offset + length does not overflow */
            uint32_t length;  /* at most FUSE_WIRE_IO_MAX */
            const void *data; /* WRITE: borrowed from the packet; READ: NULL */
        } io;
        struct {
            uint64_t offset;
            uint64_t length; /* offset + length does not overflow */
            uint32_t mode;   /* FALLOC_FL_* */
        } fallocate;
    };
};

/* Take a packet read from /dev/fuse apart. 0; -EBADMSG when it is no whole request (*ret then holds
 * at most opcode and unique; unique 0: not even those). Operations without a member above have
 * their header checked only. */
int fuse_wire_decode(const void *packet, size_t len, struct fuse_wire_request *ret);

/* The answer to INIT: what we use of what the kernel offers, for at most MAX_BACKGROUND requests in
 * flight. 0, or -EPROTO when the kernel's protocol is too old (before Linux 5.8) or misses 1 MiB
 * requests. */
int fuse_wire_init(const struct fuse_wire_request *request, unsigned page_bytes,
                   uint16_t max_background, struct fuse_init_out *ret);

/* The attributes of a node: FUSE_WIRE_ROOT or FUSE_WIRE_IMAGE. 0 or -ENOENT. */
int fuse_wire_attributes(uint64_t node, uint64_t size, uint32_t block_bytes, int read_only,
                         struct fuse_attr *ret);
