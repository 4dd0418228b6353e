/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "image/io.h"
#include "image/lifecycle.h"
#include "volume/clone.h"
#include "volume/filesystem.h"
#include "volume/metadata.h"
#include "volume/volume.h"

/* Creation: format a sparse local file, make a hidden image, store the file's data in it, give the
 * image its name. The name is the last step, so a volume is never seen half-made, and of two
 * clients that make the same one, exactly one wins. */

/* The file is read in pieces of this size; pieces that are all zeroes are not stored. */
#define COPY_BLOCK 4096

/* Bytes written with one request, at most. */
#define COPY_MAX (1024 * 1024)

static const char zeroes[COPY_BLOCK];

/* Compare one option that was asked for with what the volume has. */
static int expect(unsigned given, unsigned bit, const char *option, const char *name,
                  const char *wanted, const char *is, struct error *err)
{
    if (!(given & bit) || strcmp(wanted, is) == 0)
        return 0;
    return error_set(err, -EEXIST,
                     "volume '%s' exists with %s '%s', not '%s': leave the option out to use it as "
                     "it is, or choose another name",
                     name, option, is, wanted);
}

static int expect_labels(const struct volume_options *options, const struct volume_facts *facts,
                         struct error *err)
{
    for (size_t i = 0; i < options->labels.count; i++) {
        const struct rbd_pair *wanted = &options->labels.items[i];
        const char *is = "";
        char option[256];
        int r;

        for (size_t j = 0; j < facts->labels.count; j++) {
            if (strcmp(facts->labels.items[j].key, wanted->key) == 0)
                is = facts->labels.items[j].value;
        }
        snprintf(option, sizeof(option), "label.%s", wanted->key);
        r = expect(1, 1, option, facts->name, wanted->value, is, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_compatible(const struct volume_options *options, const struct volume_facts *facts,
                            struct error *err)
{
    char size[2][32];
    char object_size[2][32];
    char uid[16];
    char gid[16];
    char mode[16];
    int r = 0;

    size_format(options->size, size[0], sizeof(size[0]));
    size_format(facts->size, size[1], sizeof(size[1]));
    size_format(UINT64_C(1) << options->order, object_size[0], sizeof(object_size[0]));
    size_format(facts->object_size, object_size[1], sizeof(object_size[1]));
    snprintf(uid, sizeof(uid), "%u", (unsigned)options->uid);
    snprintf(gid, sizeof(gid), "%u", (unsigned)options->gid);
    snprintf(mode, sizeof(mode), "%04o", (unsigned)options->mode);

    const struct {
        unsigned bit;
        const char *option;
        const char *wanted;
        const char *is;
    } checks[] = {
        {OPTION_SIZE, "size", size[0], size[1]},
        {OPTION_FS, "fs", filesystem_name(options->fs),
         facts->formatted ? filesystem_name(facts->fs) : "unknown"},
        {OPTION_MOUNT_OPTIONS, "mount-options", options->mount_options, facts->mount_options},
        {OPTION_UID, "uid", uid, facts->uid},
        {OPTION_GID, "gid", gid, facts->gid},
        {OPTION_MODE, "mode", mode, facts->mode},
        {OPTION_OWNER, "owner", options->owner, facts->owner},
        {OPTION_DATA_POOL, "data-pool", options->data_pool, facts->data_pool},
        {OPTION_OBJECT_SIZE, "object-size", object_size[0], object_size[1]},
        {OPTION_FROM, "from", options->from, facts->from},
        {OPTION_ACCESS, "access", volume_access_name(options->read_only),
         volume_access_name(facts->read_only)},
        {OPTION_PROTECT, "protect", options->protect ? "true" : "false",
         facts->protect ? "true" : "false"},
    };

    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && r == 0; i++)
        r = expect(options->given, checks[i].bit, checks[i].option, facts->name, checks[i].wanted,
                   checks[i].is, err);
    return r < 0 ? r : expect_labels(options, facts, err);
}

/* 0: it exists and fits; -EEXIST: exists and differs; -ENOENT: does not exist. */
static int check_existing(struct cluster *cluster, const char *name,
                          const struct volume_options *options, int64_t deadline, struct error *err)
{
    cleanup_volume_facts struct volume_facts facts = {0};
    int r = volume_read(cluster, name, deadline, &facts, err);

    return r < 0 ? r : check_compatible(options, &facts, err);
}

/* Writes under way, all of which end before copy_data returns. */
struct copy {
    struct image_io *io;
    atomic_int result;
};

struct copy_request {
    struct image_request request;
    struct copy *copy;
};

static void copy_done(struct image_request *request, int result)
{
    struct copy_request *cr = (struct copy_request *)request;
    int none = 0;

    if (result < 0)
        atomic_compare_exchange_strong(&cr->copy->result, &none, result);
    free(cr);
}

static int copy_write(struct copy *copy, uint64_t offset, char *data, size_t len)
{
    struct copy_request *cr = calloc(1, sizeof(*cr));

    if (!cr)
        return -ENOMEM;
    cr->copy = copy;
    cr->request = (struct image_request){
        .kind = IMAGE_WRITE, .offset = offset, .length = len, .buffer = data, .done = copy_done};
    image_submit(copy->io, &cr->request); /* takes the bytes, so DATA may be used again */
    return atomic_load(&copy->result);
}

/* Store LEN bytes that belong at OFFSET, leaving out blocks of zeroes. */
static int copy_blocks(struct copy *copy, uint64_t offset, char *data, size_t len)
{
    size_t at = 0;
    int r = 0;

    while (at < len && r == 0) {
        size_t end = at;

        while (end < len && memcmp(data + end, zeroes, COPY_BLOCK) != 0)
            end += COPY_BLOCK;
        if (end > at)
            r = copy_write(copy, offset + at, data + at, end - at);
        at = end + COPY_BLOCK;
    }
    return r;
}

/* FROM and the file's size are multiples of COPY_BLOCK. */
static int copy_extent(struct copy *copy, int fd, uint64_t from, uint64_t to, char *buffer)
{
    int r = 0;

    while (from < to && r == 0) {
        size_t want = to - from < COPY_MAX ? (size_t)(to - from) : COPY_MAX;
        ssize_t got = pread(fd, buffer, want, (off_t)from);

        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        if ((size_t)got < want) /* a block cut by the read would shift all that follow */
            got -= got % COPY_BLOCK;
        if (got == 0)
            return -EIO;
        r = copy_blocks(copy, from, buffer, (size_t)got);
        from += (uint64_t)got;
    }
    return r;
}

/* Store the data of the sparse file FD in the image. */
static int copy_data(struct cluster *cluster, const struct image_header *header, int fd,
                     struct error *err)
{
    struct copy copy = {0};
    cleanup_free char *buffer = malloc(COPY_MAX);
    off_t at = 0;
    int r;

    if (!buffer)
        return error_set(err, -ENOMEM, "out of memory");
    r = image_io_open(cluster, header, &copy.io, err);
    if (r < 0)
        return r;
    while (r == 0) {
        off_t from = lseek(fd, at, SEEK_DATA);
        off_t to = from < 0 ? from : lseek(fd, from, SEEK_HOLE);

        if (from < 0 && errno == ENXIO) /* no more data */
            break;
        if (to < 0) {
            r = -errno;
            break;
        }
        from -= from % COPY_BLOCK;
        to += (COPY_BLOCK - to % COPY_BLOCK) % COPY_BLOCK;
        r = copy_extent(&copy, fd, (uint64_t)from, (uint64_t)to, buffer);
        at = to;
    }
    image_io_close(copy.io); /* waits for all writes */
    if (r == 0)
        r = atomic_load(&copy.result);
    return r < 0 ? error_errno(err, r, "cannot store the new file system") : 0;
}

/* An empty sparse file. mkfs.ext4 leaves little in it, but syncs it several times, which costs
 * nothing in memory; mkfs.xfs writes its log's zeroes, which a real file keeps as a hole. */
static int open_scratch(const struct volume_options *options, const char *scratch_dir, int *ret_fd,
                        struct error *err)
{
    cleanup_close int fd = options->fs == FILESYSTEM_EXT4
                               ? memfd_create("new-volume", MFD_CLOEXEC)
                               : open(scratch_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, (off_t)options->size) < 0)
        return error_errno(err, -errno, "cannot make a scratch file in %s", scratch_dir);
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int format_scratch(const struct volume_options *options, const char *scratch_dir,
                          int64_t deadline, int *ret_fd, struct error *err)
{
    cleanup_close int fd = -1;
    int r = open_scratch(options, scratch_dir, &fd, err);

    if (r == 0)
        r = filesystem_format(options, fd, deadline, err);
    if (r == 0)
        *ret_fd = steal_fd(&fd);
    return r;
}

static int make_image(struct cluster *cluster, const char *name,
                      const struct volume_options *options, const struct image_spec *spec,
                      const char *scratch_dir, int64_t deadline, struct error *err)
{
    cleanup_image_header struct image_header header = {0};
    cleanup_close int fd = -1;
    int r = format_scratch(options, scratch_dir, deadline, &fd, err);

    if (r == 0)
        r = image_prepare(cluster, name, spec, deadline, &header, err);
    if (r < 0)
        return r;
    r = copy_data(cluster, &header, fd, err);
    if (r == 0)
        r = image_publish(cluster, name, header.id, deadline, err);
    if (r < 0)
        image_abandon(cluster, header.id, r, NULL);
    return r;
}

static int create_clone(struct cluster *cluster, const char *name,
                        const struct volume_options *options, int64_t deadline, struct error *err)
{
    int r = volume_clone_from(cluster, name, options, deadline, err);

    return r == -EEXIST ? check_existing(cluster, name, options, deadline, err) : r;
}

int volume_create(struct cluster *cluster, const char *name, const struct volume_options *options,
                  const char *scratch_dir, int64_t deadline, struct error *err)
{
    struct image_spec spec = {.size = options->size, .order = options->order, .data_pool_id = -1};
    struct rbd_pairs metadata = {0};
    int r = volume_name_check(name, err);

    if (r == 0 && !options->from[0]) /* of a clone only its source can tell */
        r = volume_options_check(options, err);
    if (r < 0)
        return r;
    r = check_existing(cluster, name, options, deadline, err);
    if (r != -ENOENT)
        return r;
    if (options->from[0])
        return create_clone(cluster, name, options, deadline, err);
    if (options->data_pool[0]) {
        spec.data_pool_id = cluster_pool_lookup(cluster, options->data_pool, err);
        if (spec.data_pool_id < 0)
            return (int)spec.data_pool_id;
    }
    if (metadata_from_options(options, &metadata) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    spec.metadata = metadata.items;
    spec.metadata_count = metadata.count;
    r = make_image(cluster, name, options, &spec, scratch_dir, deadline, err);
    rbd_pairs_free(&metadata);
    if (r == -EEXIST) /* another client was faster */
        r = check_existing(cluster, name, options, deadline, err);
    cluster_explain(cluster, r, err);
    return r < 0 ? error_wrap(err, "cannot create volume '%s'", name) : 0;
}
