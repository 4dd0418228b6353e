/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/supervisor_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A request that passes can be used without a further look. */
static void try_request(const uint8_t *data, size_t size)
{
    struct supervisor_request request;
    size_t count = 0;

    if (supervisor_request_check(data, size, &request) < 0)
        return;
    assert(strnlen(request.id, sizeof(request.id)) < sizeof(request.id));
    assert(!strpbrk(request.id, "/."));
    for (const char *arg = request.args; arg < request.args + request.args_len;
         arg += strlen(arg) + 1)
        count++;
    assert(count <= SUPERVISOR_ARG_COUNT_MAX);
}

static void try_reply(const uint8_t *data, size_t size)
{
    struct supervisor_reply *reply = malloc(size ? size : 1);

    assert(reply);
    memcpy(reply, data, size);
    if (supervisor_reply_check(reply, size) == 0) {
        assert(strnlen(reply->text, sizeof(reply->text)) < sizeof(reply->text));
        for (uint32_t i = 0; i < reply->count; i++)
            assert(strlen(reply->ids[i]) < SUPERVISOR_ID_MAX);
    }
    free(reply);
}

static void try_counts(const uint8_t *data, size_t size)
{
    struct supervisor_counts counts;

    if (supervisor_counts_check(data, size, &counts) == 0)
        assert(counts.blockds <= SUPERVISOR_BLOCKDS_MAX);
}

/* A request with the size and version put right, so that the rest is reached. */
static void try_filled(const uint8_t *data, size_t size)
{
    struct supervisor_request request = {.version = SUPERVISOR_VERSION};
    size_t start = offsetof(struct supervisor_request, op);

    if (size > sizeof(request) - start)
        size = sizeof(request) - start;
    memcpy((char *)&request + start, data, size);
    try_request((const uint8_t *)&request, sizeof(request));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_request(data, size);
    try_filled(data, size);
    try_reply(data, size);
    try_counts(data, size);
    return 0;
}
