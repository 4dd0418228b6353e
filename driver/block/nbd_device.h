/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Making, changing and ending NBD devices, over generic netlink. Needs CAP_SYS_ADMIN. */

/* The name under which a device's descriptor is kept (keeper.h). */
#define NBD_DEVICE_KEPT "nbd"

#define NBD_DEVICE_MAX 32 /* bytes of "/dev/nbd0" */

/* Does a device end when its last user closes it? */
enum nbd_device_last_close { NBD_DEVICE_UNCHANGED, NBD_DEVICE_STAYS, NBD_DEVICE_ENDS };

/* What is zero or NULL is not told to the kernel. */
struct nbd_device_settings {
    const char *identifier; /* what the device shows; the kernel changes it only for who knows it */
    uint64_t size;          /* bytes */
    uint32_t block_bytes;   /* logical block */
    uint32_t server_flags;  /* NBD_FLAG_* */
    enum nbd_device_last_close last_close; /* a new one stays */
    uint64_t dead_seconds; /* how long requests wait for a connection while there is none */
    int socket;            /* the kernel's end of the connection; still the caller's own. 0: none */
};

/* What this machine needs for it: 0, or negative errno with err naming what is missing. Kernels
 * whose module says which netlink family it is load it at this. */
int nbd_device_probe(struct error *err);

/* Make one that is free into ours. */
int nbd_device_connect(const struct nbd_device_settings *settings, unsigned *ret_index,
                       struct error *err);

/* Change it. With a socket: in place of the connection that is dead; the kernel does not say
 * when none is, it closes the socket. */
int nbd_device_reconfigure(unsigned index, const struct nbd_device_settings *settings,
                           struct error *err);

/* End it, whoever has it open: all its requests fail from now on. */
int nbd_device_disconnect(unsigned index, struct error *err);

/* The device behind FD, which may have been opened with O_PATH, by another process too. */
int nbd_device_index(int fd, unsigned *ret_index, struct error *err);

/* The device that the kernel numbers DEVICE; -ENODEV when that is none of NBD's. */
int nbd_device_of(dev_t device, unsigned *ret_index);

/* Does device INDEX show IDENTIFIER? */
bool nbd_device_shows(unsigned index, const char *identifier);
