/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/supervisor_client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* Replies come in the order of the requests and carry no number. So when a call gives up, its reply
 * is still to come: `late` counts those, and the next call takes them off before its own. */
struct supervisor_client {
    int socket; /* borrowed; never changes */
    pthread_mutex_t mutex;
    pthread_cond_t idle; /* on CLOCK_MONOTONIC */
    bool busy;           /* mutex: a call is being made; what follows belongs to it alone */
    unsigned late;
    size_t len; /* of what was received */
    union {
        struct supervisor_reply reply;
        char space[SUPERVISOR_REPLY_MAX + 1]; /* one more shows a packet that is too long */
    } received;
};

int supervisor_client_open(int socket, struct supervisor_client **ret, struct error *err)
{
    struct supervisor_client *client = calloc(1, sizeof(*client));

    if (!client)
        return error_errno(err, -ENOMEM, "cannot talk to the supervisor");
    client->socket = socket;
    pthread_mutex_init(&client->mutex, NULL);
    clock_init_cond(&client->idle);
    *ret = client;
    return 0;
}

void supervisor_client_free(struct supervisor_client *client)
{
    if (!client)
        return;
    pthread_cond_destroy(&client->idle);
    pthread_mutex_destroy(&client->mutex);
    free(client);
}

/* Become the one who calls. 0 or -ETIMEDOUT. Not the mutex itself is held for a call, since waiting
 * for a mutex knows no deadline that the thread sanitizer understands. */
static int begin(struct supervisor_client *client, int64_t deadline, struct error *err)
{
    const struct timespec until = deadline_timespec(deadline);
    WITH_LOCK(&client->mutex);

    while (client->busy) {
        if (pthread_cond_timedwait(&client->idle, &client->mutex, &until) == ETIMEDOUT &&
            client->busy)
            return error_errno(err, -ETIMEDOUT, "the supervisor is busy with another call");
    }
    client->busy = true;
    return 0;
}

static void end(struct supervisor_client *client)
{
    WITH_LOCK(&client->mutex);

    client->busy = false;
    pthread_cond_signal(&client->idle);
}

static int wait_for(int socket, short events, int64_t deadline)
{
    struct pollfd ready = {.fd = socket, .events = events};

    for (;;) {
        int rc = poll(&ready, 1, deadline_left_ms(deadline));

        if (rc > 0)
            return 0;
        if (rc == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int send_request(struct supervisor_client *client, const struct supervisor_request *request,
                        int64_t deadline)
{
    for (;;) {
        int rc;

        if (send(client->socket, request, sizeof(*request), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EPIPE || errno == ECONNRESET)
            return -ECONNRESET;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        rc = wait_for(client->socket, POLLOUT, deadline);
        if (rc < 0)
            return rc;
    }
}

/* Receive one packet into client->received. */
static int receive_reply(struct supervisor_client *client, int64_t deadline)
{
    int rc = wait_for(client->socket, POLLIN, deadline);
    ssize_t len;

    if (rc < 0)
        return rc;
    len = recv(client->socket, &client->received, sizeof(client->received), MSG_DONTWAIT);
    if (len < 0)
        return -errno;
    if (len == 0)
        return -ECONNRESET;
    client->len = (size_t)len;
    return 0;
}

/* One request, one reply, which is not looked at here. */
static int exchange(struct supervisor_client *client, const struct supervisor_request *request,
                    int64_t deadline)
{
    int rc;

    while (client->late > 0) {
        rc = receive_reply(client, deadline);
        if (rc < 0)
            return rc;
        client->late--;
    }
    rc = send_request(client, request, deadline);
    if (rc < 0)
        return rc;
    rc = receive_reply(client, deadline);
    if (rc == -ETIMEDOUT)
        client->late++;
    return rc;
}

/* Make the call and turn its outcome into a code and words. Between begin and end. */
static int call(struct supervisor_client *client, const struct supervisor_request *request,
                int64_t deadline, struct error *err)
{
    int rc = exchange(client, request, deadline);

    if (rc == 0)
        rc = supervisor_reply_check(&client->received, client->len);
    if (rc == -ECONNRESET)
        return error_set(err, rc, "the supervisor is gone");
    if (rc < 0)
        return error_errno(err, rc, "the supervisor");
    if (client->received.reply.result < 0)
        return error_set(err, client->received.reply.result, "%s", client->received.reply.text);
    return 0;
}

static int request_init(struct supervisor_request *request, enum supervisor_op op, const char *id,
                        struct error *err)
{
    memset(request, 0, sizeof(*request));
    request->version = SUPERVISOR_VERSION;
    request->op = op;
    if (supervisor_id_check(id, strlen(id) + 1) < 0)
        return error_set(err, -EINVAL, "\"%.80s\" is no image id", id);
    memcpy(request->id, id, strlen(id));
    return 0;
}

static int request_add_args(struct supervisor_request *request, const char *const args[],
                            struct error *err)
{
    size_t used = 0;

    for (size_t i = 0; args[i]; i++) {
        size_t len = strlen(args[i]) + 1;

        if (len > sizeof(request->args) - used || i == SUPERVISOR_ARG_COUNT_MAX)
            return error_set(err, -E2BIG, "image \"%s\": the blockd's arguments are over %d bytes",
                             request->id, SUPERVISOR_ARGS_MAX);
        memcpy(request->args + used, args[i], len);
        used += len;
    }
    request->args_len = (uint32_t)used;
    return 0;
}

int supervisor_start(struct supervisor_client *client, const char *id, const char *const args[],
                     int64_t deadline, struct error *err)
{
    struct supervisor_request request;
    int rc = request_init(&request, SUPERVISOR_START, id, err);

    if (rc == 0)
        rc = request_add_args(&request, args, err);
    if (rc == 0)
        rc = begin(client, deadline, err);
    if (rc < 0)
        return rc;
    rc = call(client, &request, deadline, err);
    end(client);
    return rc;
}

int supervisor_kill(struct supervisor_client *client, const char *id, int64_t deadline,
                    struct error *err)
{
    struct supervisor_request request;
    int rc = request_init(&request, SUPERVISOR_KILL, id, err);

    if (rc == 0)
        rc = begin(client, deadline, err);
    if (rc < 0)
        return rc;
    rc = call(client, &request, deadline, err);
    end(client);
    return rc;
}

/* Copy the ids of the reply. Between begin and end. */
static int take_ids(const struct supervisor_reply *reply, char (**ret)[SUPERVISOR_ID_MAX],
                    size_t *ret_count, struct error *err)
{
    size_t size = (size_t)reply->count * SUPERVISOR_ID_MAX;
    char(*ids)[SUPERVISOR_ID_MAX] = malloc(size ? size : 1);

    if (!ids)
        return error_errno(err, -ENOMEM, "cannot list the blockds");
    memcpy(ids, reply->ids, size);
    *ret = ids;
    *ret_count = reply->count;
    return 0;
}

int supervisor_list(struct supervisor_client *client, int64_t deadline,
                    char (**ret)[SUPERVISOR_ID_MAX], size_t *ret_count, struct error *err)
{
    const struct supervisor_request request = {.version = SUPERVISOR_VERSION,
                                               .op = SUPERVISOR_LIST};
    int rc = begin(client, deadline, err);

    if (rc < 0)
        return rc;
    rc = call(client, &request, deadline, err);
    if (rc == 0)
        rc = take_ids(&client->received.reply, ret, ret_count, err);
    end(client);
    return rc;
}

int supervisor_count(struct supervisor_client *client, int64_t deadline,
                     struct supervisor_counts *ret, struct error *err)
{
    const struct supervisor_request request = {.version = SUPERVISOR_VERSION,
                                               .op = SUPERVISOR_COUNT};
    int rc = begin(client, deadline, err);

    if (rc < 0)
        return rc;
    rc = exchange(client, &request, deadline);
    if (rc == 0) {
        rc = supervisor_counts_check(&client->received, client->len, ret);
        if (rc < 0 && supervisor_reply_check(&client->received, client->len) == 0)
            rc = -EOPNOTSUPP;
    }
    end(client);
    return rc < 0 ? error_errno(err, rc, "the supervisor") : 0;
}
