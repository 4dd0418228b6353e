/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "block/fuse_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A decoded request may only point into its packet. */
static void check_inside(const uint8_t *packet, size_t len, const void *at, size_t bytes)
{
    const uint8_t *start = at;

    if (start < packet || bytes > len || (size_t)(start - packet) > len - bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuse_wire_request request;
    struct fuse_init_out init;

    if (fuse_wire_decode(data, size, &request) < 0)
        return 0;
    switch (request.opcode) {
    case FUSE_INIT:
        fuse_wire_init(&request, 4096, 128, &init);
        break;
    case FUSE_LOOKUP:
        check_inside(data, size, request.lookup.name, strlen(request.lookup.name) + 1);
        break;
    case FUSE_WRITE:
        check_inside(data, size, request.io.data, request.io.length);
        break;
    default:
        break;
    }
    return 0;
}
