/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"
#include "plugin/server/cluster_link.h"

/* Which pools are full, as the monitors said last. A thread of its own asks them, and only while
 * somebody wants to know: the monitors may take their time, which who asks here does not have. */

struct space;

/* LINK is borrowed. The thread ends with the process. */
int space_start(struct cluster_link *link, struct space **ret, struct error *err);

/* What is known of POOL: 0, also when nothing is yet; or -ENOSPC or -EDQUOT with words for
 * "health". What is older than a moment is asked for anew, and waited for a moment. Any thread. */
int space_look(struct space *space, const char *pool, struct error *err);
