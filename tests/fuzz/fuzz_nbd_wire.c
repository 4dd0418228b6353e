/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "block/nbd_wire.h"

/* A request has a range that does not overflow, and no more data than a buffer holds. */
static void check(const uint8_t packet[NBD_WIRE_REQUEST_BYTES])
{
    struct nbd_wire_request request;

    if (nbd_wire_decode(packet, &request) < 0)
        return;
    CHECK(request.offset + request.length >= request.offset);
    switch (request.type) {
    case NBD_CMD_READ:
    case NBD_CMD_WRITE:
        CHECK(request.length <= NBD_WIRE_IO_MAX);
        break;
    case NBD_CMD_DISC:
    case NBD_CMD_FLUSH:
        CHECK(request.length == 0);
        break;
    default:
        CHECK(request.type == NBD_CMD_TRIM || request.type == NBD_WIRE_WRITE_ZEROES);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t magic[] = {0x25, 0x60, 0x95, 0x13};
    uint8_t packet[NBD_WIRE_REQUEST_BYTES] = {0};

    if (size > 0)
        memcpy(packet, data, size < sizeof(packet) ? size : sizeof(packet));
    check(packet);
    /* The same bytes behind a beginning that is right. */
    memcpy(packet, magic, sizeof(magic));
    check(packet);
    return 0;
}
