/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What libFuzzer calls with each input. Reads out of bounds and leaks are the sanitizers' to find;
 * the targets add what only they can know, with CHECK. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stays on in every build, unlike assert. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A refused input leaves the result alone: fill it before, ask after. */
#define FUZZ_FILLER 0x5a

static inline void fuzz_fill(void *result, size_t size)
{
    memset(result, FUZZ_FILLER, size);
}

static inline int fuzz_untouched(const void *result, size_t size)
{
    const unsigned char *bytes = result;

    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != FUZZ_FILLER)
            return 0;
    }
    return 1;
}

/* Random bytes seldom get past the first length inside a struct. So an input may also be a list of
 * edits to a good sample: how many bytes to cut off its end, then position and new value of one
 * byte after the other. Returns the edited sample in memory of exactly that size; free(). */
static inline uint8_t *fuzz_edit(const char *sample, size_t sample_len, const uint8_t *edits,
                                 size_t size, size_t *ret_len)
{
    size_t cut = size > 0 && edits[0] < sample_len ? edits[0] : 0;
    size_t len = sample_len - cut;
    uint8_t *bytes = malloc(len);

    CHECK(bytes);
    memcpy(bytes, sample, len);
    for (size_t i = 1; i + 1 < size; i += 2) {
        if (edits[i] < len)
            bytes[edits[i]] = edits[i + 1];
    }
    *ret_len = len;
    return bytes;
}
