/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <arpa/inet.h>

#include "rados/cls_lock.h"

/* The answer of the "lock" class to get_info: whatever comes, the address we would blocklist is a
 * well-formed one or none. */

static const char owned_sample[] =
    "\x01\x01\x6d\x00\x00\x00\x01\x00\x00\x00\x01\x01\x21\x00\x00\x00"
    "\x08\x5e\x37\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x61\x75\x74"
    "\x6f\x20\x31\x34\x30\x34\x38\x34\x31\x35\x32\x37\x32\x38\x36\x34"
    "\x30\x01\x01\x2f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
    "\x01\x01\x1c\x00\x00\x00\x01\x00\x00\x00\x19\x9c\x1b\x1f\x10\x00"
    "\x00\x00\x02\x00\x00\x00\x7f\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x01\x08\x00\x00\x00\x69\x6e\x74\x65\x72"
    "\x6e\x61\x6c";
static const char ipv6_sample[] = "\x01\x01\x5f\x00\x00\x00\x01\x00\x00\x00\x01\x01\x0e\x00\x00\x00"
                                  "\x08\x05\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x63\x01\x01"
                                  "\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x28"
                                  "\x00\x00\x00\x02\x00\x00\x00\x07\x00\x00\x00\x1c\x00\x00\x00\x0a"
                                  "\x00\x1a\x85\x00\x00\x00\x00\x20\x01\x0d\xb8\x00\x00\x00\x00\x00"
                                  "\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x64"
                                  "\x01\x00\x00\x00\x00";
static const char shared_sample[] =
    "\x01\x01\xb2\x00\x00\x00\x02\x00\x00\x00\x01\x01\x10\x00\x00\x00"
    "\x08\x4e\x37\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x79\x6f\x75"
    "\x01\x01\x3f\x00\x00\x00\x02\x82\x05\x6b\x57\x0c\x1a\x2c\x01\x01"
    "\x01\x1c\x00\x00\x00\x01\x00\x00\x00\xf6\x99\x7e\x85\x10\x00\x00"
    "\x00\x02\x00\x00\x00\x7f\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x10\x00\x00\x00\x77\x6f\x72\x64\x73\x20\x66\x6f\x72\x20\x70"
    "\x65\x6f\x70\x6c\x65\x01\x01\x0f\x00\x00\x00\x08\x64\x37\x00\x00"
    "\x00\x00\x00\x00\x02\x00\x00\x00\x6d\x65\x01\x01\x2f\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x1c\x00\x00\x00\x01"
    "\x00\x00\x00\xc9\xe9\xbd\x2e\x10\x00\x00\x00\x02\x00\x00\x00\x7f"
    "\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02"
    "\x04\x00\x00\x00\x74\x65\x61\x6d";

/* "ip:port/nonce", IPv6 in brackets, written as we write it. */
static void check_address(const char *address)
{
    char ip[INET6_ADDRSTRLEN + 1], again[LOCK_ADDRESS_MAX];
    unsigned char bytes[16];
    unsigned port, nonce;

    if (sscanf(address, "[%46[0-9a-f:.]]:%u/%u", ip, &port, &nonce) == 3) {
        CHECK(inet_pton(AF_INET6, ip, bytes) == 1);
        snprintf(again, sizeof(again), "[%s]:%u/%u", ip, port, nonce);
    } else {
        CHECK(sscanf(address, "%46[0-9.]:%u/%u", ip, &port, &nonce) == 3);
        CHECK(inet_pton(AF_INET, ip, bytes) == 1);
        snprintf(again, sizeof(again), "%s:%u/%u", ip, port, nonce);
    }
    CHECK(port <= UINT16_MAX);
    CHECK(strcmp(again, address) == 0);
}

/* Whoever is named as the holder can be named to the OSD again. */
static void check_inputs(const struct lock_info *info)
{
    cleanup_encoder struct encoder e = {0};
    struct decoder d, body;
    char text[LOCK_COOKIE_MAX];

    lock_encode_break(&e, "rbd_lock", info->holder.client_id, info->holder.cookie);
    CHECK(!e.failed);
    d = decoder_of(e.data, e.len);
    body = decode_start(&d, 1, NULL);
    CHECK(decoder_left(&d) == 0);
    decode_string(&body, text, sizeof(text));
    CHECK(strcmp(text, "rbd_lock") == 0);
    CHECK(decode_u8(&body) == 8);
    CHECK(decode_u64(&body) == info->holder.client_id);
    decode_string(&body, text, sizeof(text));
    CHECK(strcmp(text, info->holder.cookie) == 0);
    CHECK(!body.failed && decoder_left(&body) == 0);
}

static void fuzz_info(struct decoder d)
{
    struct lock_info info;

    fuzz_fill(&info, sizeof(info));
    if (lock_decode_info(d, &info) < 0) {
        CHECK(fuzz_untouched(&info, sizeof(info)));
        return;
    }
    CHECK(memchr(info.tag, 0, sizeof(info.tag)));
    CHECK(memchr(info.holder.cookie, 0, sizeof(info.holder.cookie)));
    CHECK(memchr(info.holder.description, 0, sizeof(info.holder.description)));
    CHECK(memchr(info.holder.address, 0, sizeof(info.holder.address)));
    CHECK(info.holder.expires.tv_nsec >= 0 && info.holder.expires.tv_nsec < 1000000000);
    CHECK(info.count <= decoder_left(&d));
    if (info.count == 0)
        CHECK(info.holder.cookie[0] == '\0' && info.holder.address[0] == '\0');
    if (info.holder.address[0] != '\0')
        check_address(info.holder.address);
    check_inputs(&info);
}

#define SAMPLE(name)                                                                               \
    {                                                                                              \
        name##_sample, sizeof(name##_sample) - 1                                                   \
    }

/* The first byte says what the rest is: an answer, or edits to a good one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const char *bytes;
        size_t len;
    } samples[] = {SAMPLE(owned), SAMPLE(ipv6), SAMPLE(shared)};

    if (size == 0)
        return 0;
    if (data[0] < sizeof(samples) / sizeof(samples[0])) {
        size_t len;
        uint8_t *edited =
            fuzz_edit(samples[data[0]].bytes, samples[data[0]].len, data + 1, size - 1, &len);

        fuzz_info(decoder_of(edited, len));
        free(edited);
    } else {
        fuzz_info(decoder_of(data + 1, size - 1));
    }
    return 0;
}
