/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "plugin/server/endpoint.h"

/* For who watches over this host: GET /metrics (metrics.h), and GET /healthz: status 200 with "Err"
 * "" while the cluster answers, else 503 with "Err" saying since when it does not, and why. That is
 * no reason to start the plugin again, which goes on by itself.
 *
 * A table for http_start with a struct volume_driver as the service. */

extern const struct endpoint monitoring_endpoints[];
