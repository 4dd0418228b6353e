/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "rados/pool_usage.h"

static const char df[] = "{\"pools\":[{\"name\":\"docker\",\"id\":1,\"stats\":{\"stored\":41943040,"
                         "\"max_avail\":30144968704}}]}";
static const char pools[] = "[{\"pool_name\":\"docker\",\"flags_names\":\"hashpspool,full\","
                            "\"size\":3}]";

static void check(const void *usage, size_t usage_len, const void *details, size_t details_len)
{
    int space = pool_check_space_decode("docker", details, details_len);
    struct pool_usage got;
    unsigned copies = 0;

    CHECK(space == 0 || space == -EDQUOT || space == -ENOSPC || space == -ENOENT ||
          space == -EBADMSG);
    CHECK((pool_copies_decode("docker", details, details_len, &copies) == 0) == (copies > 0));
    fuzz_fill(&got, sizeof(got));
    if (pool_usage_decode("docker", usage, usage_len, details, details_len, &got) < 0)
        CHECK(fuzz_untouched(&got, sizeof(got)));
    else
        CHECK(got.stored <= INT64_MAX && got.available <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *edited;
    size_t len;

    check(data, size, pools, strlen(pools));
    check(df, strlen(df), data, size);
    edited = fuzz_edit(df, strlen(df), data, size, &len);
    check(edited, len, pools, strlen(pools));
    free(edited);
    edited = fuzz_edit(pools, strlen(pools), data, size, &len);
    check(df, strlen(df), edited, len);
    free(edited);
    return 0;
}
