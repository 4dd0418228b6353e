/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ceph's wire encoding: little-endian integers, strings as u32 length and bytes, structs led by
 * u8 version, u8 oldest compatible version, u32 length of the rest.
 *
 * Both sides are sticky: after a failure every further call is harmless, and the caller asks once
 * at the end. Pure memory, no I/O; each object belongs to one thread. */

struct encoder {
    uint8_t *data; /* encoder_free() */
    size_t len;
    size_t cap;
    bool failed; /* out of memory */
};

void encoder_free(struct encoder *e); /* leaves an empty encoder */
void encode_u8(struct encoder *e, uint8_t v);
void encode_u16(struct encoder *e, uint16_t v);
void encode_u32(struct encoder *e, uint32_t v);
void encode_u64(struct encoder *e, uint64_t v);
void encode_raw(struct encoder *e, const void *data, size_t len); /* no length in front */
void encode_string(struct encoder *e, const char *text);
void encode_blob(struct encoder *e, const void *data, size_t len); /* u32 length, bytes */

/* Open a versioned struct; hand the returned mark to encode_finish when its body is written. */
size_t encode_start(struct encoder *e, uint8_t version, uint8_t compat);
void encode_finish(struct encoder *e, size_t mark);

static inline void cleanup_encoderp(struct encoder *e)
{
    encoder_free(e);
}
#define cleanup_encoder __attribute__((cleanup(cleanup_encoderp)))

struct decoder {
    const uint8_t *at; /* borrowed from whoever made the decoder */
    const uint8_t *end;
    bool failed; /* read past the end, or a struct too new to understand */
};

struct decoder decoder_of(const void *data, size_t len);
size_t decoder_left(const struct decoder *d); /* 0 after a failure */
uint8_t decode_u8(struct decoder *d);
uint16_t decode_u16(struct decoder *d);
uint32_t decode_u32(struct decoder *d);
uint64_t decode_u64(struct decoder *d);
const void *decode_raw(struct decoder *d, size_t len); /* borrowed; NULL after a failure */

/* The bytes of a u32-length string as a decoder of their own (empty after a failure). */
struct decoder decode_blob(struct decoder *d);

/* A string of at most SIZE - 1 bytes without NUL inside, copied with a NUL at the end; a longer
 * one, or one with a NUL inside, is a failure. TEXT is "" after a failure. */
void decode_string(struct decoder *d, char *text, size_t size);

/* A u32 count of items of at least MIN_ITEM_BYTES each; a count that cannot fit into what is left
 * is a failure and reads as 0, so a hostile count never sizes an allocation. */
uint32_t decode_count(struct decoder *d, size_t min_item_bytes);

/* Enter a versioned struct: its body as a decoder of its own, D moved behind it, so unknown tail
 * bytes are skipped. Fails when the struct's compat is above KNOWN. *ret_version may be NULL. */
struct decoder decode_start(struct decoder *d, uint8_t known, uint8_t *ret_version);
