/* SPDX-License-Identifier: Apache-2.0 */
#include "block/nbd_serve.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "block/nbd_wire.h"

uint64_t nbd_server_size(const struct nbd_server *server)
{
    return image_io_size(server->io) / server->block_bytes * server->block_bytes;
}

/* Header and data must not be torn apart by another reply. This may wait until the kernel takes
 * bytes off the socket, which it does in a worker that waits for nothing of ours. Nothing is left
 * to do when it fails: the connection has ended, and what was not answered is sent again or failed.
 */
static void reply(struct nbd_server *server, uint64_t handle, int result, void *data, size_t len)
{
    uint8_t header[NBD_WIRE_REPLY_BYTES];
    struct iovec parts[2] = {
        {.iov_base = header, .iov_len = sizeof(header)},
        {.iov_base = data, .iov_len = len},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = len > 0 ? 2 : 1};
    WITH_LOCK(&server->sending);

    nbd_wire_encode_reply(handle, result, header);
    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(server->socket, &message, MSG_NOSIGNAL);

        if (sent < 0 && errno != EINTR)
            return;
        while (message.msg_iovlen > 0 && sent >= (ssize_t)message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0 && sent > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
}

static void finish(struct image_request *image, enum backend_op op, int result)
{
    struct io_call *call = (struct io_call *)((char *)image - offsetof(struct io_call, image));
    struct nbd_server *server = call->server;

    backend_counters_add(&server->counters, op, call->started, image->length, result);
    reply(server, call->unique, result, call->buffer,
          result == 0 && call->buffer ? image->length : 0);
    io_pool_put(server->pool, call);
}

static void read_done(struct image_request *image, int result)
{
    finish(image, BACKEND_READ, result);
}

static void write_done(struct image_request *image, int result)
{
    finish(image, BACKEND_WRITE, result);
}

static void discard_done(struct image_request *image, int result)
{
    finish(image, BACKEND_DISCARD, result);
}

/* 0 when the range may be touched that way, else the error for the kernel. */
static int check(const struct nbd_server *server, const struct nbd_wire_request *request)
{
    if (server->read_only && request->type != NBD_CMD_READ)
        return -EROFS;
    return request->offset + request->length > nbd_server_size(server) ? -EIO : 0;
}

static void submit(struct nbd_server *server, const struct nbd_wire_request *request, void *data)
{
    static const struct {
        enum image_io_kind kind;
        void (*done)(struct image_request *image, int result);
    } kinds[] = {
        [NBD_CMD_READ] = {IMAGE_READ, read_done},
        [NBD_CMD_WRITE] = {IMAGE_WRITE, write_done},
        [NBD_CMD_TRIM] = {IMAGE_DISCARD, discard_done},
        [NBD_WIRE_WRITE_ZEROES] = {IMAGE_WRITE_ZEROES, discard_done},
    };
    const int64_t started = clock_now(); /* waiting for memory counts, as it does for the kernel */
    struct io_call *call =
        io_pool_get(server->pool, request->type == NBD_CMD_READ ? request->length : 0);

    call->started = started;
    call->server = server;
    call->unique = request->handle;
    call->image.kind = kinds[request->type].kind;
    call->image.offset = request->offset;
    call->image.length = request->length;
    call->image.buffer = call->buffer ? call->buffer : data;
    call->image.done = kinds[request->type].done;
    image_submit(server->io, &call->image);
}

/* Exactly LEN bytes. */
static int receive(int socket, void *data, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t got = recv(socket, (char *)data + have, len - have, MSG_WAITALL);

        if (got == 0 || (got < 0 && errno != EINTR))
            return -ECONNRESET;
        if (got > 0)
            have += (size_t)got;
    }
    return 0;
}

static int receive_request(struct nbd_server *server, struct nbd_wire_request *ret, void *buffer)
{
    WITH_LOCK(&server->receiving);
    uint8_t packet[NBD_WIRE_REQUEST_BYTES];
    int r = receive(server->socket, packet, sizeof(packet));

    if (r == 0)
        r = nbd_wire_decode(packet, ret);
    if (r == 0 && ret->type == NBD_CMD_WRITE)
        r = receive(server->socket, buffer, ret->length);
    return r;
}

int nbd_serve(struct nbd_server *server, void *buffer)
{
    struct nbd_wire_request request = {0};
    int r = receive_request(server, &request, buffer);

    if (r < 0)
        return r;
    if (request.type == NBD_CMD_DISC)
        return -ECONNRESET;
    r = check(server, &request);
    if (r < 0)
        backend_counters_error(&server->counters);
    if (r < 0 || request.length == 0) /* of a flush, too */
        reply(server, request.handle, r, NULL, 0);
    else
        submit(server, &request, buffer);
    return 0;
}
