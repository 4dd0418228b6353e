/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor_protocol.h"

#include <errno.h>
#include <string.h>

int supervisor_id_check(const char *id, size_t size)
{
    size_t len = strnlen(id, size);

    if (len == 0 || len == size || len >= SUPERVISOR_ID_MAX)
        return -EBADMSG;
    for (size_t i = 0; i < len; i++) {
        if (!((id[i] >= '0' && id[i] <= '9') || (id[i] >= 'a' && id[i] <= 'z')))
            return -EBADMSG;
    }
    return 0;
}

int supervisor_args_check(const char *args, size_t len)
{
    size_t count = 0;

    if (len == 0 || len > SUPERVISOR_ARGS_MAX || args[len - 1] != '\0')
        return -EBADMSG;
    for (size_t i = 0; i < len; i++)
        count += args[i] == '\0';
    return count <= SUPERVISOR_ARG_COUNT_MAX ? 0 : -EBADMSG;
}

int supervisor_request_check(const void *packet, size_t len, struct supervisor_request *ret)
{
    struct supervisor_request request;

    if (len != sizeof(request))
        return -EBADMSG;
    memcpy(&request, packet, sizeof(request));
    if (request.version != SUPERVISOR_VERSION)
        return -EBADMSG;
    switch (request.op) {
    case SUPERVISOR_START:
        if (supervisor_id_check(request.id, sizeof(request.id)) < 0 ||
            supervisor_args_check(request.args, request.args_len) < 0)
            return -EBADMSG;
        break;
    case SUPERVISOR_KILL:
        if (supervisor_id_check(request.id, sizeof(request.id)) < 0 || request.args_len)
            return -EBADMSG;
        break;
    case SUPERVISOR_LIST:
    case SUPERVISOR_COUNT:
        if (request.id[0] || request.args_len)
            return -EBADMSG;
        break;
    default:
        return -EBADMSG;
    }
    memcpy(ret, &request, sizeof(request));
    return 0;
}

int supervisor_reply_check(const void *packet, size_t len)
{
    const struct supervisor_reply *reply = packet;

    if (len < sizeof(*reply) || reply->version != SUPERVISOR_VERSION || reply->result > 0)
        return -EBADMSG;
    if (strnlen(reply->text, sizeof(reply->text)) == sizeof(reply->text))
        return -EBADMSG;
    if (reply->count > SUPERVISOR_BLOCKDS_MAX ||
        len != sizeof(*reply) + (size_t)reply->count * SUPERVISOR_ID_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < reply->count; i++) {
        if (supervisor_id_check(reply->ids[i], SUPERVISOR_ID_MAX) < 0)
            return -EBADMSG;
    }
    return 0;
}

int supervisor_counts_check(const void *packet, size_t len, struct supervisor_counts *ret)
{
    struct supervisor_counts counts;

    if (len != sizeof(counts))
        return -EBADMSG;
    memcpy(&counts, packet, sizeof(counts));
    if (counts.version != SUPERVISOR_VERSION || counts.blockds > SUPERVISOR_BLOCKDS_MAX)
        return -EBADMSG;
    *ret = counts;
    return 0;
}
