/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"

/* What systemd gives a service: a socket it listens on already (sd_listen_fds(3)) and a place to
 * say "ready" (sd_notify(3)). Without systemd both are simply absent. */

/* Take what is offered out of the environment, before any descriptor is opened and any child is
 * started: no child shall believe it is meant for it. *ret_listener: the passed listening socket,
 * or -1. -EINVAL when what was passed is not one listening Unix stream socket. */
int systemd_take(int *ret_listener, struct error *err);

/* Send STATE, such as "READY=1", to whom $NOTIFY_SOCKET named. */
void systemd_notify(const char *state);
