/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

/* Sample bytes as people write them, "0a00 'text' ff": pairs of hex digits, text in single quotes
 * stands for its own bytes, blanks and bars divide. A malformed sample fails the test. */

static inline int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;

    assert_non_null(at);
    return (int)(at - digits);
}

/* The bytes of HEX in memory of exactly that size, so that a sanitizer sees the first byte read
 * behind them; free(). */
static inline uint8_t *hex_bytes(const char *hex, size_t *ret_len)
{
    uint8_t *bytes = malloc(strlen(hex) + 1);
    size_t len = 0;

    assert_non_null(bytes);
    while (*hex) {
        if (*hex == ' ' || *hex == '|') {
            hex++;
        } else if (*hex == '\'') {
            for (hex++; *hex != '\''; hex++) {
                assert_int_not_equal(*hex, '\0');
                bytes[len++] = (uint8_t)*hex;
            }
            hex++;
        } else {
            bytes[len++] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
            hex += 2;
        }
    }
    *ret_len = len;
    bytes = realloc(bytes, len > 0 ? len : 1);
    assert_non_null(bytes);
    return bytes;
}

/* A decoder over the bytes of HEX, which the caller frees when it is done with them. */
static inline struct decoder hex_decoder(const char *hex, uint8_t **ret_bytes)
{
    size_t len;

    *ret_bytes = hex_bytes(hex, &len);
    return decoder_of(*ret_bytes, len);
}

/* What an encoder wrote is exactly HEX; the encoder is emptied. */
static inline void assert_encoded(struct encoder *e, const char *hex)
{
    size_t len;
    uint8_t *bytes = hex_bytes(hex, &len);

    assert_false(e->failed);
    assert_int_equal(e->len, len);
    assert_memory_equal(e->data, bytes, len);
    free(bytes);
    encoder_free(e);
}

/* Feed every shorter piece of HEX, from nothing to all but the last byte, to ATTEMPT, which returns
 * what the decoder under test returned; each must be refused with -EBADMSG. From FIRST bytes on,
 * for formats that give a meaning to nothing at all. */
static inline void assert_truncated(const char *hex, size_t first, int (*attempt)(struct decoder d))
{
    size_t len;
    uint8_t *bytes = hex_bytes(hex, &len);

    assert_true(first < len);
    assert_int_equal(attempt(decoder_of(bytes, len)), 0);
    for (size_t cut = first; cut < len; cut++) {
        uint8_t *piece = malloc(cut > 0 ? cut : 1);

        assert_non_null(piece);
        memcpy(piece, bytes, cut);
        assert_int_equal(attempt(decoder_of(piece, cut)), -EBADMSG);
        free(piece);
    }
    free(bytes);
}
