/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/probe.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "volume/filesystem.h"

static void cleanup_probep(blkid_probe *probe)
{
    blkid_free_probe(*probe); /* accepts NULL */
}
#define cleanup_probe __attribute__((cleanup(cleanup_probep)))

/* The value of NAME, or NULL when the probe found none. */
static const char *probe_value(blkid_probe probe, const char *name)
{
    const char *value;

    return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 ? value : NULL;
}

int probe_signature(int fd, char ret_name[SIGNATURE_MAX], struct error *err)
{
    cleanup_probe blkid_probe probe = blkid_new_probe();
    const char *content, *table;
    int r;

    if (!probe)
        return error_errno(err, -ENOMEM, "cannot look for a file system");
    if (blkid_probe_set_device(probe, fd, 0, 0) != 0 ||
        blkid_probe_enable_superblocks(probe, 1) != 0 ||
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE) != 0 ||
        blkid_probe_enable_partitions(probe, 1) != 0)
        return error_set(err, -EIO, "cannot look for a file system: libblkid refuses the device");

    errno = 0;
    r = blkid_do_safeprobe(probe);
    if (r == 1)
        return -ENODATA;
    if (r == -2) {
        snprintf(ret_name, SIGNATURE_MAX, "several file systems at once");
        return -EMEDIUMTYPE;
    }
    if (r != 0)
        return error_errno(err, errno > 0 ? -errno : -EIO, "cannot look for a file system");

    content = probe_value(probe, "TYPE");
    table = probe_value(probe, "PTTYPE");
    if (content && table) {
        snprintf(ret_name, SIGNATURE_MAX, "%s and a partition table (%s)", content, table);
        return -EMEDIUMTYPE;
    }
    if (table)
        snprintf(ret_name, SIGNATURE_MAX, "a partition table (%s)", table);
    else
        snprintf(ret_name, SIGNATURE_MAX, "%s", content ? content : "something without a name");
    return 0;
}

int filesystem_probe(const char *device, enum filesystem *ret, struct error *err)
{
    cleanup_close int fd = open(device, O_RDONLY | O_CLOEXEC);
    char name[SIGNATURE_MAX];
    int r;

    if (fd < 0)
        return error_errno(err, -errno, "cannot open '%s'", device);
    r = probe_signature(fd, name, err);
    if (r == -ENODATA)
        return error_set(err, r, "'%s' carries no file system", device);
    if (r < 0 && r != -EMEDIUMTYPE)
        return error_wrap(err, "'%s'", device);
    if (r == 0 && filesystem_parse(name, ret) == 0)
        return 0;
    return error_set(err, -EMEDIUMTYPE, "'%s' carries %s: only ext4 and xfs are mounted", device,
                     name);
}
