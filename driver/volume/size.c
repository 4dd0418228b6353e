/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "volume/options.h"

/* Sizes as people write them: digits, maybe a fraction, maybe a unit ("10G", "1.5GiB", "4096"). */

#define SIZE_BLOCK          4096
#define FRACTION_DIGITS_MAX 9

static const char units[] = "KMGTP"; /* each 1024 times the one before; the first is 1024 bytes */

/* "", "B", or one of `units` with optional "i" and "B", in any case: log2 of the unit, or -EINVAL.
 */
static int unit_shift(const char *unit)
{
    const char *found;

    if (!*unit || strcasecmp(unit, "B") == 0)
        return 0;
    found = strchr(units, toupper((unsigned char)*unit));
    if (!found)
        return -EINVAL;
    unit++;
    if (tolower((unsigned char)*unit) == 'i')
        unit++;
    if (toupper((unsigned char)*unit) == 'B')
        unit++;
    return *unit ? -EINVAL : 10 * (int)(found - units + 1);
}

int size_parse_exact(const char *text, uint64_t *ret)
{
    uint64_t whole = 0, fraction = 0, scale = 1;
    unsigned __int128 size;
    const char *at = text;
    int shift;

    if (!isdigit((unsigned char)*at))
        return -EINVAL;
    for (; isdigit((unsigned char)*at); at++) {
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*at - '0'), &whole))
            return -EINVAL;
    }
    if (*at == '.') {
        const char *point = at++;

        for (; isdigit((unsigned char)*at); at++) {
            if (at - point > FRACTION_DIGITS_MAX)
                return -EINVAL;
            fraction = fraction * 10 + (uint64_t)(*at - '0');
            scale *= 10;
        }
        if (scale == 1)
            return -EINVAL;
    }
    shift = unit_shift(at);
    if (shift < 0 || (shift == 0 && scale > 1)) /* there is no half byte */
        return -EINVAL;
    size = ((unsigned __int128)whole << shift) +
           (((unsigned __int128)fraction << shift) + scale - 1) / scale;
    if (size == 0 || size > INT64_MAX)
        return -EINVAL;
    *ret = (uint64_t)size;
    return 0;
}

int size_parse(const char *text, uint64_t *ret)
{
    uint64_t size;
    int r = size_parse_exact(text, &size);

    if (r < 0 || size > INT64_MAX - (SIZE_BLOCK - 1))
        return -EINVAL;
    *ret = (size + SIZE_BLOCK - 1) / SIZE_BLOCK * SIZE_BLOCK;
    return 0;
}

void size_format(uint64_t size, char *text, size_t text_size)
{
    size_t unit = 0; /* 0: bytes, else units[unit - 1] */

    while (size != 0 && size % 1024 == 0 && unit < strlen(units)) {
        size /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(text, text_size, "%" PRIu64, size);
    else
        snprintf(text, text_size, "%" PRIu64 "%c", size, units[unit - 1]);
}
