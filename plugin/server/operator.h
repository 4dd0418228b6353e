/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "image/snapshot.h"
#include "plugin/server/endpoint.h"
#include "plugin/server/volume_driver.h"
#include "rados/cluster.h"
#include "volume/volume.h"

/* What operators call, beside dockerd's own calls: POST /<Noun>.<Verb>, JSON there and back, "Err"
 * in every reply, "" for success (docs/api.md). One file per noun; each is a table for http_start
 * with a struct volume_driver as the service.
 *
 * All are of the kind ENDPOINT_OPERATES: they have threads of their own, so a restore of an hour
 * never delays a mount. Whatever changes a volume holds it on this host meanwhile (mounts_hold):
 * calls for the same volume wait for each other, and one that would wait too long is refused with
 * the words for what it waits for. Between hosts the image's lock does the same. */

extern const struct endpoint operator_snapshot_endpoints[];
extern const struct endpoint operator_trash_endpoints[];
extern const struct endpoint operator_volume_endpoints[];
extern const struct endpoint operator_clone_endpoints[];

/* One call under way. */
struct operation {
    struct volume_driver *driver;
    const struct json_request *request;
    struct cluster *cluster;
    struct slot *slot; /* of the volume that is held, or NULL */
    int64_t deadline;
    json_t *reply; /* an object, to be filled; "Err" is added */
};

struct operator_call {
    const char *name;  /* "Snapshot.Create", for the log */
    const char *doing; /* "a snapshot is being taken": hold the volume "Name" meanwhile; NULL: do
                        * not */
    /* 0, or a negative errno with err, whose words are the reply's Err: they name the thing, what
     * happened and the next step. */
    int (*work)(struct operation *operation, struct error *err);
};

/* Handle a call: hold the volume, get the connection, work, answer. What an endpoint's `handle`
 * does. */
void operator_run(const struct operator_call *call, void *service,
                  const struct json_request *request, int64_t deadline, struct reply *reply);

/* Hold the volume no longer: whatever else the call does, others may use it meanwhile. */
void operator_let_go(struct operation *operation);

/* The facts of volume "Name". */
int operator_read_volume(const struct operation *operation, struct volume_facts *ret,
                         struct error *err);

/* Make the volume "To" out of "Name", or of its "Snapshot". */
int operator_clone(struct operation *operation, struct error *err);

/* Take a snapshot of each volume of "Names", or of those with "Label", at one point in time. */
#define OPERATOR_SNAPSHOT_DOING "a snapshot is being taken"
int operator_snapshot_group(struct operation *operation, struct error *err);

/* A snapshot's facts, as all answers have them. */
json_t *operator_snapshot_json(const struct snapshot *snapshot);

/* Add a member to a JSON object: text ("" is left out), or any value, which is taken over. */
void operator_add_text(json_t *object, const char *key, const char *text);
void operator_add(json_t *object, const char *key, json_t *value);

/* "2026-01-02T03:04:05Z"; left out for 0. */
void operator_add_time(json_t *object, const char *key, int64_t seconds);
