/* SPDX-License-Identifier: Apache-2.0 */
#include "rados/cls_lock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

enum {
    STRUCT_VERSION = 1,     /* of every struct of this class */
    ENTITY_TYPE_CLIENT = 8, /* entity_name_t: what kind of Ceph process a lock belongs to */
    ADDRESS_MARKER = 1,     /* entity_addr_t in the form clients since Nautilus are sent */
    IPV4_BYTES = 4,
    IPV6_FLOW_BYTES = 4, /* sin6_flowinfo, in front of the address */
    IPV6_BYTES = 16,
    /* Fewest bytes of a holder: an id (header, entity name, cookie) and a record (header, time,
     * marker and header of the address with type, nonce and length, description). */
    HOLDER_MIN_BYTES = (6 + 9 + 4) + (6 + 8 + (1 + 6 + 12) + 4),
};

void lock_encode_lock(struct encoder *e, const char *name, enum lock_type type, const char *cookie,
                      const char *tag, const char *description, uint32_t seconds)
{
    size_t mark = encode_start(e, STRUCT_VERSION, STRUCT_VERSION);

    encode_string(e, name);
    encode_u8(e, (uint8_t)type);
    encode_string(e, cookie);
    encode_string(e, tag);
    encode_string(e, description);
    encode_u32(e, seconds);
    encode_u32(e, 0); /* nanoseconds */
    encode_u8(e, 0);  /* flags: may-renew and must-renew are not for us */
    encode_finish(e, mark);
}

void lock_encode_unlock(struct encoder *e, const char *name, const char *cookie)
{
    size_t mark = encode_start(e, STRUCT_VERSION, STRUCT_VERSION);

    encode_string(e, name);
    encode_string(e, cookie);
    encode_finish(e, mark);
}

void lock_encode_break(struct encoder *e, const char *name, uint64_t client_id, const char *cookie)
{
    size_t mark = encode_start(e, STRUCT_VERSION, STRUCT_VERSION);

    encode_string(e, name);
    encode_u8(e, ENTITY_TYPE_CLIENT);
    encode_u64(e, client_id);
    encode_string(e, cookie);
    encode_finish(e, mark);
}

void lock_encode_get_info(struct encoder *e, const char *name)
{
    size_t mark = encode_start(e, STRUCT_VERSION, STRUCT_VERSION);

    encode_string(e, name);
    encode_finish(e, mark);
}

void lock_encode_assert(struct encoder *e, const char *name, enum lock_type type,
                        const char *cookie, const char *tag)
{
    size_t mark = encode_start(e, STRUCT_VERSION, STRUCT_VERSION);

    encode_string(e, name);
    encode_u8(e, (uint8_t)type);
    encode_string(e, cookie);
    encode_string(e, tag);
    encode_finish(e, mark);
}

void lock_encode_set_cookie(struct encoder *e, const char *name, enum lock_type type,
                            const char *old_cookie, const char *tag, const char *new_cookie)
{
    size_t mark = encode_start(e, STRUCT_VERSION, STRUCT_VERSION);

    encode_string(e, name);
    encode_u8(e, (uint8_t)type);
    encode_string(e, old_cookie);
    encode_string(e, tag);
    encode_string(e, new_cookie);
    encode_finish(e, mark);
}

/* A sockaddr and a nonce to "ip:port/nonce"; "" when there is no IP address. */
static void decode_sockaddr(struct decoder *d, uint32_t nonce, char *text, size_t size)
{
    char ip[INET6_ADDRSTRLEN];
    const uint8_t *bytes;
    unsigned port = 0;
    uint16_t family;

    text[0] = '\0';
    if (decoder_left(d) == 0 && !d->failed)
        return;
    family = decode_u16(d);
    if (family == AF_UNSPEC)
        return;
    bytes = decode_raw(d, 2); /* the port: big-endian, as in every sockaddr */
    if (bytes)
        port = (unsigned)bytes[0] << 8 | bytes[1];
    if (family == AF_INET6)
        decode_raw(d, IPV6_FLOW_BYTES);
    bytes = decode_raw(d, family == AF_INET6 ? IPV6_BYTES : IPV4_BYTES);
    if ((family != AF_INET && family != AF_INET6) || !bytes) {
        d->failed = true;
        return;
    }
    inet_ntop(family, bytes, ip, sizeof(ip));
    snprintf(text, size, family == AF_INET6 ? "[%s]:%u/%u" : "%s:%u/%u", ip, port, nonce);
}

/* An entity_addr_t. Its type (none, legacy, msgr2, any) says which protocol the client spoke; the
 * blocklist takes any of them by IP, port and nonce alone. */
static void decode_address(struct decoder *d, char *text, size_t size)
{
    uint8_t marker = decode_u8(d);
    struct decoder body = decode_start(d, STRUCT_VERSION, NULL);
    struct decoder sockaddr;
    uint32_t nonce;

    decode_u32(&body); /* type */
    nonce = decode_u32(&body);
    sockaddr = decode_blob(&body);
    decode_sockaddr(&sockaddr, nonce, text, size);
    if (marker != ADDRESS_MARKER || sockaddr.failed)
        d->failed = true;
}

/* Words for people, written by whoever took the lock: what does not fit is cut off, because a
 * talkative stranger is still a holder. */
static void decode_description(struct decoder *d, char *text, size_t size)
{
    struct decoder body = decode_blob(d);
    size_t len = decoder_left(&body);

    if (len > size - 1)
        len = size - 1;
    if (len > 0)
        memcpy(text, body.at, len);
    text[len] = '\0';
}

static void decode_holder(struct decoder *d, struct lock_holder *holder)
{
    struct decoder id = decode_start(d, STRUCT_VERSION, NULL);
    struct decoder record = decode_start(d, STRUCT_VERSION, NULL);
    uint32_t seconds, nanoseconds;

    decode_u8(&id); /* entity type: users of librados are all clients, those inside a mgr too */
    holder->client_id = decode_u64(&id);
    decode_string(&id, holder->cookie, sizeof(holder->cookie));

    seconds = decode_u32(&record);
    nanoseconds = decode_u32(&record);
    holder->expires = (struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds};
    decode_address(&record, holder->address, sizeof(holder->address));
    decode_description(&record, holder->description, sizeof(holder->description));
    if (id.failed || record.failed || nanoseconds >= NS_PER_S)
        d->failed = true;
}

int lock_decode_info(struct decoder d, struct lock_info *ret)
{
    struct decoder body = decode_start(&d, STRUCT_VERSION, NULL);
    struct lock_info info = {.count = decode_count(&body, HOLDER_MIN_BYTES)};

    for (uint32_t i = 0; i < info.count && !body.failed; i++) {
        struct lock_holder other = {0};

        decode_holder(&body, i == 0 ? &info.holder : &other);
    }
    info.type = decode_u8(&body);
    decode_string(&body, info.tag, sizeof(info.tag));
    if (body.failed)
        return -EBADMSG;
    *ret = info;
    return 0;
}
