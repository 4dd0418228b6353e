/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void error_fill(struct error *err, int code, const char *format, ...)
{
    va_list ap;

    if (!err)
        return;
    err->code = code;
    va_start(ap, format);
    vsnprintf(err->text, sizeof(err->text), format, ap);
    va_end(ap);
}

void error_fill_errno(struct error *err, int code, const char *format, ...)
{
    va_list ap;
    size_t used;

    if (!err)
        return;
    err->code = code;
    va_start(ap, format);
    vsnprintf(err->text, sizeof(err->text), format, ap);
    va_end(ap);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s", error_words(code));
}

int error_wrap(struct error *err, const char *format, ...)
{
    char words[ERROR_TEXT_MAX];
    va_list ap;
    size_t used;

    if (!err)
        return -EIO;
    memcpy(words, err->text, sizeof(words));
    va_start(ap, format);
    vsnprintf(err->text, sizeof(err->text), format, ap);
    va_end(ap);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s", words);
    return err->code;
}

const char *error_words(int code)
{
    const char *words;

    switch (-code) {
    case ETIMEDOUT:
        return "no answer in time";
    case ESHUTDOWN:
        return "this client was blocklisted by the cluster";
    case EDQUOT:
        return "the pool's quota is used up";
    case ENOSPC:
        return "no space left (the pool or its OSDs are full)";
    default:
        words = strerrordesc_np(-code);
        return words ? words : "unknown error";
    }
}
