/* SPDX-License-Identifier: Apache-2.0 */
#include "block/nbd_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"

/* A handful of flat messages, so no library: the supervisor ends devices too, and has to stay
 * small. The kernel works on a message while it is being sent, so that its answers are there when
 * send() returns, and nothing here waits for them. */

#define REQUEST_MAX 1024
#define ANSWER_MAX  8192

#define ATTRIBUTE_HEAD sizeof(struct nlattr)

struct request {
    uint16_t family;
    size_t len;
    uint8_t body[REQUEST_MAX]; /* all behind the netlink header */
};

static size_t aligned(size_t len)
{
    return (len + NLA_ALIGNTO - 1) & ~(size_t)(NLA_ALIGNTO - 1);
}

static void begin(struct request *request, uint16_t family, uint8_t command, uint8_t version)
{
    const struct genlmsghdr generic = {.cmd = command, .version = version};

    *request = (struct request){.family = family, .len = GENL_HDRLEN};
    memcpy(request->body, &generic, sizeof(generic));
}

/* Returns where the attribute is. What does not fit makes the message too long to be sent. */
static size_t put(struct request *request, uint16_t type, const void *data, size_t len)
{
    const struct nlattr head = {.nla_type = type, .nla_len = (uint16_t)(ATTRIBUTE_HEAD + len)};
    const size_t at = request->len;

    request->len += ATTRIBUTE_HEAD + aligned(len);
    if (request->len > sizeof(request->body))
        return at;
    memcpy(request->body + at, &head, sizeof(head));
    if (len > 0)
        memcpy(request->body + at + ATTRIBUTE_HEAD, data, len);
    return at;
}

/* Everything since AT, which is an attribute, becomes part of it. */
static void nest(struct request *request, size_t at)
{
    const uint16_t len = (uint16_t)(request->len - at);

    if (request->len <= sizeof(request->body))
        memcpy(request->body + at + offsetof(struct nlattr, nla_len), &len, sizeof(len));
}

static void put_u64(struct request *request, uint16_t type, uint64_t value)
{
    put(request, type, &value, sizeof(value));
}

static void put_settings(struct request *request, const struct nbd_device_settings *settings)
{
    if (settings->identifier)
        put(request, NBD_ATTR_BACKEND_IDENTIFIER, settings->identifier,
            strlen(settings->identifier) + 1);
    if (settings->size > 0)
        put_u64(request, NBD_ATTR_SIZE_BYTES, settings->size);
    if (settings->block_bytes > 0)
        put_u64(request, NBD_ATTR_BLOCK_SIZE_BYTES, settings->block_bytes);
    if (settings->server_flags != 0)
        put_u64(request, NBD_ATTR_SERVER_FLAGS, settings->server_flags);
    if (settings->client_flags != 0)
        put_u64(request, NBD_ATTR_CLIENT_FLAGS, settings->client_flags);
    if (settings->dead_seconds > 0)
        put_u64(request, NBD_ATTR_DEAD_CONN_TIMEOUT, settings->dead_seconds);
    if (settings->socket > 0) {
        const uint32_t fd = (uint32_t)settings->socket;
        const size_t list = put(request, NBD_ATTR_SOCKETS | NLA_F_NESTED, NULL, 0);
        const size_t item = put(request, NBD_SOCK_ITEM | NLA_F_NESTED, NULL, 0);

        put(request, NBD_SOCK_FD, &fd, sizeof(fd));
        nest(request, item);
        nest(request, list);
    }
}

/* The attribute TYPE of a message, of LEN bytes, or false. */
static bool find(const struct nlmsghdr *message, uint16_t type, void *ret, size_t len)
{
    const uint8_t *at = (const uint8_t *)message + NLMSG_HDRLEN + GENL_HDRLEN;
    const uint8_t *end = (const uint8_t *)message + message->nlmsg_len;
    struct nlattr head;

    while (at < end && (size_t)(end - at) >= ATTRIBUTE_HEAD) {
        memcpy(&head, at, sizeof(head));
        if (head.nla_len < ATTRIBUTE_HEAD || head.nla_len > end - at)
            return false;
        if ((head.nla_type & NLA_TYPE_MASK) == type && head.nla_len == ATTRIBUTE_HEAD + len) {
            memcpy(ret, at + ATTRIBUTE_HEAD, len);
            return true;
        }
        at += aligned(head.nla_len);
    }
    return false;
}

static int send_request(int socket, struct request *request)
{
    struct nlmsghdr header = {
        .nlmsg_len = (uint32_t)(sizeof(header) + request->len),
        .nlmsg_type = request->family,
        .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
    };
    struct iovec parts[2] = {
        {.iov_base = &header, .iov_len = sizeof(header)},
        {.iov_base = request->body, .iov_len = request->len},
    };
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    if (request->len > sizeof(request->body))
        return -EMSGSIZE;
    return sendmsg(socket, &message, 0) < 0 ? -errno : 0;
}

/* Send, and take the answers up to the one that says how it went. An attribute WANTED of LEN bytes
 * is looked for in what comes before it (LEN 0: none). */
static int ask(int socket, struct request *request, uint16_t wanted, void *ret, size_t len)
{
    bool found = len == 0;
    int r = send_request(socket, request);

    if (r < 0)
        return r;
    for (;;) {
        union {
            struct nlmsghdr header;
            uint8_t bytes[ANSWER_MAX];
        } answer;
        ssize_t got = recv(socket, answer.bytes, sizeof(answer.bytes), MSG_DONTWAIT);

        if (got < 0)
            return errno == EAGAIN ? -EPROTO : -errno;
        if (!NLMSG_OK(&answer.header, (unsigned)got))
            return -EPROTO;
        if (answer.header.nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *end = NLMSG_DATA(&answer.header);

            return end->error < 0 ? end->error : found ? 0 : -EPROTO;
        }
        found = found || find(&answer.header, wanted, ret, len);
    }
}

/* The caller closes *ret_socket. */
static int open_family(int *ret_socket, uint16_t *ret_family, struct error *err)
{
    cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    struct request request;
    int r;

    if (fd < 0)
        return error_errno(err, -errno, "cannot talk to the kernel over netlink");
    begin(&request, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
    put(&request, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME, sizeof(NBD_GENL_FAMILY_NAME));
    r = ask(fd, &request, CTRL_ATTR_FAMILY_ID, ret_family, sizeof(*ret_family));
    if (r == -ENOENT)
        return error_set(err, r, "the kernel has no NBD (load it with \"modprobe nbd\")");
    if (r < 0)
        return error_errno(err, r, "cannot find NBD's netlink family");
    *ret_socket = steal_fd(&fd);
    return 0;
}

int nbd_device_probe(struct error *err)
{
    cleanup_close int fd = -1;
    uint16_t family = 0;

    return open_family(&fd, &family, err);
}

int nbd_device_connect(const struct nbd_device_settings *settings, unsigned *ret_index,
                       struct error *err)
{
    cleanup_close int fd = -1;
    struct request request;
    uint16_t family = 0;
    uint32_t index;
    int r = open_family(&fd, &family, err);

    if (r < 0)
        return r;
    begin(&request, family, NBD_CMD_CONNECT, NBD_GENL_VERSION);
    put_settings(&request, settings);
    r = ask(fd, &request, NBD_ATTR_INDEX, &index, sizeof(index));
    if (r < 0)
        return error_errno(err, r, "cannot make an NBD device");
    *ret_index = index;
    return 0;
}

static int change(uint8_t command, unsigned index, const struct nbd_device_settings *settings,
                  const char *what, struct error *err)
{
    const uint32_t number = index;
    cleanup_close int fd = -1;
    struct request request;
    uint16_t family = 0;
    int r = open_family(&fd, &family, err);

    if (r < 0)
        return r;
    begin(&request, family, command, NBD_GENL_VERSION);
    put(&request, NBD_ATTR_INDEX, &number, sizeof(number));
    put_settings(&request, settings);
    r = ask(fd, &request, 0, NULL, 0);
    return r < 0 ? error_errno(err, r, "cannot %s /dev/nbd%u", what, index) : 0;
}

int nbd_device_reconfigure(unsigned index, const struct nbd_device_settings *settings,
                           struct error *err)
{
    return change(NBD_CMD_RECONFIGURE, index, settings, "change", err);
}

int nbd_device_disconnect(unsigned index, struct error *err)
{
    const struct nbd_device_settings none = {0};

    return change(NBD_CMD_DISCONNECT, index, &none, "end", err);
}

int nbd_device_index(int fd, unsigned *ret_index, struct error *err)
{
    char link[32];
    char path[NBD_DEVICE_MAX];
    char rest;
    ssize_t len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof(path) - 1);
    if (len < 0)
        return error_errno(err, -errno, "cannot find the name of the NBD device");
    path[len] = '\0';
    if (sscanf(path, "/dev/nbd%u%c", ret_index, &rest) != 1)
        return error_set(err, -EINVAL, "'%s' is not an NBD device", path);
    return 0;
}

int nbd_device_of(dev_t device, unsigned *ret_index)
{
    char link[64];
    char path[256];
    char rest;
    const char *name;
    ssize_t len;

    snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(device), minor(device));
    len = readlink(link, path, sizeof(path) - 1);
    if (len < 0)
        return -ENODEV;
    path[len] = '\0';
    name = strrchr(path, '/');
    return name && sscanf(name, "/nbd%u%c", ret_index, &rest) == 1 ? 0 : -ENODEV;
}

bool nbd_device_shows(unsigned index, const char *identifier)
{
    char path[64];
    char text[REQUEST_MAX];
    cleanup_close int fd = -1;
    ssize_t len;

    snprintf(path, sizeof(path), "/sys/block/nbd%u/backend", index);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    len = read(fd, text, sizeof(text) - 1);
    if (len > 0 && text[len - 1] == '\n')
        len--;
    return len >= 0 && strlen(identifier) == (size_t)len &&
           memcmp(text, identifier, (size_t)len) == 0;
}
