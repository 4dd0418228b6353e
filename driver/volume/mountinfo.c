/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/mountinfo.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sysmacros.h>

/* One line, and the fields that matter here:
 *
 *   36 35 98:0 /root /mount\040point rw,noatime master:1 - ext4 /dev/loop0 rw
 *         major:minor      mount point, with space, tab, newline and \ as octal escapes
 *
 * Mounts stacked on one mount point are lines of their own, the newest last. */

enum { DEVICE_FIELD = 2, TARGET_FIELD = 4 };

/* Field number N (from 0) of the line from AT to END; *ret_len is 0 when there is none. */
static const char *field(const char *at, const char *end, unsigned n, size_t *ret_len)
{
    for (;;) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        const char *stop = space ? space : end;

        if (n-- == 0) {
            *ret_len = (size_t)(stop - at);
            return at;
        }
        if (!space) {
            *ret_len = 0;
            return end;
        }
        at = space + 1;
    }
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* The byte at *at, with its escape resolved; moves *at behind it. */
static char take_byte(const char **at, const char *end)
{
    const char *from = *at;

    if (*from == '\\' && end - from >= 4 && is_octal(from[1]) && is_octal(from[2]) &&
        is_octal(from[3])) {
        *at += 4;
        return (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
    }
    *at += 1;
    return *from;
}

/* Whether the LEN bytes at ESCAPED, with their escapes resolved, are TARGET. */
static bool is_target(const char *escaped, size_t len, const char *target)
{
    const char *end = escaped + len;

    while (escaped < end) {
        char c = take_byte(&escaped, end);

        if (!*target || c != *target) /* a NUL here is never the target's own end */
            return false;
        target++;
    }
    return *target == '\0';
}

/* A number of at most 20 bits, which both halves of a device number fit in; moves *at behind it. */
static bool take_number(const char **at, const char *end, unsigned *ret)
{
    const char *start = *at;
    unsigned number = 0;

    while (*at < end && **at >= '0' && **at <= '9' && number < 1U << 20)
        number = number * 10 + (unsigned)(*(*at)++ - '0');
    *ret = number;
    return *at > start && number < 1U << 20;
}

static bool parse_device(const char *at, size_t len, dev_t *ret)
{
    const char *end = at + len;
    unsigned major, minor;

    if (!take_number(&at, end, &major) || at == end || *at++ != ':' ||
        !take_number(&at, end, &minor) || at != end)
        return false;
    *ret = makedev(major, minor);
    return true;
}

int mountinfo_find(const char *text, const char *target, dev_t *ret_device)
{
    int r = -ENOENT;

    while (*text) {
        const char *end = strchrnul(text, '\n');
        size_t device_len, target_len;
        const char *device = field(text, end, DEVICE_FIELD, &device_len);
        const char *where = field(text, end, TARGET_FIELD, &target_len);
        dev_t number;

        if (target_len > 0 && is_target(where, target_len, target) &&
            parse_device(device, device_len, &number)) {
            *ret_device = number;
            r = 0;
        }
        text = *end ? end + 1 : end;
    }
    return r;
}

static bool copy_target(const char *escaped, size_t len, char *ret, size_t size)
{
    const char *end = escaped + len;
    size_t used = 0;

    while (escaped < end) {
        char c = take_byte(&escaped, end);

        if (c == '\0' || used + 1 >= size)
            return false;
        ret[used++] = c;
    }
    ret[used] = '\0';
    return used > 0;
}

int mountinfo_next(const char **at, dev_t device, char *ret_target, size_t size)
{
    while (**at) {
        const char *line = *at;
        const char *end = strchrnul(line, '\n');
        size_t device_len, target_len;
        const char *number = field(line, end, DEVICE_FIELD, &device_len);
        const char *where = field(line, end, TARGET_FIELD, &target_len);
        dev_t found;

        *at = *end ? end + 1 : end;
        if (parse_device(number, device_len, &found) && found == device &&
            copy_target(where, target_len, ret_target, size))
            return 0;
    }
    return -ENOENT;
}
