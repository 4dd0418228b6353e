/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/resize.h"

#include <errno.h>

#include "image/resize.h"

static int check_size(const struct volume_facts *facts, uint64_t size, struct error *err)
{
    struct volume_options options;
    char now[32];
    char wanted[32];
    int r;

    r = volume_check_changeable(facts, "resized", err);
    if (r < 0)
        return r;
    size_format(facts->size, now, sizeof(now));
    size_format(size, wanted, sizeof(wanted));
    if (size < facts->size)
        return error_set(err, -EINVAL,
                         "volume '%s' has %s and cannot be made smaller (%s): the file system on "
                         "it would lose its end; make a new volume of that size and copy the files",
                         facts->name, now, wanted);
    if (facts->unwritable[0] != '\0')
        return error_set(err, -EOPNOTSUPP, "volume '%s' cannot be resized: %s", facts->name,
                         facts->unwritable);
    if (!facts->formatted)
        return 0;
    volume_options_init(&options, size, facts->fs);
    options.order = (uint8_t)__builtin_ctzll(facts->object_size);
    r = volume_options_check(&options, err);
    volume_options_free(&options);
    return r < 0 ? error_wrap(err, "volume '%s'", facts->name) : 0;
}

int volume_resize(struct cluster *cluster, const char *name, uint64_t size, const char *host,
                  int64_t deadline, struct volume_facts *ret_facts, struct error *err)
{
    int r = volume_read(cluster, name, deadline, ret_facts, err);

    if (r == -ENOENT)
        return error_set(err, r, "no such volume: '%s'", name);
    if (r == 0)
        r = check_size(ret_facts, size, err);
    if (r < 0)
        return r;
    r = image_resize(cluster, ret_facts->id, size, host, deadline, err);
    cluster_explain(cluster, r, err);
    return r < 0 ? error_wrap(err, "volume '%s'", name) : 0;
}
