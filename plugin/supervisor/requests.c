/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/requests.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"

/* The longest reply, LIST's; static since the supervisor's only thread has a small stack and
 * allocates nothing. */
static _Alignas(struct supervisor_reply) char reply_space[SUPERVISOR_REPLY_MAX];

static int serve(const struct supervisor_request *request, struct blockds *blockds,
                 struct supervisor_reply *reply, struct error *err)
{
    switch (request->op) {
    case SUPERVISOR_START:
        return blockds_start(blockds, request->id, request->args, request->args_len, err);
    case SUPERVISOR_KILL:
        return blockds_kill(blockds, request->id, err);
    default: /* supervisor_request_check lets nothing else through */
        reply->count = blockds_list(blockds, reply->ids);
        return 0;
    }
}

static void answer(int socket, const void *packet, size_t len)
{
    if (send(socket, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_warning("cannot answer the server: %s", error_words(-errno));
}

int requests_serve(int socket, struct blockds *blockds, uint32_t server_restarts)
{
    struct supervisor_reply *reply = (struct supervisor_reply *)reply_space;
    struct supervisor_request request;
    struct error err = {0};
    char packet[sizeof(request) + 1];
    ssize_t len = recv(socket, packet, sizeof(packet), MSG_DONTWAIT);

    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    /* An empty packet reads like the end: the server has no business sending one. */
    if (len <= 0)
        return -ECONNRESET;
    *reply = (struct supervisor_reply){.version = SUPERVISOR_VERSION};
    if (supervisor_request_check(packet, (size_t)len, &request) < 0) {
        log_error("ignored a malformed packet of %zd bytes from the server", len);
        reply->result = error_set(&err, -EBADMSG, "malformed request of %zd bytes", len);
    } else if (request.op == SUPERVISOR_COUNT) {
        const struct supervisor_counts counts = {.version = SUPERVISOR_VERSION,
                                                 .server_restarts = server_restarts,
                                                 .blockd_restarts = blockds->restarts,
                                                 .blockds = blockds_count(blockds)};

        answer(socket, &counts, sizeof(counts));
        return 0;
    } else {
        reply->result = serve(&request, blockds, reply, &err);
    }
    if (reply->result < 0)
        snprintf(reply->text, sizeof(reply->text), "%.*s", (int)sizeof(reply->text) - 1, err.text);
    answer(socket, reply, sizeof(*reply) + (size_t)reply->count * SUPERVISOR_ID_MAX);
    return 0;
}
