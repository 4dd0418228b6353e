/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/json_request.h"
#include "tests/fuzz/fuzz.h"

#define SAMPLE                                                                                     \
    "{\"Name\":\"db\",\"ID\":\"0a1b\",\"Opts\":{\"size\":\"10G\",\"fs\":\"xfs\"},\"x\":[1,null],"  \
    "\"Snapshot\":\"monday\",\"Expired\":true,\"Names\":[\"a\",\"b\"]}"

/* Whatever comes in: a result within the limits, or words and an empty result. */
static void decode(const char *body, size_t len)
{
    cleanup_json_request struct json_request request;
    struct error err = {0};
    int r = json_request_decode(body, len, &request, &err);

    if (r < 0) {
        CHECK(err.code == r && err.text[0] != '\0');
        CHECK(!request.name && !request.id && !request.opts && request.opt_count == 0);
        return;
    }
    CHECK(!request.name || strlen(request.name) <= JSON_REQUEST_TEXT_MAX);
    CHECK(!request.id || strlen(request.id) <= JSON_REQUEST_TEXT_MAX);
    CHECK(!request.snapshot || strlen(request.snapshot) <= JSON_REQUEST_TEXT_MAX);
    CHECK(request.name_count <= JSON_REQUEST_NAMES_MAX);
    for (size_t i = 0; i < request.name_count; i++)
        CHECK(strlen(request.names[i]) <= JSON_REQUEST_TEXT_MAX);
    CHECK(request.opt_count <= JSON_REQUEST_OPTS_MAX);
    for (size_t i = 0; i < request.opt_count; i++) {
        CHECK(strlen(request.opts[i].key) <= JSON_REQUEST_KEY_MAX);
        CHECK(strlen(request.opts[i].value) <= JSON_REQUEST_TEXT_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len;
    char *edited = (char *)fuzz_edit(SAMPLE, strlen(SAMPLE), data, size, &len);

    decode(edited, len);
    free(edited);
    decode((const char *)data, size);
    return 0;
}
