/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"

/* What systemd gives a service: a socket it listens on already (sd_listen_fds(3)) and a place to
 * say "ready" (sd_notify(3)). Without systemd both are simply absent. */

/* Take the passed listening socket before any descriptor is opened; *ret is -1 when none was
 * passed. -EINVAL when it is not one listening Unix stream socket. Takes the variables out of the
 * environment, so that no child believes they are meant for it. */
int systemd_take_listener(int *ret, struct error *err);

/* Send STATE, such as "READY=1", to whom $NOTIFY_SOCKET named at the first call; remembers it, and
 * takes the variable out of the environment. */
void systemd_notify(const char *state);
