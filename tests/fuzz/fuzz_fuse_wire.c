/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "block/fuse_wire.h"

/* A decoded request may only point into its packet, and its range may not overflow. */
static void check_inside(const uint8_t *packet, size_t len, const void *at, size_t bytes)
{
    const uint8_t *start = at;

    CHECK(start >= packet && bytes <= len && (size_t)(start - packet) <= len - bytes);
}

static void check(const uint8_t *packet, size_t len)
{
    struct fuse_wire_request request;
    struct fuse_init_out init;

    if (fuse_wire_decode(packet, len, &request) < 0)
        return;
    switch (request.opcode) {
    case FUSE_INIT:
        if (fuse_wire_init(&request, 4096, 128, &init) == 0)
            CHECK(init.max_write == FUSE_WIRE_IO_MAX && init.max_pages == 256);
        break;
    case FUSE_LOOKUP:
        check_inside(packet, len, request.lookup.name, strlen(request.lookup.name) + 1);
        break;
    case FUSE_WRITE:
        check_inside(packet, len, request.io.data, request.io.length);
        CHECK(request.io.offset + request.io.length >= request.io.offset);
        break;
    case FUSE_READ:
        CHECK(request.io.length <= FUSE_WIRE_IO_MAX);
        CHECK(request.io.offset + request.io.length >= request.io.offset);
        break;
    case FUSE_FALLOCATE:
        CHECK(request.fallocate.offset + request.fallocate.length >= request.fallocate.offset);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t opcodes[] = {FUSE_INIT, FUSE_LOOKUP, FUSE_READ, FUSE_WRITE,
                                       FUSE_FALLOCATE};

    check(data, size);
    /* The same bytes as the body of each operation, behind a header that fits. */
    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        struct fuse_in_header header = {
            .len = (uint32_t)(sizeof(header) + size),
            .opcode = opcodes[i],
            .unique = 2,
            .nodeid = 1,
        };
        uint8_t *packet = malloc(header.len);

        CHECK(packet);
        memcpy(packet, &header, sizeof(header));
        if (size > 0)
            memcpy(packet + sizeof(header), data, size);
        check(packet, header.len);
        free(packet);
    }
    return 0;
}
