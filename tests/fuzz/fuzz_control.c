/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "block/control.h"

static void check_request(const uint8_t *data, size_t size)
{
    struct blockd_request request;

    fuzz_fill(&request, sizeof(request));
    if (blockd_request_check(data, size, &request) < 0)
        CHECK(fuzz_untouched(&request, sizeof(request)));
    else
        CHECK((request.op >= BLOCKD_STATUS && request.op <= BLOCKD_ADOPT) ||
              request.op == BLOCKD_STATS);
}

static void check_reply(const uint8_t *data, size_t size)
{
    struct blockd_reply reply;

    fuzz_fill(&reply, sizeof(reply));
    if (blockd_reply_check(data, size, &reply) < 0) {
        CHECK(fuzz_untouched(&reply, sizeof(reply)));
        return;
    }
    CHECK(reply.result <= 0);
    CHECK(strlen(reply.device) < sizeof(reply.device));
    CHECK(strlen(reply.backend) < sizeof(reply.backend));
    CHECK(strlen(reply.text) < sizeof(reply.text));
}

static void check_stats(const uint8_t *data, size_t size)
{
    struct blockd_stats stats;

    fuzz_fill(&stats, sizeof(stats));
    if (blockd_stats_check(data, size, &stats) < 0)
        CHECK(fuzz_untouched(&stats, sizeof(stats)));
    else
        CHECK(stats.result <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct blockd_reply sample = {.version = BLOCKD_VERSION, .state = BLOCKD_ATTACHED};
    struct blockd_stats stats = {.version = BLOCKD_VERSION, .state = BLOCKD_ATTACHED};
    struct blockd_request request = {.version = BLOCKD_VERSION, .op = BLOCKD_STATUS};
    uint8_t *edited;
    size_t len;

    check_request(data, size);
    check_reply(data, size);
    check_stats(data, size);
    edited = fuzz_edit((const char *)&stats, sizeof(stats), data, size, &len);
    check_stats(edited, len);
    free(edited);
    edited = fuzz_edit((const char *)&request, sizeof(request), data, size, &len);
    check_request(edited, len);
    free(edited);
    edited = fuzz_edit((const char *)&sample, sizeof(sample), data, size, &len);
    check_reply(edited, len);
    free(edited);
    return 0;
}
