/* SPDX-License-Identifier: Apache-2.0 */
#include "block/fuse_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Linux 5.8, the first with LOOP_CONFIGURE. */
#define MINOR_NEEDED 31

/* The newest minor version whose answers we know; the kernel takes the lower of both. */
#define MINOR_KNOWN 38

#define INIT_FLAGS_NEEDED (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES)

/* A fixed-size struct at the start of BODY, copied out because a packet's address need not suit it.
 */
#define TAKE(body, len, ret)                                                                       \
    ((len) < sizeof(*(ret)) ? -EBADMSG : (memcpy((ret), (body), sizeof(*(ret))), 0))

static int check_range(uint64_t offset, uint64_t length)
{
    uint64_t end;

    if (__builtin_add_overflow(offset, length, &end) || end > INT64_MAX)
        return -EBADMSG;
    return 0;
}

static int decode_init(const uint8_t *body, size_t len, struct fuse_wire_request *ret)
{
    struct fuse_init_in in = {0};

    /* The struct has grown; all versions begin alike, and the flags say how far it goes. */
    if (len < offsetof(struct fuse_init_in, flags2))
        return -EBADMSG;
    memcpy(&in, body, len < sizeof(in) ? len : sizeof(in));
    ret->init.major = in.major;
    ret->init.minor = in.minor;
    ret->init.max_readahead = in.max_readahead;
    ret->init.flags = in.flags;
    if (in.flags & FUSE_INIT_EXT)
        ret->init.flags |= (uint64_t)in.flags2 << 32;
    return 0;
}

static int decode_lookup(const uint8_t *body, size_t len, struct fuse_wire_request *ret)
{
    if (len == 0 || memchr(body, 0, len) == NULL)
        return -EBADMSG;
    ret->lookup.name = (const char *)body;
    return 0;
}

static int decode_read(const uint8_t *body, size_t len, struct fuse_wire_request *ret)
{
    struct fuse_read_in in;

    if (TAKE(body, len, &in) < 0 || in.size > FUSE_WIRE_IO_MAX)
        return -EBADMSG;
    ret->io.offset = in.offset;
    ret->io.length = in.size;
    ret->io.data = NULL;
    return check_range(in.offset, in.size);
}

static int decode_write(const uint8_t *body, size_t len, struct fuse_wire_request *ret)
{
    struct fuse_write_in in;

    if (TAKE(body, len, &in) < 0 || in.size > FUSE_WIRE_IO_MAX || len - sizeof(in) != in.size)
        return -EBADMSG;
    ret->io.offset = in.offset;
    ret->io.length = in.size;
    ret->io.data = body + sizeof(in);
    return check_range(in.offset, in.size);
}

static int decode_fallocate(const uint8_t *body, size_t len, struct fuse_wire_request *ret)
{
    struct fuse_fallocate_in in;

    if (TAKE(body, len, &in) < 0)
        return -EBADMSG;
    ret->fallocate.offset = in.offset;
    ret->fallocate.length = in.length;
    ret->fallocate.mode = in.mode;
    return check_range(in.offset, in.length);
}

int fuse_wire_decode(const void *packet, size_t len, struct fuse_wire_request *ret)
{
    struct fuse_in_header header;
    const uint8_t *body = (const uint8_t *)packet + sizeof(header);

    *ret = (struct fuse_wire_request){0};
    if (TAKE(packet, len, &header) < 0)
        return -EBADMSG;
    ret->opcode = header.opcode;
    ret->unique = header.unique;
    ret->node = header.nodeid;
    if (header.len != len)
        return -EBADMSG;
    len -= sizeof(header);
    switch (header.opcode) {
    case FUSE_INIT:
        return decode_init(body, len, ret);
    case FUSE_LOOKUP:
        return decode_lookup(body, len, ret);
    case FUSE_READ:
        return decode_read(body, len, ret);
    case FUSE_WRITE:
        return decode_write(body, len, ret);
    case FUSE_FALLOCATE:
        return decode_fallocate(body, len, ret);
    default:
        return 0;
    }
}

int fuse_wire_init(const struct fuse_wire_request *request, unsigned page_bytes,
                   uint16_t max_background, struct fuse_init_out *ret)
{
    uint64_t wanted = INIT_FLAGS_NEEDED | FUSE_INIT_EXT | FUSE_WIRE_HAS_RESEND;
    uint64_t flags = request->init.flags & wanted;
    uint32_t minor = request->init.minor;

    if (request->init.major != FUSE_KERNEL_VERSION || minor < MINOR_NEEDED)
        return -EPROTO;
    if ((flags & INIT_FLAGS_NEEDED) != INIT_FLAGS_NEEDED)
        return -EPROTO;
    *ret = (struct fuse_init_out){
        .major = FUSE_KERNEL_VERSION,
        .minor = minor < MINOR_KNOWN ? minor : MINOR_KNOWN,
        .max_readahead = request->init.max_readahead,
        .flags = (uint32_t)flags,
        .flags2 = (uint32_t)(flags >> 32),
        .max_background = max_background,
        .congestion_threshold = (uint16_t)(max_background / 4 * 3),
        .max_write = FUSE_WIRE_IO_MAX,
        .max_pages = (uint16_t)(FUSE_WIRE_IO_MAX / page_bytes),
        .time_gran = 1,
    };
    return 0;
}

int fuse_wire_attributes(uint64_t node, uint64_t size, uint32_t block_bytes, int read_only,
                         struct fuse_attr *ret)
{
    switch (node) {
    case FUSE_WIRE_ROOT:
        *ret = (struct fuse_attr){.ino = node, .mode = S_IFDIR | 0500, .nlink = 2};
        break;
    case FUSE_WIRE_IMAGE:
        *ret = (struct fuse_attr){
            .ino = node,
            .mode = S_IFREG | (read_only ? 0400 : 0600),
            .nlink = 1,
            .size = size,
            .blocks = size / 512,
        };
        break;
    default:
        return -ENOENT;
    }
    ret->blksize = block_bytes;
    return 0;
}
