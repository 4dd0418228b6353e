/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

void encoder_free(struct encoder *e)
{
    free(e->data);
    *e = (struct encoder){0};
}

static uint8_t *encoder_reserve(struct encoder *e, size_t len)
{
    uint8_t *at;

    if (e->failed)
        return NULL;
    if (e->cap - e->len < len) {
        size_t cap = (e->cap + len) * 2 + 64;
        uint8_t *data = realloc(e->data, cap);

        if (!data) {
            e->failed = true;
            return NULL;
        }
        e->data = data;
        e->cap = cap;
    }
    at = e->data + e->len;
    e->len += len;
    return at;
}

static void put_le(uint8_t *at, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(v >> (8 * i));
}

static void encode_le(struct encoder *e, uint64_t v, unsigned bytes)
{
    uint8_t *at = encoder_reserve(e, bytes);

    if (at)
        put_le(at, v, bytes);
}

void encode_u8(struct encoder *e, uint8_t v)
{
    encode_le(e, v, 1);
}

void encode_u16(struct encoder *e, uint16_t v)
{
    encode_le(e, v, 2);
}

void encode_u32(struct encoder *e, uint32_t v)
{
    encode_le(e, v, 4);
}

void encode_u64(struct encoder *e, uint64_t v)
{
    encode_le(e, v, 8);
}

void encode_raw(struct encoder *e, const void *data, size_t len)
{
    uint8_t *at = encoder_reserve(e, len);

    if (at && len > 0)
        memcpy(at, data, len);
}

void encode_string(struct encoder *e, const char *text)
{
    encode_blob(e, text, strlen(text));
}

void encode_blob(struct encoder *e, const void *data, size_t len)
{
    if (len > UINT32_MAX) {
        e->failed = true;
        return;
    }
    encode_u32(e, (uint32_t)len);
    encode_raw(e, data, len);
}

size_t encode_start(struct encoder *e, uint8_t version, uint8_t compat)
{
    encode_u8(e, version);
    encode_u8(e, compat);
    encode_u32(e, 0); /* filled in by encode_finish */
    return e->len;
}

void encode_finish(struct encoder *e, size_t mark)
{
    if (!e->failed)
        put_le(e->data + mark - 4, e->len - mark, 4);
}

struct decoder decoder_of(const void *data, size_t len)
{
    const uint8_t *at = data;

    return (struct decoder){.at = at, .end = at ? at + len : at};
}

size_t decoder_left(const struct decoder *d)
{
    return d->failed ? 0 : (size_t)(d->end - d->at);
}

const void *decode_raw(struct decoder *d, size_t len)
{
    const uint8_t *at = d->at;

    if (d->failed || decoder_left(d) < len) {
        d->failed = true;
        return NULL;
    }
    d->at += len;
    return at;
}

static uint64_t decode_le(struct decoder *d, unsigned bytes)
{
    const uint8_t *at = decode_raw(d, bytes);
    uint64_t v = 0;

    if (!at)
        return 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)at[i] << (8 * i);
    return v;
}

uint8_t decode_u8(struct decoder *d)
{
    return (uint8_t)decode_le(d, 1);
}

uint16_t decode_u16(struct decoder *d)
{
    return (uint16_t)decode_le(d, 2);
}

uint32_t decode_u32(struct decoder *d)
{
    return (uint32_t)decode_le(d, 4);
}

uint64_t decode_u64(struct decoder *d)
{
    return decode_le(d, 8);
}

struct decoder decode_blob(struct decoder *d)
{
    uint32_t len = decode_u32(d);
    const void *at = decode_raw(d, len);

    return at ? decoder_of(at, len) : (struct decoder){.failed = true};
}

void decode_string(struct decoder *d, char *text, size_t size)
{
    struct decoder body = decode_blob(d);
    size_t len = decoder_left(&body);

    text[0] = '\0';
    if (body.failed || len >= size || (len > 0 && memchr(body.at, 0, len))) {
        d->failed = true;
        return;
    }
    if (len > 0)
        memcpy(text, body.at, len);
    text[len] = '\0';
}

uint32_t decode_count(struct decoder *d, size_t min_item_bytes)
{
    uint32_t count = decode_u32(d);

    if (count > decoder_left(d) / min_item_bytes) {
        d->failed = true;
        return 0;
    }
    return count;
}

struct decoder decode_start(struct decoder *d, uint8_t known, uint8_t *ret_version)
{
    uint8_t version = decode_u8(d);
    uint8_t compat = decode_u8(d);
    struct decoder body = decode_blob(d);

    if (compat > known)
        d->failed = body.failed = true;
    if (ret_version)
        *ret_version = version;
    return body;
}
