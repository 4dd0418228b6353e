/* SPDX-License-Identifier: Apache-2.0 */
#include "block/nbd_wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* The type is in the lower half, flags (FUA, NO_HOLE) in the upper one: what is acknowledged is
 * durable anyway, and zeroes read the same with and without a hole. */
#define TYPE_MASK 0xffffu

static uint32_t read_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

static uint64_t read_u64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return be64toh(value);
}

int nbd_wire_decode(const uint8_t packet[NBD_WIRE_REQUEST_BYTES], struct nbd_wire_request *ret)
{
    if (read_u32(packet) != NBD_REQUEST_MAGIC)
        return -EBADMSG;
    *ret = (struct nbd_wire_request){
        .type = read_u32(packet + 4) & TYPE_MASK,
        .handle = read_u64(packet + 8),
        .offset = read_u64(packet + 16),
        .length = read_u32(packet + 24),
    };
    switch (ret->type) {
    case NBD_CMD_DISC:
    case NBD_CMD_FLUSH:
        ret->offset = ret->length = 0;
        return 0;
    case NBD_CMD_READ:
    case NBD_CMD_WRITE:
        if (ret->length > NBD_WIRE_IO_MAX)
            return -EBADMSG;
        break;
    case NBD_CMD_TRIM:
    case NBD_WIRE_WRITE_ZEROES:
        break;
    default:
        return -EBADMSG;
    }
    return ret->offset + ret->length < ret->offset ? -EBADMSG : 0;
}

/* The protocol has errnos of its own, which are Linux' numbers. */
static uint32_t wire_error(int result)
{
    switch (result) {
    case 0:
        return 0;
    case -EROFS:
    case -EPERM:
        return EPERM;
    case -ENOSPC:
    case -EDQUOT:
        return ENOSPC;
    default:
        return EIO;
    }
}

void nbd_wire_encode_reply(uint64_t handle, int result, uint8_t ret[NBD_WIRE_REPLY_BYTES])
{
    const uint32_t head[2] = {htobe32(NBD_REPLY_MAGIC), htobe32(wire_error(result))};
    const uint64_t tail = htobe64(handle);

    memcpy(ret, head, sizeof(head));
    memcpy(ret + sizeof(head), &tail, sizeof(tail));
}
