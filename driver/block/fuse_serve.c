/* SPDX-License-Identifier: Apache-2.0 */
#include "block/fuse_serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "block/fuse_wire.h"

/* The kernel may keep what it knows of the file: the name never changes, and when the size does, it
 * is made to ask again (fuse_session_update_size). So whoever looks at the loop device, such as
 * losetup, does not wait while nobody serves it. */
#define VALID_SECONDS 86400

uint64_t fuse_server_size(const struct fuse_server *server)
{
    return image_io_size(server->io) / server->block_bytes * server->block_bytes;
}

/* Nothing is left to do when this fails: ENOENT says that the kernel no longer waits for this
 * request, ENODEV that the file system is gone. */
static void reply(struct fuse_server *server, uint64_t unique, int result, const void *data,
                  size_t len)
{
    struct fuse_out_header header = {
        .len = (uint32_t)(sizeof(header) + len),
        .error = result,
        .unique = unique,
    };
    struct iovec parts[2] = {
        {.iov_base = &header, .iov_len = sizeof(header)},
        {.iov_base = (void *)data, .iov_len = len},
    };
    ssize_t sent;

    do {
        sent = writev(server->fd, parts, len > 0 ? 2 : 1);
    } while (sent < 0 && errno == EINTR);
}

/* What a file system above understands: it is out of space, or the device is broken. */
static int kernel_error(int result)
{
    switch (result) {
    case -ENOSPC:
    case -EDQUOT:
        return -ENOSPC;
    case -EROFS:
    case -EOPNOTSUPP:
        return result;
    default:
        return -EIO;
    }
}

static void finish(struct io_call *call, enum backend_op op, int result, const void *data,
                   size_t len)
{
    struct fuse_server *server = call->server;

    backend_counters_add(&server->counters, op, call->started, call->image.length, result);
    if (result < 0)
        reply(server, call->unique, kernel_error(result), NULL, 0);
    else
        reply(server, call->unique, 0, data, len);
    io_pool_put(server->pool, call);
}

static struct io_call *call_of(struct image_request *image)
{
    return (struct io_call *)((char *)image - offsetof(struct io_call, image));
}

static void read_done(struct image_request *image, int result)
{
    struct io_call *call = call_of(image);

    finish(call, BACKEND_READ, result, call->buffer, image->length);
}

static void write_done(struct image_request *image, int result)
{
    struct io_call *call = call_of(image);
    struct fuse_write_out out = {.size = (uint32_t)image->length};

    finish(call, BACKEND_WRITE, result, &out, sizeof(out));
}

static void discard_done(struct image_request *image, int result)
{
    finish(call_of(image), BACKEND_DISCARD, result, NULL, 0);
}

static void submit(struct fuse_server *server, uint64_t unique, struct image_request image,
                   size_t buffer_bytes)
{
    const int64_t started = clock_now(); /* waiting for memory counts, as it does for the kernel */
    struct io_call *call = io_pool_get(server->pool, buffer_bytes);

    call->started = started;
    call->server = server;
    call->unique = unique;
    call->image.kind = image.kind;
    call->image.offset = image.offset;
    call->image.length = image.length;
    call->image.buffer = buffer_bytes > 0 ? call->buffer : image.buffer;
    call->image.done = image.done;
    image_submit(server->io, &call->image);
}

static void serve_read(struct fuse_server *server, const struct fuse_wire_request *request)
{
    uint64_t size = fuse_server_size(server);
    uint64_t offset = request->io.offset;
    uint64_t length = request->io.length;

    if (offset >= size)
        length = 0;
    else if (length > size - offset)
        length = size - offset;
    if (length == 0) {
        reply(server, request->unique, 0, NULL, 0);
        return;
    }
    submit(server, request->unique,
           (struct image_request){
               .kind = IMAGE_READ, .offset = offset, .length = length, .done = read_done},
           length);
}

/* 0 when the range may be changed, else the error for the kernel. */
static int check_change(const struct fuse_server *server, uint64_t offset, uint64_t length)
{
    if (server->read_only)
        return -EROFS;
    if (offset + length > fuse_server_size(server))
        return -EIO;
    return 0;
}

static void serve_write(struct fuse_server *server, const struct fuse_wire_request *request)
{
    struct fuse_write_out nothing = {.size = 0};
    int r = check_change(server, request->io.offset, request->io.length);

    if (r < 0) {
        backend_counters_error(&server->counters);
        reply(server, request->unique, r, NULL, 0);
        return;
    }
    if (request->io.length == 0) {
        reply(server, request->unique, 0, &nothing, sizeof(nothing));
        return;
    }
    submit(server, request->unique,
           (struct image_request){.kind = IMAGE_WRITE,
                                  .offset = request->io.offset,
                                  .length = request->io.length,
                                  .buffer = (void *)request->io.data,
                                  .done = write_done},
           0);
}

/* Loop punches a hole both for a discard and for zeroes that may be unmapped, and a hole in a file
 * reads as zeroes. So both must be exact: IMAGE_DISCARD, which may round, would lose zeroes. */
static void serve_fallocate(struct fuse_server *server, const struct fuse_wire_request *request)
{
    const uint64_t offset = request->fallocate.offset;
    const uint64_t length = request->fallocate.length;
    int r;

    switch (request->fallocate.mode) {
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
        r = check_change(server, offset, length);
        break;
    default:
        reply(server, request->unique, -EOPNOTSUPP, NULL, 0);
        return;
    }
    if (r < 0) {
        backend_counters_error(&server->counters);
        reply(server, request->unique, r, NULL, 0);
        return;
    }
    submit(
        server, request->unique,
        (struct image_request){
            .kind = IMAGE_WRITE_ZEROES, .offset = offset, .length = length, .done = discard_done},
        0);
}

static void serve_lookup(struct fuse_server *server, const struct fuse_wire_request *request)
{
    struct fuse_entry_out out = {
        .nodeid = FUSE_WIRE_IMAGE,
        .generation = 1,
        .entry_valid = VALID_SECONDS,
        .attr_valid = VALID_SECONDS,
    };

    if (request->node != FUSE_WIRE_ROOT || strcmp(request->lookup.name, server->name) != 0) {
        reply(server, request->unique, -ENOENT, NULL, 0);
        return;
    }
    fuse_wire_attributes(FUSE_WIRE_IMAGE, fuse_server_size(server), server->block_bytes,
                         server->read_only, &out.attr);
    reply(server, request->unique, 0, &out, sizeof(out));
}

static void serve_getattr(struct fuse_server *server, const struct fuse_wire_request *request)
{
    struct fuse_attr_out out = {.attr_valid = VALID_SECONDS};
    int r = fuse_wire_attributes(request->node, fuse_server_size(server), server->block_bytes,
                                 server->read_only, &out.attr);

    if (r < 0)
        reply(server, request->unique, r, NULL, 0);
    else
        reply(server, request->unique, 0, &out, sizeof(out));
}

/* NOFLUSH: closing the file must not wait for us, who may be the one that closes it, dying. */
static void serve_open(struct fuse_server *server, const struct fuse_wire_request *request)
{
    struct fuse_open_out out = {.open_flags = FOPEN_NOFLUSH};

    if (request->node != FUSE_WIRE_IMAGE)
        reply(server, request->unique, -EISDIR, NULL, 0);
    else
        reply(server, request->unique, 0, &out, sizeof(out));
}

/* Loop takes its discard granularity from the block size here. */
static void serve_statfs(struct fuse_server *server, const struct fuse_wire_request *request)
{
    struct fuse_statfs_out out = {
        .st =
            {
                .blocks = fuse_server_size(server) / server->block_bytes,
                .files = 1,
                .bsize = server->block_bytes,
                .frsize = server->block_bytes,
                .namelen = FUSE_WIRE_NAME_MAX,
            },
    };

    reply(server, request->unique, 0, &out, sizeof(out));
}

void fuse_serve(struct fuse_server *server, const void *packet, size_t len)
{
    struct fuse_wire_request request;

    if (fuse_wire_decode(packet, len, &request) < 0) {
        backend_counters_error(&server->counters);
        if (request.unique != 0)
            reply(server, request.unique, -EIO, NULL, 0);
        return;
    }
    switch (request.opcode) {
    case FUSE_READ:
        serve_read(server, &request);
        break;
    case FUSE_WRITE:
        serve_write(server, &request);
        break;
    case FUSE_FALLOCATE:
        serve_fallocate(server, &request);
        break;
    case FUSE_LOOKUP:
        serve_lookup(server, &request);
        break;
    case FUSE_GETATTR:
        serve_getattr(server, &request);
        break;
    case FUSE_OPEN:
        serve_open(server, &request);
        break;
    case FUSE_STATFS:
        serve_statfs(server, &request);
        break;
    case FUSE_RELEASE:
    case FUSE_DESTROY:
        reply(server, request.unique, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: /* a request is always answered, and soon enough */
        break;
    default: /* among them FSYNC, FLUSH and GETXATTR: told once, the kernel never asks again */
        reply(server, request.unique, -ENOSYS, NULL, 0);
        break;
    }
}
