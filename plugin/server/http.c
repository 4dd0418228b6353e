/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/http.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

/* A request's life: first call (headers read), calls with pieces of the body, a call without more
 * body; there it is answered at once, or suspended and called again once its reply is there. A body
 * over the limit is read to its end and forgotten, so that the client gets to read the answer. */

#define OUT_OF_MEMORY     "{\"Err\":\"the plugin is out of memory\"}"
#define CONNECTION_BYTES  ((size_t)8 * 1024)
#define CONNECTION_IDLE_S 60U                        /* dockerd closes idle ones after 30 s */
#define RECEIVE_MS        (60 * 1000)                /* for a whole body */
#define DRAIN_BYTES_MAX   ((size_t)64 * 1024 * 1024) /* then the connection is closed */
#define BODIES_BYTES_MAX  ((size_t)64 * 1024 * 1024) /* bodies of all requests together */
#define FILES_WANTED      65536U
#define FILES_RESERVED    512U /* for everything but HTTP connections */
#define CONNECTIONS_MAX   16384U
#define CONNECTIONS_MIN   16U

struct http {
    struct MHD_Daemon *daemon;
    const struct endpoint *const *tables;
    void *service;
    struct calls *calls;
    size_t body_bytes;    /* HTTP thread only */
    pthread_mutex_t lock; /* everything below; a leaf */
    pthread_cond_t idle;
    unsigned active; /* requests between their first call and their last byte */
    bool stopping;
};

/* One request. HTTP thread only. */
struct exchange {
    struct http *http;
    struct MHD_Connection *connection;
    const struct endpoint *endpoint; /* NULL: unknown path */
    bool right_method;
    bool takes_body;
    char path[64]; /* for the log and for errors; cut */
    char *body;
    size_t body_len;
    size_t body_cap;
    const char *refusal; /* what is wrong with the request */
    const char *failure; /* why it is not looked at */
    size_t drained;
    int64_t started;
    struct call *call;
};

static void set_active(struct http *http, int change)
{
    WITH_LOCK(&http->lock);

    http->active += (unsigned)change;
    if (http->active == 0)
        pthread_cond_signal(&http->idle);
}

static void release_body(struct exchange *exchange)
{
    free(exchange->body);
    exchange->http->body_bytes -= exchange->body_cap;
    exchange->body = NULL;
    exchange->body_len = exchange->body_cap = 0;
}

static const char *method_of(const struct endpoint *endpoint)
{
    return endpoint && endpoint->is_get ? MHD_HTTP_METHOD_GET : MHD_HTTP_METHOD_POST;
}

static struct exchange *begin(struct http *http, struct MHD_Connection *connection, const char *url,
                              const char *method)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));

    if (!exchange)
        return NULL;
    exchange->http = http;
    exchange->connection = connection;
    exchange->endpoint = endpoint_find(http->tables, url);
    exchange->right_method = strcmp(method, method_of(exchange->endpoint)) == 0;
    exchange->takes_body =
        exchange->endpoint && !exchange->endpoint->is_get && exchange->right_method;
    exchange->started = clock_now();
    strncpy(exchange->path, url, sizeof(exchange->path) - 1);
    set_active(http, 1);
    return exchange;
}

/* Read on without keeping anything. False: close the connection. */
static bool drain(struct exchange *exchange, size_t len)
{
    exchange->drained += len;
    return exchange->drained <= DRAIN_BYTES_MAX;
}

/* Keep a piece of the body. False: close the connection. */
static bool receive(struct exchange *exchange, const char *data, size_t len)
{
    struct http *http = exchange->http;

    if (clock_now() - exchange->started > RECEIVE_MS * NS_PER_MS)
        return false;
    if (!exchange->takes_body)
        return drain(exchange, len);
    if (!exchange->refusal && exchange->body_len + len > JSON_REQUEST_BODY_MAX)
        exchange->refusal = "the request is larger than 1 MiB";
    if (!exchange->refusal && !exchange->failure && exchange->body_len + len > exchange->body_cap) {
        size_t cap = exchange->body_len + len < 512 ? 512 : (exchange->body_len + len) * 2;
        char *body = NULL;

        if (http->body_bytes + cap - exchange->body_cap <= BODIES_BYTES_MAX)
            body = realloc(exchange->body, cap);
        if (body) {
            http->body_bytes += cap - exchange->body_cap;
            exchange->body = body;
            exchange->body_cap = cap;
        } else {
            exchange->failure = "too many large requests at once; try again";
        }
    }
    if (exchange->refusal || exchange->failure) {
        release_body(exchange);
        return drain(exchange, len);
    }
    memcpy(exchange->body + exchange->body_len, data, len);
    exchange->body_len += len;
    return true;
}

static enum MHD_Result send_reply(struct exchange *exchange, struct reply *reply)
{
    struct http *http = exchange->http;
    char *body = steal_pointer(&reply->body);
    struct MHD_Response *response;
    enum MHD_Result result;
    unsigned status = reply->status ? reply->status : MHD_HTTP_OK;

    if (reply->drop || (!body && exchange->endpoint && exchange->endpoint->err_forgets))
        return MHD_NO;
    response = body ? MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE)
                    : MHD_create_response_from_buffer(strlen(OUT_OF_MEMORY), (void *)OUT_OF_MEMORY,
                                                      MHD_RESPMEM_PERSISTENT);
    if (!response) {
        free(body);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                            reply->type ? reply->type : REPLY_DOCKER_JSON);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, method_of(exchange->endpoint));
    pthread_mutex_lock(&http->lock);
    if (http->stopping)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    pthread_mutex_unlock(&http->lock);
    result = MHD_queue_response(exchange->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result refuse(struct exchange *exchange, unsigned status, const char *words)
{
    struct reply reply = {.status = status};
    enum MHD_Result result;

    log_warning("%s refused: %s", exchange->path, words);
    reply_err(&reply, words);
    result = send_reply(exchange, &reply);
    reply_free(&reply);
    return result;
}

/* The request may have been right. */
static enum MHD_Result fail(struct exchange *exchange, const char *words)
{
    struct reply reply = {0};
    enum MHD_Result result;

    log_warning("%s came to nothing: %s", exchange->path, words);
    endpoint_fail(exchange->endpoint, words, &reply);
    result = send_reply(exchange, &reply);
    reply_free(&reply);
    return result;
}

static void resume(void *arg)
{
    struct exchange *exchange = arg;

    MHD_resume_connection(exchange->connection);
}

static enum MHD_Result hand_on(struct exchange *exchange, struct json_request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    MHD_suspend_connection(exchange->connection);
    exchange->call = calls_start(exchange->http->calls, exchange->endpoint, request,
                                 info->connect_fd, resume, exchange);
    if (!exchange->call) {
        /* Called again, without a call: answered as out of memory. */
        exchange->failure = "the plugin is out of memory";
        MHD_resume_connection(exchange->connection);
    }
    return MHD_YES;
}

/* The whole request is there. */
static enum MHD_Result dispatch(struct exchange *exchange)
{
    const struct endpoint *endpoint = exchange->endpoint;
    cleanup_json_request struct json_request request = {0};
    struct reply reply = {0};
    enum MHD_Result result;
    struct error err = {0};
    int r;

    if (!endpoint) {
        error_set(&err, -ENOENT, "there is no call '%s'", exchange->path);
        return refuse(exchange, MHD_HTTP_NOT_FOUND, err.text);
    }
    if (!exchange->right_method) {
        error_set(&err, -EINVAL, "the method must be %s", method_of(endpoint));
        return refuse(exchange, MHD_HTTP_METHOD_NOT_ALLOWED, err.text);
    }
    if (exchange->refusal)
        return refuse(exchange, MHD_HTTP_OK, exchange->refusal);
    if (exchange->failure)
        return fail(exchange, exchange->failure);
    r = endpoint_read_request(endpoint, exchange->body, exchange->body_len, &request, &err);
    release_body(exchange);
    if (r == -ENODATA) /* dockerd repeats a call whose connection broke without its body */
        return fail(exchange, err.text);
    if (r < 0)
        return refuse(exchange, MHD_HTTP_OK, err.text);
    LOG_VOLUME(request.name);
    if (!endpoint->quick || !endpoint->quick(exchange->http->service, &request, &reply))
        return hand_on(exchange, &request);
    result = send_reply(exchange, &reply);
    reply_free(&reply);
    return result;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_len, void **state)
{
    struct exchange *exchange = *state;

    (void)version;
    if (!exchange) {
        *state = begin(cls, connection, url, method);
        return *state ? MHD_YES : MHD_NO;
    }
    if (*data_len > 0) {
        size_t len = *data_len;

        *data_len = 0;
        return receive(exchange, data, len) ? MHD_YES : MHD_NO;
    }
    return exchange->call ? send_reply(exchange, call_reply(exchange->call)) : dispatch(exchange);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct exchange *exchange = *state;

    (void)connection;
    if (!exchange)
        return;
    if (exchange->call)
        call_end(exchange->call, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    release_body(exchange);
    free(exchange);
    *state = NULL;
    set_active(cls, -1);
}

static __attribute__((format(printf, 2, 0))) void on_log(void *cls, const char *format, va_list ap)
{
    char words[512];

    (void)cls;
    vsnprintf(words, sizeof(words), format, ap);
    log_debug("http: %s", words);
}

/* Raise the limit of open files as far as allowed; how many connections that leaves. */
static unsigned connection_limit(void)
{
    struct rlimit files;
    rlim_t most;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return CONNECTIONS_MIN;
    if (files.rlim_max < FILES_WANTED) {
        struct rlimit more = {.rlim_cur = FILES_WANTED, .rlim_max = FILES_WANTED};

        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            files = more;
    }
    if (files.rlim_cur < files.rlim_max) {
        struct rlimit more = {.rlim_cur = files.rlim_max, .rlim_max = files.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            files = more;
    }
    if (files.rlim_cur < FILES_RESERVED + CONNECTIONS_MIN)
        return CONNECTIONS_MIN;
    most = files.rlim_cur - FILES_RESERVED;
    return most < CONNECTIONS_MAX ? (unsigned)most : CONNECTIONS_MAX;
}

static void http_free(struct http *http)
{
    pthread_cond_destroy(&http->idle);
    pthread_mutex_destroy(&http->lock);
    free(http);
}

int http_start(int listen_fd, unsigned connections_max, const struct endpoint *const tables[],
               void *service, struct calls *calls, struct http **ret, struct error *err)
{
    struct http *http = calloc(1, sizeof(*http));
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    int file_flags = fcntl(listen_fd, F_GETFL);

    if (!http)
        return error_errno(err, -ENOMEM, "cannot start the HTTP front");
    if (file_flags < 0 || fcntl(listen_fd, F_SETFL, file_flags | O_NONBLOCK) < 0) {
        int r = error_errno(err, -errno, "cannot use descriptor %d to listen on", listen_fd);

        free(http);
        return r;
    }
    http->tables = tables;
    http->service = service;
    http->calls = calls;
    pthread_mutex_init(&http->lock, NULL);
    clock_init_cond(&http->idle);
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
        MHD_OPTION_CONNECTION_LIMIT,
        connections_max == HTTP_CONNECTIONS_FREE ? connection_limit() : connections_max,
        MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        CONNECTION_BYTES, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (!http->daemon) {
        http_free(http);
        return error_set(err, -EIO, "the HTTP front cannot serve descriptor %d", listen_fd);
    }
    *ret = http;
    return 0;
}

bool http_stop(struct http *http, int64_t deadline)
{
    struct timespec until = deadline_timespec(deadline);
    bool idle;

    if (!http)
        return true;
    /* Quiesced, libmicrohttpd leaves the listening socket alone when it stops. */
    MHD_quiesce_daemon(http->daemon);
    pthread_mutex_lock(&http->lock);
    http->stopping = true;
    while (http->active > 0) {
        if (pthread_cond_timedwait(&http->idle, &http->lock, &until) == ETIMEDOUT)
            break;
    }
    idle = http->active == 0;
    pthread_mutex_unlock(&http->lock);
    if (!idle)
        return false;
    MHD_stop_daemon(http->daemon);
    http_free(http);
    return true;
}
