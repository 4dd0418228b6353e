/* SPDX-License-Identifier: Apache-2.0 */

/* raw_librados: what librados gives to a client that does nothing else, in the pattern of an RBD
 * image: objects of 4 MiB, one operation per request, DEPTH of them under way. It is the measure
 * for everything that is stacked on librados.
 *
 * usage: raw_librados CONF CLIENT POOL PREFIX KIND BLOCK DEPTH REGION SECONDS
 *
 *   PREFIX   of the objects: PREFIX.0000000000000000 and so on
 *   KIND     read, write, sync (a write, then a flush), mix (7 reads to 3 writes), discard: in a
 *            random order, another one each time, that meets each block once before any again, as
 *            fio's does; seqread, seqwrite: one by one
 *   BLOCK    bytes of a request, a divisor of 4 MiB
 *   REGION   bytes that are used, from offset 0: a multiple of BLOCK
 *   SECONDS  how long; 0: each block once
 *
 * Prints one JSON object: requests, seconds, mean and 99th percentile of the time from handing a
 * request to librados until this program has its result, and user + system time per request. */

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <rados/librados.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define OBJECT_BYTES (UINT64_C(4) << 20)
#define DEPTH_MAX    256
#define NAME_SIZE    128

struct bench {
    const char *prefix, *kind;
    uint64_t block, blocks;
    unsigned depth;
    rados_t cluster;
    rados_ioctx_t io;
    uint64_t *order; /* in which the blocks are met; NULL: one by one */

    uint64_t submitted;
    uint32_t *latency_ns; /* of each request done, in the order of their ends */
    size_t done, room;

    pthread_mutex_t lock; /* ended */
    pthread_cond_t wake;
    struct slot *ended;
};

struct slot {
    struct bench *bench;
    rados_completion_t completion;
    char *buffer;
    int64_t started;
    bool is_read;
    struct slot *next;
};

static void check(int r, const char *what)
{
    if (r < 0) {
        errno = -r;
        err(1, "%s", what);
    }
}

static bool is_kind(const struct bench *bench, const char *kind)
{
    return strcmp(bench->kind, kind) == 0;
}

static void on_complete(rados_completion_t completion, void *arg)
{
    struct slot *slot = arg;
    WITH_LOCK(&slot->bench->lock);

    (void)completion;
    slot->next = slot->bench->ended;
    slot->bench->ended = slot;
    pthread_cond_signal(&slot->bench->wake);
}

static void object_of(const struct bench *bench, uint64_t offset, char ret[NAME_SIZE])
{
    snprintf(ret, NAME_SIZE, "%s.%016llx", bench->prefix,
             (unsigned long long)(offset / OBJECT_BYTES));
}

static int submit_discard(struct slot *slot, const char *object, uint64_t from)
{
    rados_write_op_t op = rados_create_write_op();
    int r;

    rados_write_op_zero(op, from, slot->bench->block);
    r = rados_aio_write_op_operate(op, slot->bench->io, slot->completion, object, NULL, 0);
    rados_release_write_op(op);
    return r;
}

static void submit(struct slot *slot)
{
    struct bench *bench = slot->bench;
    const uint64_t n = bench->submitted++;
    const uint64_t turn = n % bench->blocks;
    const uint64_t offset = (bench->order ? bench->order[turn] : turn) * bench->block;
    const uint64_t from = offset % OBJECT_BYTES;
    char object[NAME_SIZE];
    int r;

    object_of(bench, offset, object);
    slot->is_read = is_kind(bench, "read") || is_kind(bench, "seqread") ||
                    (is_kind(bench, "mix") && n * 7 % 10 < 7);
    slot->started = clock_now();
    check(rados_aio_create_completion2(slot, on_complete, &slot->completion), "completion");
    if (is_kind(bench, "discard"))
        r = submit_discard(slot, object, from);
    else if (slot->is_read)
        r = rados_aio_read(bench->io, object, slot->completion, slot->buffer, bench->block, from);
    else
        r = rados_aio_write(bench->io, object, slot->completion, slot->buffer, bench->block, from);
    check(r, "submit");
}

static struct slot *wait_for_some(struct bench *bench)
{
    struct slot *all;
    WITH_LOCK(&bench->lock);

    while (!bench->ended)
        pthread_cond_wait(&bench->wake, &bench->lock);
    all = bench->ended;
    bench->ended = NULL;
    return all;
}

static void finish(struct slot *slot)
{
    struct bench *bench = slot->bench;
    int r = rados_aio_get_return_value(slot->completion);

    check(r, "request");
    if (slot->is_read && (uint64_t)r != bench->block)
        errx(1, "a read returned %d bytes: the objects are not filled", r);
    rados_aio_release(slot->completion);
    if (is_kind(bench, "sync"))
        check(rados_aio_flush(bench->io), "flush");
    if (bench->done == bench->room) {
        bench->room = bench->room ? bench->room * 2 : 65536;
        bench->latency_ns = reallocarray(bench->latency_ns, bench->room, sizeof(uint32_t));
        if (!bench->latency_ns)
            err(1, "memory");
    }
    bench->latency_ns[bench->done++] = (uint32_t)(clock_now() - slot->started);
}

/* Until DEADLINE, or each block once when that is 0. */
static void run(struct bench *bench, struct slot *slots, int64_t deadline)
{
    unsigned under_way = 0;

    for (; under_way < bench->depth && under_way < bench->blocks; under_way++)
        submit(&slots[under_way]);
    while (under_way > 0) {
        struct slot *slot = wait_for_some(bench);

        while (slot) {
            struct slot *next = slot->next;

            finish(slot);
            if (deadline ? clock_now() < deadline : bench->submitted < bench->blocks)
                submit(slot);
            else
                under_way--;
            slot = next;
        }
    }
}

/* Evenly spread, or the same each time, would be kinder to the cluster than what it is compared
 * with: requests would meet on fewer placement groups, and objects would be cut up less. */
static void shuffle(struct bench *bench)
{
    uint64_t seed;

    bench->order = calloc(bench->blocks, sizeof(*bench->order));
    if (!bench->order || getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        err(1, "order");
    srand48((long)seed);
    for (uint64_t i = 0; i < bench->blocks; i++) {
        uint64_t other = (uint64_t)(drand48() * (double)(i + 1));

        bench->order[i] = bench->order[other];
        bench->order[other] = i;
    }
}

static int compare(const void *a, const void *b)
{
    const uint32_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static double cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Have the connections to all OSDs before the time is taken, as a volume in use has. */
static void connect_all(const struct bench *bench)
{
    for (uint64_t offset = 0; offset < bench->block * bench->blocks; offset += OBJECT_BYTES) {
        char object[NAME_SIZE];
        uint64_t size;
        time_t time;

        object_of(bench, offset, object);
        rados_stat(bench->io, object, &size, &time);
    }
}

static void report(struct bench *bench, int64_t took_ns, double cpu)
{
    const size_t p99 = bench->done * 99 / 100;
    double sum = 0;

    for (size_t i = 0; i < bench->done; i++)
        sum += bench->latency_ns[i];
    qsort(bench->latency_ns, bench->done, sizeof(uint32_t), compare);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"mean_us\": %.2f, \"p99_us\": %.2f, "
           "\"cpu_us\": %.2f}\n",
           bench->done, (double)took_ns / 1e9, sum / (double)bench->done / 1e3,
           bench->latency_ns[p99] / 1e3, cpu / (double)bench->done);
}

static void open_pool(struct bench *bench, char *argv[])
{
    check(rados_create(&bench->cluster, argv[2]), "client");
    check(rados_conf_read_file(bench->cluster, argv[1]), argv[1]);
    check(rados_connect(bench->cluster), "connect");
    check(rados_ioctx_create(bench->cluster, argv[3], &bench->io), argv[3]);
}

int main(int argc, char *argv[])
{
    struct bench bench = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    struct slot slots[DEPTH_MAX] = {0};
    int64_t begin;
    double seconds, cpu;

    if (argc != 10)
        errx(2, "usage: raw_librados CONF CLIENT POOL PREFIX KIND BLOCK DEPTH REGION SECONDS");
    bench.prefix = argv[4];
    bench.kind = argv[5];
    bench.block = strtoull(argv[6], NULL, 10);
    bench.depth = (unsigned)strtoul(argv[7], NULL, 10);
    if (!bench.block || OBJECT_BYTES % bench.block || !bench.depth || bench.depth > DEPTH_MAX)
        errx(2, "BLOCK must divide 4 MiB, DEPTH be 1 to %d", DEPTH_MAX);
    bench.blocks = strtoull(argv[8], NULL, 10) / bench.block;
    if (!bench.blocks || strtoull(argv[8], NULL, 10) % bench.block)
        errx(2, "REGION must be a multiple of BLOCK");
    seconds = strtod(argv[9], NULL);
    if (strncmp(bench.kind, "seq", 3) != 0)
        shuffle(&bench);
    for (unsigned i = 0; i < bench.depth; i++) {
        slots[i].bench = &bench;
        slots[i].buffer = aligned_alloc(4096, bench.block < 4096 ? 4096 : bench.block);
        if (!slots[i].buffer)
            err(1, "memory");
        memset(slots[i].buffer, (int)('a' + i % 26), bench.block);
    }
    open_pool(&bench, argv);
    connect_all(&bench);

    begin = clock_now();
    cpu = cpu_us();
    run(&bench, slots, seconds > 0 ? begin + (int64_t)(seconds * 1e9) : 0);
    report(&bench, clock_now() - begin, cpu_us() - cpu);

    rados_ioctx_destroy(bench.io);
    rados_shutdown(bench.cluster);
    free(bench.order);
    return 0;
}
