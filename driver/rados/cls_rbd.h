/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/bytes.h"

/* The bytes of the OSD's object class "rbd": one encoder per method input, one decoder per answer.
 * Pure functions. Decoders return 0, or -EBADMSG when the bytes are not what the method answers
 * (those that make a list also -ENOMEM); the result is then untouched or zero. Encoders are sticky
 * (struct encoder). Layouts follow Ceph's src/cls/rbd as of Pacific to Squid. */

#define RBD_NAME_MAX  256 /* bytes of an image name, its NUL included */
#define RBD_ID_MAX    64  /* likewise of an image id */
#define RBD_SNAPS_MAX 4096

#define RBD_HEAD UINT64_C(0xfffffffffffffffe) /* CEPH_NOSNAP: the image itself, not a snapshot */

/* Image features (ceph: include/rbd/features.h). */
#define RBD_FEATURE_LAYERING       (UINT64_C(1) << 0)
#define RBD_FEATURE_STRIPINGV2     (UINT64_C(1) << 1)
#define RBD_FEATURE_EXCLUSIVE_LOCK (UINT64_C(1) << 2)
#define RBD_FEATURE_OBJECT_MAP     (UINT64_C(1) << 3)
#define RBD_FEATURE_FAST_DIFF      (UINT64_C(1) << 4)
#define RBD_FEATURE_DEEP_FLATTEN   (UINT64_C(1) << 5)
#define RBD_FEATURE_JOURNALING     (UINT64_C(1) << 6)
#define RBD_FEATURE_DATA_POOL      (UINT64_C(1) << 7)
#define RBD_FEATURE_OPERATIONS     (UINT64_C(1) << 8)
#define RBD_FEATURE_MIGRATING      (UINT64_C(1) << 9)
#define RBD_FEATURE_NON_PRIMARY    (UINT64_C(1) << 10)
#define RBD_FEATURE_DIRTY_CACHE    (UINT64_C(1) << 11)

/* What an image with the feature "operations" takes part in. */
#define RBD_OPERATION_CLONE_PARENT (UINT64_C(1) << 0)
#define RBD_OPERATION_CLONE_CHILD  (UINT64_C(1) << 1)
#define RBD_OPERATION_GROUP        (UINT64_C(1) << 2)
#define RBD_OPERATION_SNAP_TRASH   (UINT64_C(1) << 3)

/* Image flags. */
#define RBD_FLAG_OBJECT_MAP_INVALID (UINT64_C(1) << 0)
#define RBD_FLAG_FAST_DIFF_INVALID  (UINT64_C(1) << 1)

/* A key and raw value, as image metadata and omap carry them; the value need not be text. */
struct rbd_pair {
    char *key;
    char *value; /* NUL added behind value_len bytes */
    size_t value_len;
};

struct rbd_pairs {
    struct rbd_pair *items;
    size_t count;
};
void rbd_pairs_free(struct rbd_pairs *pairs); /* leaves an empty list */

/* inputs */
void rbd_encode_create(struct encoder *e, uint64_t size, uint8_t order, uint64_t features,
                       const char *object_prefix, int64_t data_pool_id);
void rbd_encode_string(
    struct encoder *e,
    const char *text); /* set_id, dir_get_id, dir_get_name, metadata_get/remove, trash_get/remove */
void rbd_encode_name_id(struct encoder *e, const char *name,
                        const char *id); /* dir_add_image, dir_remove_image */
void rbd_encode_page(struct encoder *e, const char *start_after,
                     uint64_t max); /* dir_list, metadata_list, trash_list */
void rbd_encode_snap_id(
    struct encoder *e,
    uint64_t snap_id); /* get_size, get_flags, snapshot_get, snapshot_remove, snapshot_trash_add,
                          get_protection_status, parent_overlap_get, children_list */
void rbd_encode_get_features(struct encoder *e, uint64_t snap_id, bool read_only);
void rbd_encode_set_flags(struct encoder *e, uint64_t flags, uint64_t mask, uint64_t snap_id);
void rbd_encode_op_features_set(struct encoder *e, uint64_t op_features, uint64_t mask);
void rbd_encode_set_size(struct encoder *e, uint64_t size);
/* metadata_set: call begin with the number of pairs, then pair that often */
void rbd_encode_pairs_begin(struct encoder *e, uint32_t count);
void rbd_encode_pair(struct encoder *e, const char *key, const void *value, size_t value_len);

/* Snapshots; a namespace of type USER. */
void rbd_encode_snapshot_add(struct encoder *e, const char *name, uint64_t snap_id);
void rbd_encode_snapshot_rename(struct encoder *e, uint64_t snap_id, const char *name);
void rbd_encode_set_protection(struct encoder *e, uint64_t snap_id, uint8_t protection);

/* answers */
int rbd_decode_string(
    struct decoder d, char *ret,
    size_t size); /* get_id, dir_get_id, dir_get_name, get_object_prefix, metadata_get */
int rbd_decode_size(struct decoder d, uint8_t *ret_order, uint64_t *ret_size);
int rbd_decode_features(struct decoder d, uint64_t *ret_features, uint64_t *ret_incompatible);
int rbd_decode_u64(struct decoder d, uint64_t *ret); /* get_flags, op_features_get */
int rbd_decode_s64(struct decoder d, int64_t *ret);  /* get_data_pool */
int rbd_decode_stripe(struct decoder d, uint64_t *ret_unit, uint64_t *ret_count);
int rbd_decode_time(struct decoder d, struct timespec *ret); /* get_create_timestamp and the like */
int rbd_decode_pairs(struct decoder d,
                     struct rbd_pairs *ret); /* dir_list, metadata_list; rbd_pairs_free */

/* A snapshot context: the newest snapshot id ever given, and the ids alive, newest first. */
struct rbd_snap_context {
    uint64_t seq;
    uint64_t *snaps; /* free() */
    size_t count;    /* at most RBD_SNAPS_MAX */
};
int rbd_decode_snap_context(struct decoder d, struct rbd_snap_context *ret);

enum rbd_namespace {
    RBD_NAMESPACE_USER = 0,
    RBD_NAMESPACE_GROUP = 1,
    RBD_NAMESPACE_TRASH = 2,
    RBD_NAMESPACE_MIRROR = 3,
};

struct rbd_snapshot {
    uint64_t id;
    uint32_t namespace_type;          /* enum rbd_namespace */
    char original_name[RBD_NAME_MAX]; /* TRASH: what it was called, else "" */
    char name[RBD_NAME_MAX];
    uint64_t size;
    struct timespec created;
    uint32_t child_count;
};
int rbd_decode_snapshot(struct decoder d, struct rbd_snapshot *ret); /* snapshot_get */

enum rbd_protection {
    RBD_UNPROTECTED = 0,
    RBD_UNPROTECTING = 1,
    RBD_PROTECTED = 2,
};
int rbd_decode_u8(struct decoder d, uint8_t *ret); /* get_protection_status */

/* The parent of a clone; pool_id -1: none. */
struct rbd_parent {
    int64_t pool_id;
    char namespace[RBD_NAME_MAX];
    char image_id[RBD_ID_MAX];
    uint64_t snap_id;
};
int rbd_decode_parent(struct decoder d, struct rbd_parent *ret); /* parent_get */

/* Does a clone, or a snapshot of one, show its parent, and how many bytes of it? Both are 0 when it
 * does not. */
int rbd_decode_overlap(struct decoder d, bool *ret_shows, uint64_t *ret); /* parent_overlap_get */
void rbd_encode_parent_attach(struct encoder *e, const struct rbd_parent *parent, uint64_t overlap);

/* A clone, as its parent knows it. */
struct rbd_child {
    int64_t pool_id;
    char namespace[RBD_NAME_MAX];
    char image_id[RBD_ID_MAX];
};
/* child_attach, child_detach */
void rbd_encode_child(struct encoder *e, uint64_t snap_id, const struct rbd_child *child);
/* children_list: *ret is one array, free(). */
int rbd_decode_children(struct decoder d, struct rbd_child **ret, size_t *ret_count);

/* Clones of before Mimic (v1) are not in their parent's list, but in this object of their own pool.
 * add_child, remove_child */
#define RBD_CHILDREN "rbd_children"
void rbd_encode_old_child(struct encoder *e, const struct rbd_parent *parent, const char *image_id);

/* sparse_copyup: one data object's bytes, of which nothing happens when the object exists. Those of
 * the LEN bytes at DATA that are zero in whole blocks of BLOCK bytes are left out. Returns how many
 * are not. */
size_t rbd_encode_sparse_copyup(struct encoder *e, const uint8_t *data, size_t len, size_t block);

/* An image in the trash (rbd_trash object). */
enum rbd_trash_source {
    RBD_TRASH_USER = 0,
    RBD_TRASH_MIRRORING = 1,
    RBD_TRASH_MIGRATION = 2,
    RBD_TRASH_REMOVING = 3,
    RBD_TRASH_USER_PARENT = 4,
};
enum rbd_trash_state {
    RBD_TRASH_NORMAL = 0,
    RBD_TRASH_MOVING = 1,
    RBD_TRASH_STATE_REMOVING = 2,
    RBD_TRASH_RESTORING = 3,
};
struct rbd_trash_spec {
    uint8_t source; /* enum rbd_trash_source */
    uint8_t state;  /* enum rbd_trash_state */
    char name[RBD_NAME_MAX];
    struct timespec deleted;
    struct timespec deferred_until;
};
struct rbd_trash_entry {
    char id[RBD_ID_MAX];
    struct rbd_trash_spec spec;
};
void rbd_encode_trash_add(struct encoder *e, const char *id, const struct rbd_trash_spec *spec);
void rbd_encode_trash_state_set(struct encoder *e, const char *id, uint8_t state, uint8_t expected);
int rbd_decode_trash_spec(struct decoder d, struct rbd_trash_spec *ret); /* trash_get */
/* trash_list: map of id to spec; *ret is one array, free(). */
int rbd_decode_trash_list(struct decoder d, struct rbd_trash_entry **ret, size_t *ret_count);
