/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "plugin/server/json_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever comes in: a result within the limits, or words. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_json_request struct json_request request;
    struct error err = {0};
    int r = json_request_decode((const char *)data, size, &request, &err);

    if (r < 0) {
        assert(err.text[0] != '\0');
        assert(!request.name && !request.id && request.opt_count == 0);
        return 0;
    }
    assert(!request.name || strlen(request.name) <= JSON_REQUEST_TEXT_MAX);
    assert(!request.id || strlen(request.id) <= JSON_REQUEST_TEXT_MAX);
    assert(request.opt_count <= JSON_REQUEST_OPTS_MAX);
    for (size_t i = 0; i < request.opt_count; i++) {
        assert(strlen(request.opts[i].key) <= JSON_REQUEST_KEY_MAX);
        assert(strlen(request.opts[i].value) <= JSON_REQUEST_TEXT_MAX);
    }
    return 0;
}
