/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "plugin/supervisor/blockds.h"

/* Take one packet from SOCKET, do what it asks, answer. SERVER_RESTARTS: for who counts. 0, or
 * -ECONNRESET when the server has closed its end. */
int requests_serve(int socket, struct blockds *blockds, uint32_t server_restarts);
