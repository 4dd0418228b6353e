/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"

/* The listening socket that Docker connects to. The supervisor holds it for life, so connections
 * wait in its queue while the server is started again. */

/* Make PATH (mode 0600) and its parents and listen. A dead socket file is replaced; -EADDRINUSE
 * when somebody answers there, -EEXIST when PATH is something else. */
int listen_open(const char *path, int *ret, struct error *err);
