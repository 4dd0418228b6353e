/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The FUSE + loop back end on an image in memory: needs root, /dev/fuse and a loop device, no Ceph.
 *
 * The back end runs in a child, as in a blockd, and this process plays the supervisor: it keeps the
 * descriptors and can kill the child at any moment. The image lives in shared memory, its requests
 * are done by threads of the child after a random delay, so that a kill always meets requests that
 * were taken but not answered.
 *
 * A process that waits for a device cannot be killed, and a device whose requests nobody answers
 * waits for its supervisor. So each test has a watchdog, which closes the descriptors, so that all
 * such waits end with an error. */

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
#include <sys/eventfd.h>
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
#define MNT_DETACH 2

#define MIB        (1024u * 1024)
#define IMAGE_MAX  (256 * MIB)
#define IMAGE_SIZE (192 * MIB)
#define QUEUE_MAX  512
#define WORKERS    8
#define WAIT_MS    30000

#define WATCHDOG_MS 120000

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

static inline int run_request(struct image_request *request)
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
    case IMAGE_COPY_UP:
    case IMAGE_FLUSH:
        break;
    }
    return 0;
}

static inline void *worker(void *arg)
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

static inline void send_answer(int control, int result, const char *device, const struct error *err,
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

_Noreturn static inline void child_main(int control, int keeper_socket,
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
    struct kept kept[FD_LIST_MAX]; /* in the order in which they were stored */
    char device[64];
    char dir[32];         /* where it is mounted, or "" */
    struct answer answer; /* the last one */
    pthread_t watchdog;
    int watchdog_end; /* eventfd */
    pthread_barrier_t watchdog_runs;
};

static inline void forget(struct host *host, unsigned i)
{
    close(host->kept[i].fd);
    memmove(&host->kept[i], &host->kept[i + 1], (host->count - i - 1) * sizeof(host->kept[0]));
    host->count--;
}

/* Take one packet of the child; false at the end. */
static inline bool keep(struct host *host)
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
    assert_true(host->count < FD_LIST_MAX);
    memcpy(host->kept[host->count].name, name, sizeof(name));
    host->kept[host->count++].fd = fd;
    return true;
}

/* Wait for the child's answer, serving as its keeper meanwhile. */
static inline int wait_answer(struct host *host)
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

static inline int ask(struct host *host, enum command command)
{
    struct question question = {.command = command};

    assert_int_equal(send(host->control, &question, sizeof(question), 0), sizeof(question));
    return wait_answer(host);
}

static inline int start(struct host *host)
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

static inline int wait_end(struct host *host)
{
    int status;

    assert_int_equal(waitpid(host->pid, &status, 0), host->pid);
    close(host->control);
    close(host->keeper);
    host->pid = 0;
    return status;
}

static inline void crash(struct host *host)
{
    assert_int_equal(kill(host->pid, SIGKILL), 0);
    assert_true(WIFSIGNALED(wait_end(host)));
}

static inline void detach(struct host *host)
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

static inline bool is_configured(const char *device)
{
    char path[128];

    snprintf(path, sizeof(path), "/sys/block/%.32s/loop/backing_file", device + strlen("/dev/"));
    return access(path, F_OK) == 0;
}

/* The device's FUSE file system is in no mount table. (A volume that a plugin of this machine has
 * mounted is there as its own file system, and no business of ours.) */
static inline void assert_no_mount(void)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char line[4096];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (strstr(line, " - fuse docker-volume-rados "))
            fail_msg("a mount shows up: %s", line);
    }
    fclose(file);
}

/* Closing a device frees it a moment later. */
static inline void assert_gone(const char *device)
{
    const int64_t deadline = deadline_in_ms(WAIT_MS);

    while (is_configured(device)) {
        assert_true(clock_now() < deadline);
        usleep(10000);
    }
    assert_no_mount();
}

static inline int open_device(const struct host *host, int flags)
{
    int fd = open(host->device, flags | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static inline void *new_buffer(size_t bytes, unsigned seed)
{
    uint8_t *buffer = aligned_alloc(4096, bytes);

    assert_non_null(buffer);
    for (size_t i = 0; i < bytes; i++)
        buffer[i] = (uint8_t)rand_r(&seed);
    return buffer;
}

static inline int run(const char *tool, const char *a, const char *b)
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

static inline void mount_dir(struct host *host)
{
    strcpy(host->dir, "/tmp/test-fuse-loop.XXXXXX");
    assert_non_null(mkdtemp(host->dir));
    assert_int_equal(mount(host->device, host->dir, "ext4", 0, NULL), 0);
}

static inline void unmount_dir(struct host *host)
{
    assert_int_equal(umount2(host->dir, 0), 0);
    assert_int_equal(rmdir(host->dir), 0);
    host->dir[0] = '\0';
}

static inline void write_file(const char *dir, const char *name, const void *data, size_t len)
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

static inline void check_file(const char *dir, const char *name, const void *data, size_t len)
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

/* ---- around each test ---- */

static inline void *watchdog_main(void *arg)
{
    struct host *host = arg;
    struct pollfd end = {.fd = host->watchdog_end, .events = POLLIN};

    pthread_barrier_wait(&host->watchdog_runs);
    if (poll(&end, 1, WATCHDOG_MS) != 0)
        return NULL;
    print_error("the watchdog ends this test\n");
    if (host->pid > 0)
        kill(host->pid, SIGKILL);
    while (host->count > 0)
        forget(host, 0);
    return NULL;
}

static inline int setup(void **state)
{
    struct host *host = calloc(1, sizeof(*host));

    if (!image) {
        image = mmap(NULL, sizeof(*image) + IMAGE_MAX, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(image != MAP_FAILED);
    }
    memset(image->data, 0, IMAGE_MAX);
    atomic_store(&image->size, IMAGE_SIZE);
    atomic_store(&image->fail, 0);
    atomic_store(&image->delay_us, 0);
    atomic_store(&image->in_flight_high, 0);
    assert_non_null(host);
    host->settings = (struct backend_settings){.name = "test-volume", .logical_block_bytes = 4096};
    host->watchdog_end = eventfd(0, EFD_CLOEXEC);
    assert_true(host->watchdog_end >= 0);
    /* A fork while a thread is starting would copy locks of the address sanitizer that the new
     * thread holds, and each thread of the child would wait for them for ever. */
    assert_int_equal(pthread_barrier_init(&host->watchdog_runs, NULL, 2), 0);
    assert_int_equal(pthread_create(&host->watchdog, NULL, watchdog_main, host), 0);
    pthread_barrier_wait(&host->watchdog_runs);
    *state = host;
    return 0;
}

/* After a test that failed half-way, too: nothing may be left on the machine. */
static inline int teardown(void **state)
{
    struct host *host = *state;
    const uint64_t one = 1;

    if (host->pid > 0) {
        kill(host->pid, SIGKILL);
        waitpid(host->pid, NULL, 0);
    }
    while (host->count > 0)
        forget(host, 0);
    if (host->dir[0]) {
        umount2(host->dir, MNT_DETACH);
        rmdir(host->dir);
    }
    assert_int_equal(write(host->watchdog_end, &one, sizeof(one)), sizeof(one));
    pthread_join(host->watchdog, NULL);
    pthread_barrier_destroy(&host->watchdog_runs);
    close(host->watchdog_end);
    free(host);
    return 0;
}
