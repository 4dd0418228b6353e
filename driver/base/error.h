/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a failed call says: a code for the program, words for the operator.
 *
 * A function that can fail returns 0 or a negative errno and takes a `struct error *` last; the
 * words are set only on failure and name the thing, what happened and, where known, the next step.
 * Every function here accepts err == NULL and then keeps the code only. Not thread safe: one error
 * belongs to one caller. */

#define ERROR_TEXT_MAX 1024

struct error {
    int code; /* negative errno */
    char text[ERROR_TEXT_MAX];
};

/* error_set(err, code, format, ...): set CODE (a negative errno) and the words. Its value is CODE,
 * so `return error_set(...)` reads well. A macro, so that compilers and analyzers of the caller see
 * that value. */
#define error_set(err, code, ...)                                                                  \
    ({                                                                                             \
        int error_code_ = (code);                                                                  \
        error_fill(err, error_code_, __VA_ARGS__);                                                 \
        error_code_;                                                                               \
    })

/* As error_set, with ": <what the errno means>" added to the words. */
#define error_errno(err, code, ...)                                                                \
    ({                                                                                             \
        int error_code_ = (code);                                                                  \
        error_fill_errno(err, error_code_, __VA_ARGS__);                                           \
        error_code_;                                                                               \
    })

void error_fill(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void error_fill_errno(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put context in front of words already set: "<context>: <words>"; returns the code kept. */
int error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a negative errno means, in words a storage operator uses; never NULL, static storage. */
const char *error_words(int code);
