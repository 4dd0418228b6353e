/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"
#include "plugin/server/cluster_link.h"

/* Finishes in the background what dead clients left half-done and what removals left for later, and
 * deletes removed volumes that have expired (volume_sweep): at the start, every ten minutes, and
 * when woken. */

struct sweeper;

int sweeper_start(struct cluster_link *link, struct sweeper **ret, struct error *err);

/* There is something to do now. Any thread. */
void sweeper_wake(struct sweeper *sweeper);
