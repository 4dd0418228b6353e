/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "image/image.h"

/* A radosvol-blockd's command line (control.h). */

#define BLOCKD_HOST_MAX  256
#define BLOCKD_TOKEN_MAX 128

struct blockd_options {
    const char *conf; /* all borrowed from argv */
    const char *client;
    const char *pool;
    const char *namespace;
    const char *image; /* id */
    const char *name;
    const char *host;
    const char *token;
    const char *backend; /* see backend_choose */
    unsigned watch_timeout_s;
    uint32_t block_bytes;
    enum log_level log_level;
    bool read_only;
    bool shared; /* read_only, beside others: without the image's lock */
    bool fail_when_full;
};

/* Pure but for getopt's state: call it from one thread. 0, or -EINVAL with err naming the option.
 */
int blockd_options_parse(int argc, char *argv[], struct blockd_options *ret, struct error *err);
