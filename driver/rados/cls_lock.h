/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/bytes.h"

/* The bytes of the OSD's object class "lock". Pure functions; same rules as cls_rbd.h. */

#define LOCK_NAME_MAX    128
#define LOCK_COOKIE_MAX  128
#define LOCK_TAG_MAX     64
#define LOCK_DESC_MAX    512
#define LOCK_ADDRESS_MAX 128

enum lock_type { LOCK_NONE = 0, LOCK_EXCLUSIVE = 1, LOCK_SHARED = 2 };

/* SECONDS 0: until unlocked or broken; otherwise it lapses by itself (the OSD's clock). */
void lock_encode_lock(struct encoder *e, const char *name, enum lock_type type, const char *cookie,
                      const char *tag, const char *description, uint32_t seconds);
void lock_encode_unlock(struct encoder *e, const char *name, const char *cookie);
void lock_encode_break(struct encoder *e, const char *name, uint64_t client_id, const char *cookie);
void lock_encode_get_info(struct encoder *e, const char *name);
void lock_encode_assert(struct encoder *e, const char *name, enum lock_type type,
                        const char *cookie, const char *tag);
void lock_encode_set_cookie(struct encoder *e, const char *name, enum lock_type type,
                            const char *old_cookie, const char *tag, const char *new_cookie);

/* One holder. The address is "ip:port/nonce" (IPv6 in brackets), as the blocklist wants it, or ""
 * when the lock was taken from none. A description that does not fit is cut off. */
struct lock_holder {
    uint64_t client_id; /* global id of the client instance */
    char cookie[LOCK_COOKIE_MAX];
    char address[LOCK_ADDRESS_MAX];
    char description[LOCK_DESC_MAX];
    struct timespec expires; /* zero: never */
};

/* Who holds a lock. Of a shared lock only the first holder is kept; count tells how many. */
struct lock_info {
    uint8_t type; /* enum lock_type */
    char tag[LOCK_TAG_MAX];
    uint32_t count;
    struct lock_holder holder; /* meaningful when count > 0 */
};
int lock_decode_info(struct decoder d, struct lock_info *ret);
