/* SPDX-License-Identifier: Apache-2.0 */

/* The FUSE + loop back end on an image in memory: needs root, /dev/fuse and a loop device, no Ceph.
 *
 * The back end runs in a child, as in a blockd, and this process plays the supervisor: it keeps the
 * descriptors and can kill the child at any moment. The image lives in shared memory, its requests
 * are done by threads of the child after a random delay, so that a kill always meets requests that
 * were taken but not answered. */

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "block/backend.h"
#include "block/keeper.h"
#include "image/io.h"

/* <sys/mount.h> and <linux/fs.h> do not go together. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
          const void *data);
int umount2(const char *target, int flags);

#define MIB        (1024u * 1024)
#define IMAGE_MAX  (256 * MIB)
#define IMAGE_SIZE (192 * MIB)
#define QUEUE_MAX  512
#define WORKERS    8
#define WAIT_MS    30000

/* The child's descriptors, above all that the test has open itself. */
#define CHILD_CONTROL 500
#define CHILD_KEEPER  501

/* ---- the image ---- */

struct image_io {
    _Atomic(uint64_t) size;
    atomic_int fail;      /* result of every request, 0: none fails */
    atomic_uint delay_us; /* of each request, at most */
    atomic_uint in_flight_high;
    uint8_t data[];
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    struct image_request *requests[QUEUE_MAX];
    unsigned first, count, busy;
};

static struct image_io *image; /* shared with the child */
static struct queue queue = {
    /* the child's */
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .filled = PTHREAD_COND_INITIALIZER,
    .emptied = PTHREAD_COND_INITIALIZER,
};

uint64_t image_io_size(const struct image_io *io)
{
    return atomic_load(&io->size);
}

static int run_request(struct image_request *request)
{
    uint8_t *at = image->data + request->offset;
    int fail = atomic_load(&image->fail);

    if (fail < 0)
        return fail;
    switch (request->kind) {
    case IMAGE_READ:
        memcpy(request->buffer, at, request->length);
        break;
    case IMAGE_WRITE:
        memcpy(at, request->buffer, request->length);
        break;
    case IMAGE_WRITE_ZEROES:
        memset(at, 0, request->length);
        break;
    case IMAGE_DISCARD: /* a discard may round, and this one does */
        return 0;
    case IMAGE_FLUSH:
        break;
    }
    return 0;
}

static void *worker(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg ^ (unsigned)getpid();

    for (;;) {
        struct image_request *request;
        unsigned delay = atomic_load(&image->delay_us);
        void *copy;
        int result;

        pthread_mutex_lock(&queue.lock);
        while (queue.count == 0)
            pthread_cond_wait(&queue.filled, &queue.lock);
        request = queue.requests[queue.first++ % QUEUE_MAX];
        queue.count--;
        queue.busy++;
        if (queue.count + queue.busy > atomic_load(&image->in_flight_high))
            atomic_store(&image->in_flight_high, queue.count + queue.busy);
        pthread_cond_signal(&queue.emptied);
        pthread_mutex_unlock(&queue.lock);
        if (delay > 0)
            usleep((unsigned)rand_r(&seed) % delay);
        result = run_request(request);
        copy = request->kind == IMAGE_WRITE ? request->buffer : NULL;
        request->done(request, result);
        free(copy);
        pthread_mutex_lock(&queue.lock);
        queue.busy--;
        pthread_mutex_unlock(&queue.lock);
    }
    return NULL;
}

/* The contract: a write's bytes are taken before this returns. */
void image_submit(struct image_io *io, struct image_request *request)
{
    uint64_t size = image_io_size(io);

    if (request->kind != IMAGE_FLUSH &&
        (request->offset > size || request->length > size - request->offset)) {
        request->done(request, -EINVAL);
        return;
    }
    if (request->kind == IMAGE_WRITE) {
        void *copy = malloc(request->length);

        if (!copy)
            abort();
        request->buffer = memcpy(copy, request->buffer, request->length);
    }
    pthread_mutex_lock(&queue.lock);
    while (queue.count == QUEUE_MAX)
        pthread_cond_wait(&queue.emptied, &queue.lock);
    queue.requests[(queue.first + queue.count++) % QUEUE_MAX] = request;
    pthread_cond_signal(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
}

/* ---- the child ---- */

enum command { STATS = 1, RESIZE, DETACH };

struct question {
    enum command command;
};

struct answer {
    int result;
    char device[64];
    char text[ERROR_TEXT_MAX];
    struct backend_stats stats;
};

static void send_answer(int control, int result, const char *device, const struct error *err,
                        const struct backend_stats *stats)
{
    struct answer answer = {.result = result, .stats = *stats};

    if (device)
        snprintf(answer.device, sizeof(answer.device), "%s", device);
    if (result < 0)
        snprintf(answer.text, sizeof(answer.text), "%s", err->text);
    if (send(control, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
        _exit(2);
}

_Noreturn static void child_main(int control, int keeper_socket,
                                 const struct backend_settings *settings)
{
    struct backend_stats stats = {0};
    struct fd_keeper *keeper;
    struct backend *backend;
    struct error err;
    struct question question;
    int r = keeper_client_open(keeper_socket, &keeper, &err);

    for (uintptr_t i = 0; i < WORKERS; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, worker, (void *)(i * 7919)) != 0)
            _exit(2);
    }
    if (r == 0)
        r = fuse_loop_backend.attach(image, keeper, settings, &backend, &err);
    send_answer(control, r, r < 0 ? NULL : fuse_loop_backend.device(backend), &err, &stats);
    while (r == 0 && recv(control, &question, sizeof(question), 0) == sizeof(question)) {
        int result = 0;

        fuse_loop_backend.stats(backend, &stats);
        if (question.command == RESIZE)
            result = fuse_loop_backend.resize(backend, image_io_size(image), &err);
        if (question.command == DETACH)
            result = fuse_loop_backend.detach(backend, deadline_in_ms(WAIT_MS), &err);
        send_answer(control, result, NULL, &err, &stats);
        if (question.command == DETACH && result == 0)
            break;
    }
    keeper_client_free(keeper);
    _exit(r == 0 ? 0 : 1);
}

/* ---- the supervisor ---- */

struct kept {
    char name[KEEPER_NAME_MAX];
    int fd;
};

struct host {
    struct backend_settings settings;
    pid_t pid;
    int control, keeper;
    unsigned count;
    struct kept kept[KEEPER_FDS_MAX]; /* in the order in which they were stored */
    char device[64];
    struct answer answer; /* the last one */
};

static void forget(struct host *host, unsigned i)
{
    close(host->kept[i].fd);
    memmove(&host->kept[i], &host->kept[i + 1], (host->count - i - 1) * sizeof(host->kept[0]));
    host->count--;
}

/* Take one packet of the child; false at the end. */
static bool keep(struct host *host)
{
    char name[KEEPER_NAME_MAX];
    int fd;
    int r = keeper_receive(host->keeper, name, &fd);

    if (r == -ECONNRESET)
        return false;
    assert_int_equal(r, 0);
    for (unsigned i = 0; i < host->count; i++) {
        if (strcmp(host->kept[i].name, name) == 0) {
            forget(host, i);
            break;
        }
    }
    if (fd < 0)
        return true;
    assert_true(host->count < KEEPER_FDS_MAX);
    memcpy(host->kept[host->count].name, name, sizeof(name));
    host->kept[host->count++].fd = fd;
    return true;
}

/* Wait for the child's answer, serving as its keeper meanwhile. */
static int wait_answer(struct host *host)
{
    const int64_t deadline = deadline_in_ms(2 * WAIT_MS);
    bool open = true;

    for (;;) {
        struct pollfd ready[2] = {
            {.fd = open ? host->keeper : -1, .events = POLLIN},
            {.fd = host->control, .events = POLLIN},
        };

        assert_true(poll(ready, 2, deadline_left_ms(deadline)) > 0);
        if (ready[0].revents & POLLIN) {
            open = keep(host);
            continue;
        }
        if (ready[1].revents == 0)
            continue;
        assert_int_equal(recv(host->control, &host->answer, sizeof(host->answer), 0),
                         sizeof(host->answer));
        return host->answer.result;
    }
}

static int ask(struct host *host, enum command command)
{
    struct question question = {.command = command};

    assert_int_equal(send(host->control, &question, sizeof(question), 0), sizeof(question));
    return wait_answer(host);
}

static int start(struct host *host)
{
    int control[2];
    int keeper[2];
    int r;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, keeper), 0);
    host->pid = fork();
    assert_true(host->pid >= 0);
    if (host->pid == 0) {
        /* A blockd is executed and so has nothing open but these. */
        dup2(control[1], CHILD_CONTROL);
        dup2(keeper[1], CHILD_KEEPER);
        close_range(3, CHILD_CONTROL - 1, 0);
        close_range(CHILD_KEEPER + 1, ~0u, 0);
        child_main(CHILD_CONTROL, CHILD_KEEPER, &host->settings);
    }
    close(control[1]);
    close(keeper[1]);
    host->control = control[0];
    host->keeper = keeper[0];
    for (unsigned i = 0; i < host->count; i++)
        assert_int_equal(keeper_send(host->keeper, host->kept[i].name, host->kept[i].fd), 0);
    assert_int_equal(keeper_send(host->keeper, "", -1), 0);
    r = wait_answer(host);
    if (r < 0)
        print_message("attach: %s\n", host->answer.text);
    snprintf(host->device, sizeof(host->device), "%s", host->answer.device);
    return r;
}

static int wait_end(struct host *host)
{
    int status;

    assert_int_equal(waitpid(host->pid, &status, 0), host->pid);
    close(host->control);
    close(host->keeper);
    host->pid = 0;
    return status;
}

static void crash(struct host *host)
{
    assert_int_equal(kill(host->pid, SIGKILL), 0);
    assert_true(WIFSIGNALED(wait_end(host)));
}

static void detach(struct host *host)
{
    int r = ask(host, DETACH);

    if (r < 0)
        print_message("detach: %s\n", host->answer.text);
    assert_int_equal(r, 0);
    /* Everything was given back before the answer, not only with the end of the process. */
    assert_int_equal(host->count, 0);
    assert_int_equal(wait_end(host), 0);
}

/* ---- what tests look at ---- */

static bool is_configured(const char *device)
{
    char path[128];

    snprintf(path, sizeof(path), "/sys/block/%.32s/loop/backing_file", device + strlen("/dev/"));
    return access(path, F_OK) == 0;
}

static void assert_no_mount(void)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char line[4096];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (strstr(line, "docker-volume-rados"))
            fail_msg("a mount shows up: %s", line);
    }
    fclose(file);
}

/* Closing a device frees it a moment later. */
static void assert_gone(const char *device)
{
    const int64_t deadline = deadline_in_ms(WAIT_MS);

    while (is_configured(device)) {
        assert_true(clock_now() < deadline);
        usleep(10000);
    }
    assert_no_mount();
}

static int open_device(const struct host *host, int flags)
{
    int fd = open(host->device, flags | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void *new_buffer(size_t bytes, unsigned seed)
{
    uint8_t *buffer = aligned_alloc(4096, bytes);

    assert_non_null(buffer);
    for (size_t i = 0; i < bytes; i++)
        buffer[i] = (uint8_t)rand_r(&seed);
    return buffer;
}

static int run(const char *tool, const char *a, const char *b)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        dup2(null, 0);
        dup2(null, 1);
        execlp(tool, tool, a, b, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static struct host new_host(void)
{
    memset(image->data, 0, IMAGE_MAX);
    atomic_store(&image->size, IMAGE_SIZE);
    atomic_store(&image->fail, 0);
    atomic_store(&image->delay_us, 0);
    return (struct host){
        .settings = {.name = "test-volume", .logical_block_bytes = 4096},
    };
}

/* ---- tests ---- */

static void test_probe(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(fuse_loop_backend.probe(&err), 0);
    assert_ptr_equal(backend_choose(&err), &fuse_loop_backend);
}

static void test_attach_and_detach(void **state)
{
    struct host host = new_host();
    char shown[4096] = "";
    char path[128];
    int fd;
    uint64_t size;

    (void)state;
    assert_int_equal(start(&host), 0);
    assert_int_equal(host.count, 3);
    assert_true(is_configured(host.device));
    assert_no_mount();

    snprintf(path, sizeof(path), "/sys/block/%.32s/loop/backing_file", host.device + 5);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, shown, sizeof(shown) - 1) > 0);
    close(fd);
    assert_non_null(strstr(shown, "test-volume"));

    fd = open_device(&host, O_RDONLY);
    assert_int_equal(ioctl(fd, BLKGETSIZE64, &size), 0);
    assert_int_equal(size, IMAGE_SIZE);
    close(fd);
    detach(&host);
    assert_gone(host.device);
}

static void test_direct_io(void **state)
{
    static const size_t sizes[] = {4096, 65536, 128 * 1024, MIB, 3 * MIB};
    struct host host = new_host();
    int fd;

    (void)state;
    assert_int_equal(start(&host), 0);
    fd = open_device(&host, O_RDWR | O_DIRECT);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        cleanup_free void *written = new_buffer(sizes[i], i);
        cleanup_free void *read_back = new_buffer(sizes[i], i + 100);
        off_t offset = (off_t)(i * 8 * MIB + 4096);

        assert_int_equal(pwrite(fd, written, sizes[i], offset), sizes[i]);
        assert_memory_equal(image->data + offset, written, sizes[i]);
        assert_int_equal(pread(fd, read_back, sizes[i], offset), sizes[i]);
        assert_memory_equal(written, read_back, sizes[i]);
    }
    close(fd);
    assert_int_equal(ask(&host, STATS), 0);
    assert_true(host.answer.stats.writes >= 5);
    assert_true(host.answer.stats.write_bytes == 4096 + 65536 + 128 * 1024 + 4 * MIB);
    assert_true(host.answer.stats.read_bytes >= host.answer.stats.write_bytes);
    assert_int_equal(host.answer.stats.errors, 0);
    detach(&host);
    assert_gone(host.device);
}

static void test_buffered_io_and_flush(void **state)
{
    struct host host = new_host();
    cleanup_free void *written = new_buffer(16 * MIB, 1);
    cleanup_free void *read_back = new_buffer(16 * MIB, 2);
    uint64_t flushes;
    int fd;

    (void)state;
    assert_int_equal(start(&host), 0);
    fd = open_device(&host, O_RDWR);
    assert_int_equal(ask(&host, STATS), 0);
    flushes = host.answer.stats.flushes;
    assert_int_equal(pwrite(fd, written, 16 * MIB, 12345 * 512), 16 * MIB);
    assert_int_equal(fsync(fd), 0);
    assert_memory_equal(image->data + 12345 * 512, written, 16 * MIB);
    assert_int_equal(ask(&host, STATS), 0);
    assert_true(host.answer.stats.flushes > flushes);
    assert_int_equal(ioctl(fd, BLKFLSBUF, 0), 0);
    assert_int_equal(pread(fd, read_back, 16 * MIB, 12345 * 512), 16 * MIB);
    assert_memory_equal(written, read_back, 16 * MIB);

    /* What is still in the cache when the device is given back must not be lost. */
    assert_int_equal(pwrite(fd, read_back, 4 * MIB, 0), 4 * MIB);
    close(fd);
    detach(&host);
    assert_memory_equal(image->data, read_back, 4 * MIB);
    assert_gone(host.device);
}

static void test_discard_and_zeroes(void **state)
{
    struct host host = new_host();
    uint64_t discard[2] = {8 * MIB, 4 * MIB};
    uint64_t zeroes[2] = {4096 * 3, 4096};
    static const uint8_t zero[4096];
    int fd;

    (void)state;
    memset(image->data, 0xaa, IMAGE_SIZE);
    assert_int_equal(start(&host), 0);
    fd = open_device(&host, O_RDWR | O_DIRECT);
    assert_int_equal(ioctl(fd, BLKDISCARD, discard), 0);
    for (size_t at = 8 * MIB; at < 12 * MIB; at += sizeof(zero))
        assert_memory_equal(image->data + at, zero, sizeof(zero));
    assert_int_equal(image->data[8 * MIB - 1], 0xaa);
    assert_int_equal(image->data[12 * MIB], 0xaa);
    assert_int_equal(ioctl(fd, BLKZEROOUT, zeroes), 0);
    assert_memory_equal(image->data + 4096 * 3, zero, sizeof(zero));
    assert_int_equal(image->data[4096 * 3 - 1], 0xaa);
    assert_int_equal(image->data[4096 * 4], 0xaa);
    close(fd);
    assert_int_equal(ask(&host, STATS), 0);
    /* No zeroes were written as data. */
    assert_int_equal(host.answer.stats.write_bytes, 0);
    assert_true(host.answer.stats.discards >= 2);
    detach(&host);
    assert_gone(host.device);
}

static void test_512_byte_blocks(void **state)
{
    struct host host = new_host();
    cleanup_free uint8_t *written = new_buffer(4096, 1);
    int fd;
    int block;

    (void)state;
    host.settings.logical_block_bytes = 512;
    atomic_store(&image->size, IMAGE_SIZE - 1536);
    assert_int_equal(start(&host), 0);
    fd = open_device(&host, O_RDWR | O_DIRECT);
    assert_int_equal(ioctl(fd, BLKSSZGET, &block), 0);
    assert_int_equal(block, 512);
    assert_int_equal(pwrite(fd, written, 512, 512 * 7), 512);
    assert_memory_equal(image->data + 512 * 7, written, 512);
    assert_int_equal(image->data[512 * 8], 0);
    assert_int_equal(pwrite(fd, written, 512, IMAGE_SIZE - 2048), 512);
    assert_memory_equal(image->data + IMAGE_SIZE - 2048, written, 512);
    close(fd);
    detach(&host);
    assert_gone(host.device);
}

static void test_resize(void **state)
{
    struct host host = new_host();
    cleanup_free void *written = new_buffer(4096, 1);
    uint64_t size;
    int fd;

    (void)state;
    assert_int_equal(start(&host), 0);
    fd = open_device(&host, O_RDWR | O_DIRECT);
    atomic_store(&image->size, IMAGE_MAX);
    assert_int_equal(ask(&host, RESIZE), 0);
    assert_int_equal(ioctl(fd, BLKGETSIZE64, &size), 0);
    assert_int_equal(size, IMAGE_MAX);
    assert_int_equal(pwrite(fd, written, 4096, IMAGE_MAX - 4096), 4096);
    assert_memory_equal(image->data + IMAGE_MAX - 4096, written, 4096);

    /* Resized while nobody served: the successor finds out. */
    crash(&host);
    atomic_store(&image->size, IMAGE_SIZE);
    assert_int_equal(start(&host), 0);
    assert_int_equal(ioctl(fd, BLKGETSIZE64, &size), 0);
    assert_int_equal(size, IMAGE_SIZE);
    close(fd);
    detach(&host);
    assert_gone(host.device);
}

static void test_read_only(void **state)
{
    struct host host = new_host();
    cleanup_free void *buffer = new_buffer(4096, 1);
    int fd;
    int ro = 0;

    (void)state;
    memset(image->data, 0x55, 4096);
    host.settings.read_only = 1;
    assert_int_equal(start(&host), 0);
    fd = open_device(&host, O_RDONLY | O_DIRECT);
    assert_int_equal(ioctl(fd, BLKROGET, &ro), 0);
    assert_int_equal(ro, 1);
    assert_int_equal(pread(fd, buffer, 4096, 0), 4096);
    assert_memory_equal(buffer, image->data, 4096);
    close(fd);
    fd = open(host.device, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        assert_true(pwrite(fd, buffer, 4096, 0) < 0);
        close(fd);
    }
    assert_int_equal(ask(&host, STATS), 0);
    assert_int_equal(host.answer.stats.writes, 0);
    detach(&host);
    assert_gone(host.device);
}

static void test_errors_reach_the_writer(void **state)
{
    static const int failures[][2] = {{-ESHUTDOWN, EIO}, {-EIO, EIO}, {-ETIMEDOUT, EIO}};
    struct host host = new_host();
    cleanup_free void *buffer = new_buffer(4096, 1);
    int fd;

    (void)state;
    assert_int_equal(start(&host), 0);
    fd = open_device(&host, O_RDWR | O_DIRECT);
    for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        atomic_store(&image->fail, failures[i][0]);
        assert_int_equal(pwrite(fd, buffer, 4096, 0), -1);
        assert_int_equal(errno, failures[i][1]);
        assert_int_equal(pread(fd, buffer, 4096, 0), -1);
        assert_int_equal(errno, failures[i][1]);
        assert_int_equal(fsync(fd), -1);
    }
    atomic_store(&image->fail, -ENOSPC);
    assert_int_equal(pwrite(fd, buffer, 4096, 0), -1);
    atomic_store(&image->fail, 0);
    assert_int_equal(pwrite(fd, buffer, 4096, 0), 4096);
    assert_int_equal(ask(&host, STATS), 0);
    assert_true(host.answer.stats.errors >= 10);

    /* A fenced volume can still be given back. */
    atomic_store(&image->fail, -ESHUTDOWN);
    close(fd);
    detach(&host);
    assert_gone(host.device);
}

static void mount_dir(const struct host *host, char dir[32])
{
    strcpy(dir, "/tmp/test-fuse-loop.XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(mount(host->device, dir, "ext4", 0, NULL), 0);
}

static void unmount_dir(const char *dir)
{
    assert_int_equal(umount2(dir, 0), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void write_file(const char *dir, const char *name, const void *data, size_t len)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(fsync(fd), 0);
    close(fd);
}

static void check_file(const char *dir, const char *name, const void *data, size_t len)
{
    cleanup_free void *read_back = new_buffer(len, 77);
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, read_back, len), len);
    assert_memory_equal(read_back, data, len);
    close(fd);
}

static void test_filesystem_and_busy_detach(void **state)
{
    struct host host = new_host();
    cleanup_free void *data = new_buffer(8 * MIB, 3);
    char dir[32];
    int fd;

    (void)state;
    assert_int_equal(start(&host), 0);
    assert_int_equal(run("mkfs.ext4", "-q", host.device), 0);
    mount_dir(&host, dir);
    write_file(dir, "a", data, 8 * MIB);

    assert_int_equal(ask(&host, DETACH), -EBUSY);
    assert_non_null(strstr(host.answer.text, host.device));
    assert_int_equal(host.count, 3);
    write_file(dir, "b", data, MIB);
    unmount_dir(dir);

    fd = open_device(&host, O_RDONLY);
    assert_int_equal(ask(&host, DETACH), -EBUSY);
    assert_true(is_configured(host.device));
    close(fd);

    mount_dir(&host, dir);
    check_file(dir, "a", data, 8 * MIB);
    check_file(dir, "b", data, MIB);
    unmount_dir(dir);
    assert_int_equal(run("e2fsck", "-fn", host.device), 0);
    detach(&host);
    assert_gone(host.device);
}

/* ---- crashes ---- */

#define WRITERS     8
#define WRITER_AREA (8 * MIB)
#define BLOCK       (16 * 1024u)

struct writer {
    const char *device;
    unsigned index;
    atomic_bool *stop;
    unsigned rounds;
    int error;
    const char *what;
};

/* Writes stamped blocks and reads old ones back: each must hold what was acknowledged last. */
static void *writer_main(void *arg)
{
    struct writer *writer = arg;
    unsigned seed = writer->index;
    unsigned stamps[WRITER_AREA / BLOCK] = {0};
    int fd = open(writer->device, O_RDWR | O_DIRECT | O_CLOEXEC);
    cleanup_free unsigned *block = aligned_alloc(4096, BLOCK);

    while (!atomic_load(writer->stop) && writer->error == 0) {
        unsigned slot = (unsigned)rand_r(&seed) % (WRITER_AREA / BLOCK);
        off_t offset = (off_t)writer->index * WRITER_AREA + (off_t)slot * BLOCK;

        stamps[slot]++;
        for (unsigned i = 0; i < BLOCK / sizeof(*block); i++)
            block[i] = stamps[slot] * 1000003 + i;
        if (pwrite(fd, block, BLOCK, offset) != BLOCK) {
            writer->error = errno;
            writer->what = "write";
        }
        slot = (unsigned)rand_r(&seed) % (WRITER_AREA / BLOCK);
        offset = (off_t)writer->index * WRITER_AREA + (off_t)slot * BLOCK;
        if (pread(fd, block, BLOCK, offset) != BLOCK) {
            writer->error = errno;
            writer->what = "read";
        }
        for (unsigned i = 0; stamps[slot] > 0 && i < BLOCK / sizeof(*block); i++) {
            if (block[i] != stamps[slot] * 1000003 + i) {
                writer->error = EILSEQ;
                writer->what = "compare";
            }
        }
        if (writer->rounds % 64 == 0 && fsync(fd) < 0) {
            writer->error = errno;
            writer->what = "fsync";
        }
        writer->rounds++;
    }
    close(fd);
    return NULL;
}

static void test_crashes_under_load(void **state)
{
    struct host host = new_host();
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    atomic_bool stop = false;
    char device[64];

    (void)state;
    atomic_store(&image->delay_us, 4000);
    assert_int_equal(start(&host), 0);
    strcpy(device, host.device);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.device = device, .index = i, .stop = &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, &writers[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        usleep(200000 + i * 1000);
        crash(&host);
        assert_int_equal(start(&host), 0);
        assert_string_equal(host.device, device);
    }
    usleep(200000);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        if (writers[i].error)
            print_message("writer %u: %s: %s\n", i, writers[i].what, strerror(writers[i].error));
        assert_int_equal(writers[i].error, 0);
        assert_true(writers[i].rounds > 0);
    }
    assert_true(atomic_load(&image->in_flight_high) > 1);
    detach(&host);
    assert_gone(device);
}

static void test_crash_under_a_filesystem(void **state)
{
    struct host host = new_host();
    cleanup_free void *data = new_buffer(4 * MIB, 9);
    char dir[32];

    (void)state;
    assert_int_equal(start(&host), 0);
    assert_int_equal(run("mkfs.ext4", "-q", host.device), 0);
    mount_dir(&host, dir);
    atomic_store(&image->delay_us, 2000);
    for (unsigned i = 0; i < 5; i++) {
        char name[16];
        pid_t pid = fork();
        int status;

        snprintf(name, sizeof(name), "file-%u", i);
        if (pid == 0) {
            char path[128];
            int fd;

            snprintf(path, sizeof(path), "%s/%s", dir, name);
            fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            _exit(write(fd, data, 4 * MIB) == (ssize_t)(4 * MIB) && fsync(fd) == 0 ? 0 : 1);
        }
        usleep(3000 + i * 2000);
        crash(&host);
        assert_int_equal(start(&host), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    unmount_dir(dir);
    assert_int_equal(run("e2fsck", "-fn", host.device), 0);
    mount_dir(&host, dir);
    check_file(dir, "file-0", data, 4 * MIB);
    check_file(dir, "file-4", data, 4 * MIB);
    unmount_dir(dir);
    detach(&host);
    assert_gone(host.device);
}

/* The blockd and its keeper are both gone: nothing is left behind, and nobody hangs. */
static void test_everything_dies(void **state)
{
    struct host host = new_host();
    cleanup_free void *buffer = new_buffer(4096, 1);
    int fd;

    (void)state;
    assert_int_equal(start(&host), 0);
    fd = open_device(&host, O_RDWR | O_DIRECT);
    crash(&host);
    while (host.count > 0)
        forget(&host, 0);
    assert_int_equal(pwrite(fd, buffer, 4096, 0), -1);
    assert_int_equal(errno, EIO);
    close(fd);
    assert_gone(host.device);
}

/* A successor that finds only a part of the descriptors starts anew. */
static void test_incomplete_legacy(void **state)
{
    struct host host = new_host();

    (void)state;
    assert_int_equal(start(&host), 0);
    crash(&host);
    forget(&host, 2);
    assert_int_equal(start(&host), 0);
    assert_int_equal(host.count, 3);
    detach(&host);
    assert_gone(host.device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_attach_and_detach),
        cmocka_unit_test(test_direct_io),
        cmocka_unit_test(test_buffered_io_and_flush),
        cmocka_unit_test(test_discard_and_zeroes),
        cmocka_unit_test(test_512_byte_blocks),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_errors_reach_the_writer),
        cmocka_unit_test(test_filesystem_and_busy_detach),
        cmocka_unit_test(test_crashes_under_load),
        cmocka_unit_test(test_crash_under_a_filesystem),
        cmocka_unit_test(test_everything_dies),
        cmocka_unit_test(test_incomplete_legacy),
    };

    image = mmap(NULL, sizeof(*image) + IMAGE_MAX, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (image == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
