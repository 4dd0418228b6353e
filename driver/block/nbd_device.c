/* SPDX-License-Identifier: Apache-2.0 */
#include "block/nbd_device.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/nbd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"

/* The kernel works on a message while it is being sent, so that its answers are there when sending
 * returns, and nothing here waits for them. */

#define MESSAGE_MAX 8192 /* bytes */

union message {
    struct nlmsghdr header;
    char bytes[MESSAGE_MAX];
};

/* An attribute of LEN bytes that an answer should have, and whether it had. */
struct wanted {
    uint16_t type;
    size_t len;
    void *value;
    bool found;
};

static void cleanup_socketp(struct mnl_socket **socket)
{
    if (*socket)
        mnl_socket_close(*socket);
}

#define cleanup_socket __attribute__((cleanup(cleanup_socketp)))

static struct nlmsghdr *begin(union message *buffer, uint16_t family, uint8_t command,
                              uint8_t version)
{
    struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
    struct genlmsghdr *generic = mnl_nlmsg_put_extra_header(request, sizeof(*generic));

    request->nlmsg_type = family;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    generic->cmd = command;
    generic->version = version;
    return request;
}

/* -EMSGSIZE when the identifier is too long for a message. */
static int put_settings(struct nlmsghdr *request, const struct nbd_device_settings *settings)
{
    if (settings->size > 0)
        mnl_attr_put_u64(request, NBD_ATTR_SIZE_BYTES, settings->size);
    if (settings->block_bytes > 0)
        mnl_attr_put_u64(request, NBD_ATTR_BLOCK_SIZE_BYTES, settings->block_bytes);
    if (settings->server_flags != 0)
        mnl_attr_put_u64(request, NBD_ATTR_SERVER_FLAGS, settings->server_flags);
    if (settings->last_close != NBD_DEVICE_UNCHANGED)
        mnl_attr_put_u64(request, NBD_ATTR_CLIENT_FLAGS,
                         settings->last_close == NBD_DEVICE_ENDS ? NBD_CFLAG_DISCONNECT_ON_CLOSE
                                                                 : 0);
    if (settings->dead_seconds > 0)
        mnl_attr_put_u64(request, NBD_ATTR_DEAD_CONN_TIMEOUT, settings->dead_seconds);
    if (settings->socket > 0) {
        struct nlattr *list = mnl_attr_nest_start(request, NBD_ATTR_SOCKETS);
        struct nlattr *item = mnl_attr_nest_start(request, NBD_SOCK_ITEM);

        mnl_attr_put_u32(request, NBD_SOCK_FD, (uint32_t)settings->socket);
        mnl_attr_nest_end(request, item);
        mnl_attr_nest_end(request, list);
    }
    if (settings->identifier &&
        !mnl_attr_put_strz_check(request, sizeof(union message), NBD_ATTR_BACKEND_IDENTIFIER,
                                 settings->identifier))
        return -EMSGSIZE;
    return 0;
}

static int on_attribute(const struct nlattr *attribute, void *arg)
{
    struct wanted *wanted = arg;

    if (mnl_attr_get_type(attribute) == wanted->type &&
        mnl_attr_get_payload_len(attribute) == wanted->len) {
        memcpy(wanted->value, mnl_attr_get_payload(attribute), wanted->len);
        wanted->found = true;
    }
    return MNL_CB_OK;
}

static int on_message(const struct nlmsghdr *message, void *arg)
{
    return mnl_attr_parse(message, sizeof(struct genlmsghdr), on_attribute, arg);
}

/* Send, and take the answers up to the one that says how it went. WANTED, or NULL, must be in what
 * comes before it. */
static int ask(const struct mnl_socket *socket, const struct nlmsghdr *request,
               struct wanted *wanted)
{
    union message answer;

    if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        const ssize_t got = mnl_socket_recvfrom(socket, &answer, sizeof(answer));
        int r;

        if (got < 0)
            return errno == EAGAIN ? -EPROTO : -errno;
        r = mnl_cb_run(&answer, (size_t)got, 0, 0, wanted ? on_message : NULL, wanted);
        if (r == MNL_CB_ERROR)
            return -errno;
        if (r == MNL_CB_STOP)
            return !wanted || wanted->found ? 0 : -EPROTO;
    }
}

/* The caller closes *ret_socket. */
static int open_family(struct mnl_socket **ret_socket, uint16_t *ret_family, struct error *err)
{
    cleanup_socket struct mnl_socket *socket =
        mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct wanted wanted = {CTRL_ATTR_FAMILY_ID, sizeof(*ret_family), ret_family, false};
    union message buffer;
    struct nlmsghdr *request;
    int r;

    if (!socket)
        return error_errno(err, -errno, "cannot talk to the kernel over netlink");
    request = begin(&buffer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
    mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME);
    r = ask(socket, request, &wanted);
    if (r == -ENOENT)
        return error_set(err, r, "the kernel has no NBD (load it with \"modprobe nbd\")");
    if (r < 0)
        return error_errno(err, r, "cannot find NBD's netlink family");
    *ret_socket = steal_pointer(&socket);
    return 0;
}

int nbd_device_probe(struct error *err)
{
    cleanup_socket struct mnl_socket *socket = NULL;
    uint16_t family = 0;

    return open_family(&socket, &family, err);
}

int nbd_device_connect(const struct nbd_device_settings *settings, unsigned *ret_index,
                       struct error *err)
{
    cleanup_socket struct mnl_socket *socket = NULL;
    uint16_t family = 0;
    uint32_t index = 0;
    struct wanted wanted = {NBD_ATTR_INDEX, sizeof(index), &index, false};
    union message buffer;
    struct nlmsghdr *request;
    int r = open_family(&socket, &family, err);

    if (r < 0)
        return r;
    request = begin(&buffer, family, NBD_CMD_CONNECT, NBD_GENL_VERSION);
    r = put_settings(request, settings);
    if (r == 0)
        r = ask(socket, request, &wanted);
    if (r < 0)
        return error_errno(err, r, "cannot make an NBD device");
    *ret_index = index;
    return 0;
}

static int change(uint8_t command, unsigned index, const struct nbd_device_settings *settings,
                  const char *what, struct error *err)
{
    cleanup_socket struct mnl_socket *socket = NULL;
    uint16_t family = 0;
    union message buffer;
    struct nlmsghdr *request;
    int r = open_family(&socket, &family, err);

    if (r < 0)
        return r;
    request = begin(&buffer, family, command, NBD_GENL_VERSION);
    mnl_attr_put_u32(request, NBD_ATTR_INDEX, index);
    r = put_settings(request, settings);
    if (r == 0)
        r = ask(socket, request, NULL);
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
    char text[MESSAGE_MAX];
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
