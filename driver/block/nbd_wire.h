/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <linux/nbd.h>
#include <stdint.h>

/* The NBD protocol as the kernel speaks it on an established connection. Pure functions over bytes:
 * every length and offset is checked here, once, and nowhere else. */

#define NBD_WIRE_REQUEST_BYTES 28
#define NBD_WIRE_REPLY_BYTES   16

/* The most bytes of one READ or WRITE: the kernel's own limit, which an administrator can go up to
 * (queue/max_sectors_kb). Others have no data and may be longer. */
#define NBD_WIRE_IO_MAX (32u * 1024 * 1024)

/* What <linux/nbd.h> of older systems does not know; older kernels ignore the flag. */
#define NBD_WIRE_SEND_WRITE_ZEROES (1 << 6)
#define NBD_WIRE_WRITE_ZEROES      6

struct nbd_wire_request {
    uint32_t type;   /* NBD_CMD_READ, _WRITE, _DISC, _FLUSH, _TRIM, NBD_WIRE_WRITE_ZEROES */
    uint64_t handle; /* goes into the reply as it is */
    uint64_t offset; /* offset + length does not overflow */
    uint32_t length; /* WRITE: as many bytes follow; READ, WRITE: at most NBD_WIRE_IO_MAX */
};

/* 0; -EBADMSG when it is none, or one after which nobody knows where the next one begins. */
int nbd_wire_decode(const uint8_t packet[NBD_WIRE_REQUEST_BYTES], struct nbd_wire_request *ret);

/* RESULT: 0 or negative errno. */
void nbd_wire_encode_reply(uint64_t handle, int result, uint8_t ret[NBD_WIRE_REPLY_BYTES]);
