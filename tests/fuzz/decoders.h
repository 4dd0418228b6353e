/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fuzz.h"

#include "base/bytes.h"

/* Several decoders in one target. The first byte of an input picks one, and says what the rest is:
 * what it decodes, or edits to its good sample. */

struct decoder_target {
    void (*run)(struct decoder d);
    const char *sample;
    size_t sample_len;
};

/* fuzz_NAME and NAME_sample, which is a string. */
#define TARGET(name)                                                                               \
    {                                                                                              \
        fuzz_##name, name##_sample, sizeof(name##_sample) - 1                                      \
    }

static inline void fuzz_decoders(const struct decoder_target targets[], size_t count,
                                 const uint8_t *data, size_t size)
{
    const struct decoder_target *target;

    if (size == 0)
        return;
    target = &targets[data[0] % count];
    if (data[0] < count * 2 && data[0] >= count) {
        size_t len;
        uint8_t *edited = fuzz_edit(target->sample, target->sample_len, data + 1, size - 1, &len);

        target->run(decoder_of(edited, len));
        free(edited);
    } else {
        target->run(decoder_of(data + 1, size - 1));
    }
}
