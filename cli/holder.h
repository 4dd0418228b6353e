/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>

#include "cli/cli.h"
#include "image/takeover.h"
#include "volume/survey.h"

/* How the holder of a volume, and the readers of one with access=ro, are shown. */

/* Its host, or its address when its lock does not say (a stock client), and since when ("": not
 * said). */
struct holder_text {
    char host[256];
    char since[64];
};
void holder_text(const struct lock_info *lock, struct holder_text *ret);

/* An object with host, since, client, address and state. */
json_t *holder_json(const struct lock_info *lock, enum holder_life life);

/* An array of such. */
json_t *holder_readers_json(const struct image_readers *readers);

/* A table of the COUNT reports that are of used volumes, on stdout. */
void holder_print(const struct cli *cli, const struct volume_report *const reports[], size_t count);

/* The same on stderr and never as JSON: what a question is about. */
void holder_announce(const struct volume_report *const reports[], size_t count);
