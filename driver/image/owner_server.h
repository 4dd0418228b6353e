/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/io.h"
#include "image/ownership.h"
#include "image/watch.h"
#include "rados/cluster.h"
#include "rados/header_notify.h"

/* The thread of an ownership that does what other clients ask its owner for (ownership.h says
 * what). Everything here is for the owner's main loop, which also does what only it may do: answer
 * notifies and follow the header.
 *
 *   a request   with an id                     without (older clients)
 *   taken       answered 0 at once             kept
 *   done        announced (HEADER_UPDATE), ASYNC_COMPLETE with the result    answered with it
 *   sent again  answered 0, or with the result     (a new one)
 *
 * FLATTEN is done in two parts: its objects are copied by another thread, with ASYNC_PROGRESS now
 * and then, and others' requests are done meanwhile; the end of it is a request like any other.
 * Those that come while one copies wait for the same end.
 *
 * QUIESCE and UNQUIESCE change nothing that others could see, and are kept in either case. */

struct owner_server;

/* WATCH and CLUSTER are borrowed until the close. 0, -ENOMEM. */
int owner_server_open(struct cluster *cluster, const char *id, struct watch *watch,
                      struct owner_server **ret);

/* See ownership_attach_io and ownership_set_hooks. */
void owner_server_attach_io(struct owner_server *server, struct image_io *io);
void owner_server_set_hooks(struct owner_server *server, const struct ownership_hooks *hooks);

/* What proves the lock to be ours. Before the first request is taken, and whenever it changes. */
void owner_server_use_cookie(struct owner_server *server, const char *cookie);

/* Is this one of the requests that are done here? Pure. */
bool owner_server_serves(uint32_t op);

/* Take a request on. True: EVENT is kept and answered later; false: it is to be answered now with
 * ANSWER. */
bool owner_server_take(struct owner_server *server, const struct header_notify *request,
                       struct watch_event *event, struct encoder *answer);

/* Called when the watch's descriptor is readable: answers what was kept and is done. True: the
 * header has changed; read it again and call owner_server_followed, for which the thread waits. */
bool owner_server_run(struct owner_server *server);
void owner_server_followed(struct owner_server *server);

/* Refuse what has not begun, stop copying, wait for whatever else has begun, thaw, end the threads,
 * free. Accepts NULL. */
void owner_server_close(struct owner_server *server);
