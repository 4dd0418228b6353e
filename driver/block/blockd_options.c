/* SPDX-License-Identifier: Apache-2.0 */
#include "block/blockd_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "block/backend.h"
#include "block/fuse_wire.h"

#define WATCH_TIMEOUT_MAX_S 3600

enum option_id {
    OPTION_CONF = 1,
    OPTION_CLIENT,
    OPTION_POOL,
    OPTION_NAMESPACE,
    OPTION_IMAGE,
    OPTION_NAME,
    OPTION_HOST,
    OPTION_TOKEN,
    OPTION_WATCH_TIMEOUT,
    OPTION_BLOCK_SIZE,
    OPTION_LOG_LEVEL,
    OPTION_BACKEND,
    OPTION_READ_ONLY,
    OPTION_SHARED,
    OPTION_FAIL_WHEN_FULL,
    OPTION_COUNT,
};

static const struct option options[] = {
    {"conf", required_argument, NULL, OPTION_CONF},
    {"client", required_argument, NULL, OPTION_CLIENT},
    {"pool", required_argument, NULL, OPTION_POOL},
    {"namespace", required_argument, NULL, OPTION_NAMESPACE},
    {"image", required_argument, NULL, OPTION_IMAGE},
    {"name", required_argument, NULL, OPTION_NAME},
    {"host", required_argument, NULL, OPTION_HOST},
    {"token", required_argument, NULL, OPTION_TOKEN},
    {"watch-timeout", required_argument, NULL, OPTION_WATCH_TIMEOUT},
    {"block-size", required_argument, NULL, OPTION_BLOCK_SIZE},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"backend", required_argument, NULL, OPTION_BACKEND},
    {"read-only", no_argument, NULL, OPTION_READ_ONLY},
    {"shared", no_argument, NULL, OPTION_SHARED},
    {"fail-when-full", no_argument, NULL, OPTION_FAIL_WHEN_FULL},
    {0},
};

static int parse_number(const char *text, unsigned long max, unsigned long *ret)
{
    char *end;
    unsigned long value;

    if (text[0] < '0' || text[0] > '9')
        return -EINVAL;
    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > max)
        return -EINVAL;
    *ret = value;
    return 0;
}

/* TEXT, which must be 1 to SIZE - 1 bytes long. */
static int take_text(const char *text, size_t size, const char **ret)
{
    if (text[0] == '\0' || strlen(text) >= size)
        return -EINVAL;
    *ret = text;
    return 0;
}

static int take_block_size(const char *text, struct blockd_options *ret)
{
    unsigned long value;

    if (parse_number(text, 4096, &value) < 0 || (value != 512 && value != 4096))
        return -EINVAL;
    ret->block_bytes = (uint32_t)value;
    return 0;
}

static int take_watch_timeout(const char *text, struct blockd_options *ret)
{
    unsigned long value;

    if (parse_number(text, WATCH_TIMEOUT_MAX_S, &value) < 0 || value == 0)
        return -EINVAL;
    ret->watch_timeout_s = (unsigned)value;
    return 0;
}

/* A name becomes a file's name. */
static int take_name(const char *text, struct blockd_options *ret)
{
    if (strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        return -EINVAL;
    return take_text(text, FUSE_WIRE_NAME_MAX + 1, &ret->name);
}

static int take(int id, const char *text, struct blockd_options *ret)
{
    switch (id) {
    case OPTION_CONF:
        return take_text(text, SIZE_MAX, &ret->conf);
    case OPTION_CLIENT:
        return take_text(text, SIZE_MAX, &ret->client);
    case OPTION_POOL:
        return take_text(text, SIZE_MAX, &ret->pool);
    case OPTION_NAMESPACE:
        ret->namespace = text; /* "" is the default one */
        return 0;
    case OPTION_IMAGE:
        return take_text(text, IMAGE_ID_MAX, &ret->image);
    case OPTION_NAME:
        return take_name(text, ret);
    case OPTION_HOST:
        return take_text(text, BLOCKD_HOST_MAX, &ret->host);
    case OPTION_TOKEN:
        return take_text(text, BLOCKD_TOKEN_MAX, &ret->token);
    case OPTION_WATCH_TIMEOUT:
        return take_watch_timeout(text, ret);
    case OPTION_BLOCK_SIZE:
        return take_block_size(text, ret);
    case OPTION_LOG_LEVEL:
        return log_level_parse(text, &ret->log_level);
    case OPTION_BACKEND:
        ret->backend = text;
        return backend_is_known(text) ? 0 : -EINVAL;
    case OPTION_READ_ONLY:
        ret->read_only = true;
        return 0;
    case OPTION_SHARED:
        ret->shared = ret->read_only = true;
        return 0;
    case OPTION_FAIL_WHEN_FULL:
        ret->fail_when_full = true;
        return 0;
    default:
        return -EINVAL;
    }
}

int blockd_options_parse(int argc, char *argv[], struct blockd_options *ret, struct error *err)
{
    unsigned seen = 0;
    int index = -1;
    int id;

    *ret = (struct blockd_options){.log_level = LOG_LEVEL_INFO, .backend = BACKEND_AUTO};
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    while ((id = getopt_long(argc, argv, "+", options, &index)) != -1) {
        if (id <= 0 || id >= OPTION_COUNT)
            return error_set(err, -EINVAL, "unknown option or missing value: '%s'",
                             argv[optind - 1]);
        if (seen & (1u << id))
            return error_set(err, -EINVAL, "option --%s is given twice", options[index].name);
        if (take(id, optarg, ret) < 0)
            return error_set(err, -EINVAL, "option --%s: '%s' is not allowed", options[index].name,
                             optarg);
        seen |= 1u << id;
    }
    if (optind < argc)
        return error_set(err, -EINVAL, "unexpected argument '%s'", argv[optind]);
    for (size_t i = 0; options[i].name; i++) {
        /* A blockd from before there was a choice is started again with the words it had. */
        if (options[i].val == OPTION_BACKEND)
            continue;
        if (options[i].has_arg == required_argument && !(seen & (1u << options[i].val)))
            return error_set(err, -EINVAL, "option --%s is missing", options[i].name);
    }
    return 0;
}
