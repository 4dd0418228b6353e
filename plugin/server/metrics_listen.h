/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"
#include "plugin/server/volume_driver.h"

/* What monitoring.h has, on a TCP address of its own: everybody who reaches it may read that, and
 * nothing else. It shares nothing with Docker's calls that could keep those waiting. */

struct metrics_listener;

/* ADDRESS as address.h has it. 0, or negative errno with err. */
int metrics_listen(const char *address, struct volume_driver *driver, struct metrics_listener **ret,
                   struct error *err);

/* Accept no more, and let what runs end up to the deadline. For the end of the process: nothing is
 * freed. Accepts NULL. */
void metrics_listener_stop(struct metrics_listener *listener, int64_t deadline);
