/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/spawn.h"
#include "image/flatten.h"
#include "image/image.h"
#include "image/io.h"
#include "image/lifecycle.h"
#include "image/resize.h"
#include "image/rollback.h"
#include "image/snapshot.h"
#include "rados/cluster.h"

/* exerciser [--ops N] [--seed N] [--inject N]
 *
 * In the manner of fsx: random operations on an image through the driver, with a copy in memory of
 * what the image and each of its snapshots must hold. What is read is compared at once, snapshots
 * now and then, and at the end everything with what `rbd export` says. Small objects, so that every
 * request meets borders.
 *
 * The same seed makes the same operations. At a mismatch it prints the seed, the place and the last
 * operations, and ends with 1. --inject has every Nth message of the client break its connection.
 *
 *   clone    snapshot the image, clone it, damage the original, and go on with the clone
 *   flatten  and then remove the originals */

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

#define SIZE_FIRST (2 * MIB)
#define SIZE_MOST  (4 * MIB)
#define BLOCK      512
#define SNAPS_MAX  4
#define DEPTH_MAX  3
#define BATCH_MAX  12
#define LOG_LINES  400
#define MARK       "docker-volume-rados.exerciser"

struct state {
    char name[64]; /* of a snapshot */
    uint64_t size;
    uint8_t *data; /* SIZE_MOST bytes */
};

struct generation {
    char name[64];
    char id[IMAGE_ID_MAX];
    struct state now;
    struct state snaps[SNAPS_MAX];
    unsigned snap_count;
};

static struct {
    struct cluster *control;
    struct cluster *data;
    struct generation gens[DEPTH_MAX]; /* each a clone of the one before; the last is used */
    unsigned depth;
    struct image_io *io;
    uint64_t random;
    uint64_t seed;
    unsigned long op;
    unsigned names;
    char log[LOG_LINES][128];
    unsigned counts[32];
} x;

static uint64_t roll(uint64_t below)
{
    x.random ^= x.random << 13;
    x.random ^= x.random >> 7;
    x.random ^= x.random << 17;
    return (x.random >> 11) % below;
}

static struct generation *current(void)
{
    return &x.gens[x.depth - 1];
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char *line = x.log[x.op % LOG_LINES];
    int used = snprintf(line, sizeof(x.log[0]), "%lu: ", x.op);
    va_list args;

    va_start(args, format);
    vsnprintf(line + used, sizeof(x.log[0]) - (size_t)used, format, args);
    va_end(args);
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    unsigned long from = x.op >= LOG_LINES ? x.op - LOG_LINES + 1 : 0;
    va_list args;

    for (unsigned long op = from; op <= x.op; op++)
        printf("  %s\n", x.log[op % LOG_LINES]);
    printf("exerciser: seed %llu, operation %lu: ", (unsigned long long)x.seed, x.op);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    exit(1);
}

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct error err_ = {0};                                                                   \
        struct error *err = &err_;                                                                 \
        int r_ = (call);                                                                           \
        if (r_ < 0)                                                                                \
            die("%s: %d %s", #call, r_, err->text);                                                \
    } while (0)

static int64_t soon(void)
{
    return deadline_in_ms(60000);
}

static uint8_t *new_data(void)
{
    uint8_t *data = calloc(1, SIZE_MOST);

    if (!data)
        die("out of memory");
    return data;
}

static void compare(const char *what, const uint8_t *got, const uint8_t *wanted, uint64_t offset,
                    uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        if (got[i] != wanted[i])
            die("%s: byte %llu is %u, not %u (the range begins at %llu and has %llu)", what,
                (unsigned long long)(offset + i), got[i], wanted[i], (unsigned long long)offset,
                (unsigned long long)len);
    }
}

static void open_io(void)
{
    struct image_header header = {0};

    OK(image_read_header(x.control, current()->id, soon(), &header, err));
    if (header.size != current()->now.size)
        die("the image has %llu bytes, not %llu", (unsigned long long)header.size,
            (unsigned long long)current()->now.size);
    OK(image_io_open(x.data, &header, &x.io, err));
    image_header_free(&header);
}

static void close_io(void)
{
    image_io_close(x.io);
    x.io = NULL;
}

static void refresh_io(void)
{
    struct image_header header = {0};

    OK(image_read_header(x.control, current()->id, soon(), &header, err));
    OK(image_io_refresh(x.io, &header, err));
    image_header_free(&header);
}

static void range(uint64_t size, uint64_t most, uint64_t *offset, uint64_t *len)
{
    uint64_t blocks = size / BLOCK;

    *offset = roll(blocks);
    *len = 1 + roll(roll(8) ? 64 : most / BLOCK);
    if (*len > blocks - *offset)
        *len = blocks - *offset;
    *offset *= BLOCK;
    *len *= BLOCK;
}

static void run(enum image_io_kind kind, uint64_t offset, uint64_t len, void *buffer)
{
    int r = image_run(x.io, kind, offset, len, buffer);

    if (r < 0)
        die("request failed: %d", r);
}

static void do_read(void)
{
    static uint8_t buffer[SIZE_MOST];
    uint64_t offset, len;

    range(current()->now.size, MIB, &offset, &len);
    note("read %llu +%llu", (unsigned long long)offset, (unsigned long long)len);
    memset(buffer, 0xee, len);
    run(IMAGE_READ, offset, len, buffer);
    compare("read", buffer, current()->now.data + offset, offset, len);
}

static void do_write(void)
{
    uint64_t offset, len;

    range(current()->now.size, MIB, &offset, &len);
    note("write %llu +%llu", (unsigned long long)offset, (unsigned long long)len);
    memset(current()->now.data + offset, 1 + (int)roll(255), len);
    for (uint64_t i = 0; i < len; i += BLOCK) /* so that shifted bytes are seen */
        memcpy(current()->now.data + offset + i, &x.random, sizeof(x.random) - roll(4));
    run(IMAGE_WRITE, offset, len, current()->now.data + offset);
}

static void do_zeroes(bool discard)
{
    uint64_t offset, len;

    range(current()->now.size, MIB, &offset, &len);
    if (roll(3) == 0) { /* whole objects */
        uint64_t object = image_io_object_size(x.io);

        offset -= offset % object;
        len = object * (1 + roll(3));
        if (len > current()->now.size - offset)
            len = current()->now.size - offset;
    }
    note("%s %llu +%llu", discard ? "discard" : "zero", (unsigned long long)offset,
         (unsigned long long)len);
    memset(current()->now.data + offset, 0, len);
    run(discard ? IMAGE_DISCARD : IMAGE_WRITE_ZEROES, offset, len, NULL);
}

/* Several at a time. */

struct batch {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned under_way;
    int result;
};

struct part {
    struct image_request request;
    struct batch *batch;
};

static void part_done(struct image_request *request, int result)
{
    struct batch *batch = ((struct part *)request)->batch;

    pthread_mutex_lock(&batch->lock);
    batch->under_way--;
    if (result < 0)
        batch->result = result;
    pthread_cond_signal(&batch->ended);
    pthread_mutex_unlock(&batch->lock);
}

/* Neighbours, so that several need the same object; and a flush behind them. */
static void do_batch(void)
{
    struct batch batch = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    struct part parts[BATCH_MAX + 1] = {0};
    unsigned count = 2 + (unsigned)roll(BATCH_MAX - 1);
    uint64_t len = BLOCK * (1 + roll(64));
    uint64_t offset = roll(current()->now.size / BLOCK) * BLOCK;

    if (offset + count * len > current()->now.size)
        offset = current()->now.size - count * len;
    note("batch of %u %llu +%llu", count, (unsigned long long)offset, (unsigned long long)len);
    batch.under_way = count + 1;
    for (unsigned i = 0; i <= count; i++) {
        uint8_t *bytes = current()->now.data + offset + i * len;
        uint64_t what = roll(6);

        parts[i].batch = &batch;
        parts[i].request = (struct image_request){.kind = IMAGE_FLUSH, .done = part_done};
        if (i < count) {
            parts[i].request.kind = what < 4    ? IMAGE_WRITE
                                    : what == 4 ? IMAGE_DISCARD
                                                : IMAGE_WRITE_ZEROES;
            parts[i].request.offset = offset + i * len;
            parts[i].request.length = len;
            parts[i].request.buffer = what < 4 ? bytes : NULL;
            memset(bytes, what < 4 ? 1 + (int)roll(255) : 0, len);
        }
        image_submit(x.io, &parts[i].request);
    }
    pthread_mutex_lock(&batch.lock);
    while (batch.under_way > 0)
        pthread_cond_wait(&batch.ended, &batch.lock);
    pthread_mutex_unlock(&batch.lock);
    if (batch.result < 0)
        die("a request of a batch failed: %d", batch.result);
}

static void do_flush(void)
{
    note("flush");
    run(IMAGE_FLUSH, 0, 0, NULL);
}

static void do_reopen(void)
{
    note("reopen");
    close_io();
    open_io();
}

static void do_grow(void)
{
    struct state *now = &current()->now;
    uint64_t size = now->size + BLOCK * (1 + roll(256));

    if (size > SIZE_MOST)
        return;
    note("grow to %llu", (unsigned long long)size);
    OK(image_resize(x.control, current()->id, size, "exerciser", soon(), err));
    now->size = size; /* what is behind the old end is zeroes */
    refresh_io();
}

static void take_snapshot(struct state *ret)
{
    struct snapshot snapshot;

    *ret = (struct state){.size = current()->now.size, .data = new_data()};
    snprintf(ret->name, sizeof(ret->name), "s%u", x.names++);
    OK(snapshot_create(x.control, current()->id, ret->name, "exerciser", soon(), &snapshot, err));
    memcpy(ret->data, current()->now.data, SIZE_MOST);
    refresh_io();
}

static void remove_snapshot(struct generation *gen, unsigned i)
{
    bool trashed;

    OK(snapshot_remove(x.control, gen->id, gen->snaps[i].name, "exerciser", soon(), &trashed, err));
    free(gen->snaps[i].data);
    gen->snaps[i] = gen->snaps[--gen->snap_count];
}

static void do_snapshot(void)
{
    struct generation *gen = current();

    if (gen->snap_count == SNAPS_MAX) {
        unsigned i = (unsigned)roll(SNAPS_MAX);

        note("remove snapshot %s", gen->snaps[i].name);
        remove_snapshot(gen, i);
        refresh_io();
        return;
    }
    note("snapshot");
    take_snapshot(&gen->snaps[gen->snap_count]);
    gen->snap_count++;
}

static void check_snapshot(const struct generation *gen, const struct state *state)
{
    struct image_header header = {0};
    struct snapshot snapshot = {0};
    uint8_t *data = new_data();
    struct image_io *io = NULL;

    OK(image_read_header(x.control, gen->id, soon(), &header, err));
    OK(snapshot_find(x.control, gen->id, state->name, soon(), &snapshot, err));
    if (snapshot.size != state->size)
        die("snapshot %s has %llu bytes, not %llu", state->name, (unsigned long long)snapshot.size,
            (unsigned long long)state->size);
    OK(image_io_open_snapshot(x.data, &header, snapshot.id, snapshot.size, &io, err));
    if (image_run(io, IMAGE_READ, 0, state->size, data) < 0)
        die("cannot read snapshot %s", state->name);
    image_io_close(io);
    image_header_free(&header);
    compare(state->name, data, state->data, 0, state->size);
    free(data);
}

static void do_check_snapshot(void)
{
    const struct generation *gen = &x.gens[roll(x.depth)];
    const struct state *state;

    if (gen->snap_count == 0)
        return;
    state = &gen->snaps[roll(gen->snap_count)];
    note("look at snapshot %s of %s", state->name, gen->name);
    check_snapshot(gen, state);
}

static void do_rollback(void)
{
    struct generation *gen = current();
    struct rollback rollback = {.host = "exerciser"};
    struct rollback_result result;
    const struct state *state;
    bool trashed;

    if (gen->snap_count == 0)
        return;
    state = &gen->snaps[roll(gen->snap_count)];
    note("roll back to snapshot %s", state->name);
    rollback.snapshot = state->name;
    close_io();
    OK(image_rollback(x.control, gen->id, &rollback, soon(), &result, err));
    memset(gen->now.data, 0, SIZE_MOST);
    memcpy(gen->now.data, state->data, state->size);
    gen->now.size = state->size;
    OK(snapshot_remove(x.control, gen->id, result.safety, "exerciser", soon(), &trashed, err));
    open_io();
}

static void make_image(struct generation *gen, const struct rbd_parent *parent, uint64_t overlap)
{
    static const struct rbd_pair mark = {(char *)MARK, (char *)"1", 1};
    const struct image_spec spec = {.size = gen->now.size,
                                    .order = (uint8_t)(15 + roll(3)),
                                    .data_pool_id = -1,
                                    .metadata = &mark,
                                    .metadata_count = 1,
                                    .parent = parent,
                                    .overlap = overlap};
    struct image_header header = {0};

    snprintf(gen->name, sizeof(gen->name), "exerciser-%d-%u", getpid(), x.names++);
    OK(image_prepare(x.control, gen->name, &spec, soon(), &header, err));
    OK(image_publish(x.control, gen->name, header.id, soon(), err));
    snprintf(gen->id, sizeof(gen->id), "%s", header.id);
    image_header_free(&header);
}

/* The originals are not needed any more: remove them, newest first. */
static void remove_originals(void)
{
    for (unsigned i = x.depth - 1; i > 0; i--) {
        struct generation *gen = &x.gens[i - 1];

        while (gen->snap_count > 0)
            remove_snapshot(gen, gen->snap_count - 1);
        OK(image_unpublish(x.control, gen->name, gen->id, MARK, soon(), err));
        OK(image_delete(x.control, gen->id, soon(), err));
        free(gen->now.data);
    }
    x.gens[0] = x.gens[x.depth - 1];
    x.depth = 1;
}

static void do_flatten(void)
{
    const struct flatten flatten = {.host = "exerciser"};

    note("flatten");
    close_io();
    OK(image_flatten(x.control, current()->id, &flatten, soon(), err));
    remove_originals();
    open_io();
}

static void do_clone(void)
{
    struct rbd_parent parent = {.pool_id = cluster_pool_id(x.control)};
    struct generation *gen = current();
    struct generation *next = gen + 1;
    struct snapshot snapshot = {0};
    struct state *source;
    bool trashed;

    if (x.depth == DEPTH_MAX || gen->snap_count == SNAPS_MAX)
        return;
    note("clone");
    source = &gen->snaps[gen->snap_count++];
    take_snapshot(source);
    OK(snapshot_find(x.control, gen->id, source->name, soon(), &snapshot, err));
    parent.snap_id = snapshot.id;
    snprintf(parent.image_id, sizeof(parent.image_id), "%s", gen->id);
    *next = (struct generation){.now = {.size = source->size, .data = new_data()}};
    memcpy(next->now.data, source->data, source->size);
    if (roll(2) && source->size + 64 * KIB <= SIZE_MOST)
        next->now.size += 64 * KIB;
    make_image(next, &parent, source->size);
    for (unsigned i = 0; i < 20; i++)
        roll(2) ? do_write() : do_zeroes(true);
    if (roll(2)) { /* the clone keeps it alive */
        OK(snapshot_remove(x.control, gen->id, source->name, "exerciser", soon(), &trashed, err));
        free(source->data);
        gen->snap_count--;
    }
    close_io();
    x.depth++;
    open_io();
}

/* What `rbd export` writes is the state. */
static void check_export(const char *spec, const struct state *state)
{
    char path[] = "/tmp/exerciser-XXXXXX";
    const char *argv[] = {"rbd",    "--conf", getenv("CEPH_CONF"), "--pool",
                          "docker", "export", "--no-progress",     spec,
                          path,     NULL};
    struct spawn_result result;
    uint8_t *data = new_data();
    struct stat st;
    int fd;

    if (!mkdtemp(path))
        die("mkdtemp: %s", strerror(errno));
    rmdir(path);
    OK(spawn_run(argv, NULL, -1, soon(), &result, err));
    if (result.status != 0)
        die("rbd export %s: %s", spec, result.output);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size != state->size ||
        pread(fd, data, state->size, 0) != (ssize_t)state->size)
        die("rbd export %s: not %llu bytes", spec, (unsigned long long)state->size);
    close(fd);
    compare(spec, data, state->data, 0, state->size);
    free(data);
}

static void check_all(void)
{
    close_io();
    for (unsigned i = 0; i < x.depth; i++) {
        struct generation *gen = &x.gens[i];

        note("export %s", gen->name);
        check_export(gen->name, &gen->now);
        for (unsigned j = 0; j < gen->snap_count; j++) {
            char spec[160];

            snprintf(spec, sizeof(spec), "%s@%s", gen->name, gen->snaps[j].name);
            check_export(spec, &gen->snaps[j]);
            check_snapshot(gen, &gen->snaps[j]);
        }
    }
    open_io();
}

static void do_discard(void)
{
    do_zeroes(true);
}

static void do_write_zeroes(void)
{
    do_zeroes(false);
}

/* How often, of all together. */
static const struct {
    const char *name;
    void (*run)(void);
    unsigned weight;
} operations[] = {
    {"read", do_read, 3000},
    {"write", do_write, 3000},
    {"batch", do_batch, 1200},
    {"discard", do_discard, 1000},
    {"write-zeroes", do_write_zeroes, 800},
    {"flush", do_flush, 500},
    {"reopen", do_reopen, 100},
    {"look at a snapshot", do_check_snapshot, 80},
    {"grow", do_grow, 20},
    {"snapshot", do_snapshot, 40},
    {"roll back", do_rollback, 16},
    {"clone", do_clone, 16},
    {"flatten", do_flatten, 8},
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static void one(void)
{
    unsigned total = 0;
    uint64_t which;

    for (size_t i = 0; i < OPERATIONS; i++)
        total += operations[i].weight;
    which = roll(total);
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (which < operations[i].weight) {
            note("(nothing)");
            operations[i].run();
            x.counts[i]++;
            return;
        }
        which -= operations[i].weight;
    }
}

/* A ceph.conf whose client breaks every INJECT-th message's connection. */
static const char *conf_with_faults(const char *conf, const char *inject)
{
    static char path[] = "/tmp/exerciser-conf-XXXXXX";
    int fd = mkstemp(path);
    FILE *from = fopen(conf, "re");
    FILE *to = fd < 0 ? NULL : fdopen(fd, "w");
    char line[4096];

    if (!from || !to)
        die("cannot copy %s: %s", conf, strerror(errno));
    while (fgets(line, sizeof(line), from))
        fputs(line, to);
    fprintf(to, "\n[client]\nms_inject_socket_failures = %s\n", inject);
    fclose(from);
    fclose(to);
    return path;
}

static void connect_all(const char *inject)
{
    struct cluster_settings settings = {
        .conf = getenv("CEPH_CONF"), .client = "docker", .pool = "docker", .namespace = ""};

    if (!settings.conf)
        die("CEPH_CONF is not set: export CEPH_CONF=$(scripts/dev-cluster conf)");
    if (inject)
        settings.conf = conf_with_faults(settings.conf, inject);
    OK(cluster_connect(&settings, CLUSTER_CONTROL, soon(), &x.control, err));
    OK(cluster_connect(&settings, CLUSTER_DATA, soon(), &x.data, err));
    if (inject)
        unlink(settings.conf);
}

static void clean_up(void)
{
    do_flatten();
    close_io();
    while (current()->snap_count > 0)
        remove_snapshot(current(), current()->snap_count - 1);
    OK(image_unpublish(x.control, current()->name, current()->id, MARK, soon(), err));
    OK(image_delete(x.control, current()->id, soon(), err));
    free(current()->now.data);
    cluster_close(x.data);
    cluster_close(x.control);
}

int main(int argc, char **argv)
{
    unsigned long ops = 1000;
    const char *inject = NULL;
    int64_t started;

    x.seed = (uint64_t)time(NULL) ^ ((uint64_t)getpid() << 32);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--ops") == 0)
            ops = strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            x.seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--inject") == 0)
            inject = argv[i + 1];
        else
            die("unknown option %s", argv[i]);
    }
    x.random = x.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("exerciser: %lu operations, seed %llu\n", ops, (unsigned long long)x.seed);
    note("start");
    connect_all(inject);
    x.depth = 1;
    x.gens[0].now = (struct state){.size = SIZE_FIRST, .data = new_data()};
    make_image(&x.gens[0], NULL, 0);
    open_io();
    started = clock_now();
    for (x.op = 1; x.op <= ops; x.op++)
        one();
    check_all();
    printf("exerciser: 0 mismatches in %lu operations, %.1f s:", ops,
           (double)(clock_now() - started) / (double)NS_PER_S);
    for (size_t i = 0; i < OPERATIONS; i++)
        printf(" %u %s%s", x.counts[i], operations[i].name, i + 1 < OPERATIONS ? "," : "\n");
    clean_up();
    return 0;
}
