/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/crashes.h"

#include "base/clock.h"

#define WINDOW    (60 * NS_PER_S)
#define DELAY_MIN (100 * NS_PER_MS)
#define DELAY_MAX (5 * NS_PER_S)

int64_t crashes_add(struct crashes *crashes, int64_t now)
{
    unsigned kept = 0;
    int64_t delay = 0;

    for (unsigned i = 0; i < crashes->count; i++) {
        if (now - crashes->at[i] < WINDOW)
            crashes->at[kept++] = crashes->at[i];
    }
    if (kept == CRASHES_MAX - 1)
        return INT64_MAX;
    crashes->at[kept++] = now;
    crashes->count = kept;
    if (kept > 1)
        delay = DELAY_MIN << (kept - 2);
    return now + (delay < DELAY_MAX ? delay : DELAY_MAX);
}
