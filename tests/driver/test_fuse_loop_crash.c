/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_host.h"

#define WRITERS     8
#define WRITER_AREA (8 * MIB)
#define SMALL       (16 * 1024u)

/* Shared with the process that writes, which is not ours: we have to be able to end it. */
struct writer {
    unsigned index;
    unsigned block_bytes;
    char device[64];
    atomic_bool stop;
    unsigned rounds;
    int error;
    char what[16];
};

static void fail_writer(struct writer *writer, const char *what, int error)
{
    snprintf(writer->what, sizeof(writer->what), "%s", what);
    writer->error = error;
}

static void fill(unsigned *block, unsigned bytes, unsigned stamp)
{
    for (unsigned i = 0; i < bytes / sizeof(*block); i++)
        block[i] = stamp * 1000003 + i;
}

/* Writes stamped blocks and reads old ones back: each must hold what was acknowledged last. */
static void *writer_main(void *arg)
{
    struct writer *writer = arg;
    unsigned seed = writer->index;
    unsigned bytes = writer->block_bytes;
    unsigned stamps[WRITER_AREA / SMALL] = {0};
    int fd = open(writer->device, O_RDWR | O_DIRECT | O_CLOEXEC);
    cleanup_free unsigned *block = aligned_alloc(4096, bytes);
    cleanup_free unsigned *expected = malloc(bytes);

    while (!atomic_load(&writer->stop) && writer->error == 0) {
        unsigned slot = (unsigned)rand_r(&seed) % (WRITER_AREA / bytes);
        off_t area = (off_t)writer->index * WRITER_AREA;

        fill(block, bytes, ++stamps[slot]);
        if (pwrite(fd, block, bytes, area + (off_t)slot * bytes) != (ssize_t)bytes)
            fail_writer(writer, "write", errno);
        slot = (unsigned)rand_r(&seed) % (WRITER_AREA / bytes);
        if (pread(fd, block, bytes, area + (off_t)slot * bytes) != (ssize_t)bytes)
            fail_writer(writer, "read", errno);
        fill(expected, bytes, stamps[slot]);
        if (stamps[slot] > 0 && memcmp(block, expected, bytes) != 0)
            fail_writer(writer, "compare", EILSEQ);
        if (writer->rounds % 64 == 0 && fsync(fd) < 0)
            fail_writer(writer, "fsync", errno);
        writer->rounds++;
    }
    close(fd);
    return NULL;
}

_Noreturn static void write_until_stopped(struct writer *writers)
{
    pthread_t threads[WRITERS];

    for (unsigned i = 0; i < WRITERS; i++) {
        if (pthread_create(&threads[i], NULL, writer_main, &writers[i]) != 0)
            _exit(1);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    _exit(0);
}

/* The process that writes must not have the descriptors that keep the device waiting. */
static pid_t start_writers(const struct host *host, struct writer *writers, unsigned block_bytes)
{
    pid_t pid;

    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].index = i;
        writers[i].block_bytes = block_bytes;
        snprintf(writers[i].device, sizeof(writers[i].device), "%s", host->device);
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close_range(3, ~0u, 0);
        write_until_stopped(writers);
    }
    return pid;
}

static void stop_writers(struct writer *writers, pid_t pid)
{
    int status;

    for (unsigned i = 0; i < WRITERS; i++)
        atomic_store(&writers[i].stop, true);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        if (writers[i].error)
            fail_msg("writer %u: %s: %s", i, writers[i].what, strerror(writers[i].error));
        assert_true(writers[i].rounds > 0);
    }
}

/* Crash after crash, the first after FIRST_US, each STEP_US later in its process' life. */
static void run_crashes(struct host *host, unsigned block_bytes, unsigned crashes,
                        unsigned first_us, unsigned step_us)
{
    struct writer *writers = mmap(NULL, WRITERS * sizeof(*writers), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char device[64];
    pid_t pid;

    assert_true(writers != MAP_FAILED);
    assert_int_equal(start(host), 0);
    strcpy(device, host->device);
    pid = start_writers(host, writers, block_bytes);
    for (unsigned i = 0; i < crashes; i++) {
        usleep(first_us + i * step_us);
        crash(host);
        assert_int_equal(start(host), 0);
        assert_string_equal(host->device, device);
    }
    usleep(100000);
    stop_writers(writers, pid);
    munmap(writers, WRITERS * sizeof(*writers));
    detach(host);
    assert_gone(device);
}

static void test_crashes_under_load(void **state)
{
    atomic_store(&image->delay_us, 4000);
    run_crashes(*state, SMALL, 8, 200000, 1000);
    assert_true(atomic_load(&image->in_flight_high) > 1);
}

/* Killed while the kernel copies the first large requests: it must not fail them. */
static void test_crashes_of_young_processes(void **state)
{
    atomic_store(&image->delay_us, 500);
    run_crashes(*state, MIB, 40, 0, 100);
}

static void test_crash_under_a_filesystem(void **state)
{
    struct host *host = *state;
    cleanup_free void *data = new_buffer(4 * MIB, 9);

    assert_int_equal(start(host), 0);
    assert_int_equal(run("mkfs.ext4", "-q", host->device), 0);
    mount_dir(host);
    atomic_store(&image->delay_us, 2000);
    for (unsigned i = 0; i < 5; i++) {
        char name[16];
        pid_t pid = fork();
        int status;

        snprintf(name, sizeof(name), "file-%u", i);
        if (pid == 0) {
            char path[128];
            int fd;

            close_range(3, ~0u, 0);
            snprintf(path, sizeof(path), "%s/%s", host->dir, name);
            fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            if (fd < 0)
                _exit(errno);
            if (write(fd, data, 4 * MIB) != (ssize_t)(4 * MIB) || fsync(fd) < 0)
                _exit(errno);
            _exit(0);
        }
        usleep(3000 + i * 2000);
        crash(host);
        assert_int_equal(start(host), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    unmount_dir(host);
    assert_int_equal(run("e2fsck", "-fn", host->device), 0);
    mount_dir(host);
    check_file(host->dir, "file-0", data, 4 * MIB);
    check_file(host->dir, "file-4", data, 4 * MIB);
    unmount_dir(host);
    detach(host);
    assert_gone(host->device);
}

/* The blockd and its keeper are both gone: nothing is left behind, and nobody hangs. */
static void test_everything_dies(void **state)
{
    struct host *host = *state;
    cleanup_free void *buffer = new_buffer(4096, 1);
    int fd;

    assert_int_equal(start(host), 0);
    fd = open_device(host, O_RDWR | O_DIRECT);
    crash(host);
    while (host->count > 0)
        forget(host, 0);
    assert_int_equal(pwrite(fd, buffer, 4096, 0), -1);
    assert_int_equal(errno, EIO);
    close(fd);
    assert_gone(host->device);
}

/* A successor that finds only a part of the descriptors starts anew, and the old device goes; also
 * when there is cached data that nobody will ever write out: closing it must not wait for that. */
static void test_incomplete_legacy(void **state)
{
    struct host *host = *state;
    cleanup_free void *data = new_buffer(MIB, 4);
    char device[64];

    for (unsigned missing = 0; missing < 3; missing++) {
        int fd;

        assert_int_equal(start(host), 0);
        fd = open_device(host, O_RDWR);
        assert_int_equal(pwrite(fd, data, MIB, 0), MIB);
        crash(host);
        close(fd);
        strcpy(device, host->device);
        /* "loop" alone is the one that cannot be closed first here: this process would wait. */
        if (missing == 2)
            forget(host, 0);
        forget(host, missing == 2 ? 0 : missing);
        assert_int_equal(start(host), 0);
        assert_int_equal(host->count, 3);
        detach(host);
        assert_gone(host->device);
        assert_gone(device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_crashes_under_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crashes_of_young_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crash_under_a_filesystem, setup, teardown),
        cmocka_unit_test_setup_teardown(test_everything_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_incomplete_legacy, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
