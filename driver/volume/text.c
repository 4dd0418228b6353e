/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/text.h"

#include <stdint.h>
#include <string.h>

/* The character at AT and its length in bytes; 0 when the bytes are not UTF-8. A NUL is not a
 * continuation byte, so this never reads past the end of the text. */
static size_t utf8_next(const unsigned char *at, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* by length: else overlong */
    size_t len;
    uint32_t c = at[0];

    if (c < 0x80) {
        *ret = c;
        return 1;
    }
    if (c >= 0xc0 && c < 0xe0)
        len = 2;
    else if (c >= 0xe0 && c < 0xf0)
        len = 3;
    else if (c >= 0xf0 && c < 0xf8)
        len = 4;
    else
        return 0;
    c &= 0x7fU >> len;
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        c = (c << 6) | (at[i] & 0x3f);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return len;
}

bool text_is_printable(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at) {
        uint32_t c;
        size_t len = utf8_next(at, &c);

        if (len == 0 || c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029)
            return false;
        at += len;
    }
    return true;
}

void text_quote(const char *text, char ret[TEXT_QUOTED_MAX])
{
    size_t len = strnlen(text, TEXT_QUOTED_MAX);
    size_t shown = len < TEXT_QUOTED_MAX ? len : TEXT_QUOTED_MAX - 4;

    for (size_t i = 0; i < shown; i++)
        ret[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    memcpy(ret + shown, len < TEXT_QUOTED_MAX ? "" : "...", len < TEXT_QUOTED_MAX ? 1 : 4);
}
