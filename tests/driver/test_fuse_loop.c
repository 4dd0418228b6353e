/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_host.h"

static void test_probe(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(fuse_loop_backend.probe(&err), 0);
    assert_ptr_equal(backend_choose("fuse", NULL, &err), &fuse_loop_backend);
}

static void test_attach_and_detach(void **state)
{
    struct host *host = *state;
    char shown[4096] = "";
    char path[128];
    int fd;
    uint64_t size;

    assert_int_equal(start(host), 0);
    assert_int_equal(host->count, 3);
    assert_true(is_configured(host->device));
    assert_no_mount();

    snprintf(path, sizeof(path), "/sys/block/%.32s/loop/backing_file", host->device + 5);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, shown, sizeof(shown) - 1) > 0);
    close(fd);
    assert_non_null(strstr(shown, "test-volume"));

    fd = open_device(host, O_RDONLY);
    assert_int_equal(ioctl(fd, BLKGETSIZE64, &size), 0);
    assert_int_equal(size, IMAGE_SIZE);
    close(fd);
    detach(host);
    assert_gone(host->device);
}

static void test_direct_io(void **state)
{
    static const size_t sizes[] = {4096, 65536, 128 * 1024, MIB, 3 * MIB};
    struct host *host = *state;
    int fd;

    assert_int_equal(start(host), 0);
    fd = open_device(host, O_RDWR | O_DIRECT);
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
    assert_int_equal(ask(host, STATS), 0);
    assert_true(latency_total(&host->answer.stats.done[BACKEND_WRITE]) >= 5);
    assert_true(host->answer.stats.write_bytes == 4096 + 65536 + 128 * 1024 + 4 * MIB);
    assert_true(host->answer.stats.read_bytes >= host->answer.stats.write_bytes);
    assert_int_equal(host->answer.stats.errors, 0);
    detach(host);
    assert_gone(host->device);
}

static void test_buffered_io_and_flush(void **state)
{
    struct host *host = *state;
    cleanup_free void *written = new_buffer(16 * MIB, 1);
    cleanup_free void *read_back = new_buffer(16 * MIB, 2);
    int fd;

    assert_int_equal(start(host), 0);
    fd = open_device(host, O_RDWR);
    assert_int_equal(pwrite(fd, written, 16 * MIB, 12345 * 512), 16 * MIB);
    assert_int_equal(fsync(fd), 0);
    assert_memory_equal(image->data + 12345 * 512, written, 16 * MIB);
    assert_int_equal(ioctl(fd, BLKFLSBUF, 0), 0);
    assert_int_equal(pread(fd, read_back, 16 * MIB, 12345 * 512), 16 * MIB);
    assert_memory_equal(written, read_back, 16 * MIB);

    /* What is still in the cache when the device is given back must not be lost. */
    assert_int_equal(pwrite(fd, read_back, 4 * MIB, 0), 4 * MIB);
    close(fd);
    detach(host);
    assert_memory_equal(image->data, read_back, 4 * MIB);
    assert_gone(host->device);
}

static void test_discard_and_zeroes(void **state)
{
    struct host *host = *state;
    uint64_t discard[2] = {8 * MIB, 4 * MIB};
    uint64_t zeroes[2] = {4096 * 3, 4096};
    static const uint8_t zero[4096];
    int fd;

    memset(image->data, 0xaa, IMAGE_SIZE);
    assert_int_equal(start(host), 0);
    fd = open_device(host, O_RDWR | O_DIRECT);
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
    assert_int_equal(ask(host, STATS), 0);
    /* No zeroes were written as data. */
    assert_int_equal(host->answer.stats.write_bytes, 0);
    assert_true(latency_total(&host->answer.stats.done[BACKEND_DISCARD]) >= 2);
    detach(host);
    assert_gone(host->device);
}

static void test_512_byte_blocks(void **state)
{
    struct host *host = *state;
    cleanup_free uint8_t *written = new_buffer(4096, 1);
    int fd;
    int block;

    host->settings.logical_block_bytes = 512;
    atomic_store(&image->size, IMAGE_SIZE - 1536);
    assert_int_equal(start(host), 0);
    fd = open_device(host, O_RDWR | O_DIRECT);
    assert_int_equal(ioctl(fd, BLKSSZGET, &block), 0);
    assert_int_equal(block, 512);
    assert_int_equal(pwrite(fd, written, 512, 512 * 7), 512);
    assert_memory_equal(image->data + 512 * 7, written, 512);
    assert_int_equal(image->data[512 * 8], 0);
    assert_int_equal(pwrite(fd, written, 512, IMAGE_SIZE - 2048), 512);
    assert_memory_equal(image->data + IMAGE_SIZE - 2048, written, 512);
    close(fd);
    detach(host);
    assert_gone(host->device);
}

static void test_resize(void **state)
{
    struct host *host = *state;
    cleanup_free void *written = new_buffer(4096, 1);
    uint64_t size;
    int fd;

    assert_int_equal(start(host), 0);
    fd = open_device(host, O_RDWR | O_DIRECT);
    atomic_store(&image->size, IMAGE_MAX);
    assert_int_equal(ask(host, RESIZE), 0);
    assert_int_equal(ioctl(fd, BLKGETSIZE64, &size), 0);
    assert_int_equal(size, IMAGE_MAX);
    assert_int_equal(pwrite(fd, written, 4096, IMAGE_MAX - 4096), 4096);
    assert_memory_equal(image->data + IMAGE_MAX - 4096, written, 4096);

    /* Resized while nobody served: the successor finds out. */
    crash(host);
    atomic_store(&image->size, IMAGE_SIZE);
    assert_int_equal(start(host), 0);
    assert_int_equal(ioctl(fd, BLKGETSIZE64, &size), 0);
    assert_int_equal(size, IMAGE_SIZE);
    close(fd);
    detach(host);
    assert_gone(host->device);
}

static void test_read_only(void **state)
{
    struct host *host = *state;
    cleanup_free void *buffer = new_buffer(4096, 1);
    int fd;
    int ro = 0;

    memset(image->data, 0x55, 4096);
    host->settings.read_only = 1;
    assert_int_equal(start(host), 0);
    fd = open_device(host, O_RDONLY | O_DIRECT);
    assert_int_equal(ioctl(fd, BLKROGET, &ro), 0);
    assert_int_equal(ro, 1);
    assert_int_equal(pread(fd, buffer, 4096, 0), 4096);
    assert_memory_equal(buffer, image->data, 4096);
    close(fd);
    fd = open(host->device, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        assert_true(pwrite(fd, buffer, 4096, 0) < 0);
        close(fd);
    }
    assert_int_equal(ask(host, STATS), 0);
    assert_int_equal(latency_total(&host->answer.stats.done[BACKEND_WRITE]), 0);
    detach(host);
    assert_gone(host->device);
}

static void test_errors_reach_the_writer(void **state)
{
    static const int failures[][2] = {{-ESHUTDOWN, EIO}, {-EIO, EIO}, {-ETIMEDOUT, EIO}};
    struct host *host = *state;
    cleanup_free void *buffer = new_buffer(4096, 1);
    int fd, cached;

    assert_int_equal(start(host), 0);
    fd = open_device(host, O_RDWR | O_DIRECT);
    cached = open_device(host, O_RDWR);
    for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        atomic_store(&image->fail, failures[i][0]);
        assert_int_equal(pwrite(fd, buffer, 4096, 0), -1);
        assert_int_equal(errno, failures[i][1]);
        assert_int_equal(pread(fd, buffer, 4096, 0), -1);
        assert_int_equal(errno, failures[i][1]);
        /* Whoever wrote into the cache hears it from fsync. */
        assert_int_equal(pwrite(cached, buffer, 4096, 65536), 4096);
        assert_int_equal(fsync(cached), -1);
    }
    close(cached);
    atomic_store(&image->fail, -ENOSPC);
    assert_int_equal(pwrite(fd, buffer, 4096, 0), -1);
    atomic_store(&image->fail, 0);
    assert_int_equal(pwrite(fd, buffer, 4096, 0), 4096);
    assert_int_equal(ask(host, STATS), 0);
    assert_true(host->answer.stats.errors >= 10);

    /* A fenced volume can still be given back. */
    atomic_store(&image->fail, -ESHUTDOWN);
    close(fd);
    detach(host);
    assert_gone(host->device);
}

static void test_filesystem_and_busy_detach(void **state)
{
    struct host *host = *state;
    cleanup_free void *data = new_buffer(8 * MIB, 3);
    int fd;

    assert_int_equal(start(host), 0);
    assert_int_equal(run("mkfs.ext4", "-q", host->device), 0);
    mount_dir(host);
    write_file(host->dir, "a", data, 8 * MIB);

    assert_int_equal(ask(host, DETACH), -EBUSY);
    assert_non_null(strstr(host->answer.text, host->device));
    assert_int_equal(host->count, 3);
    write_file(host->dir, "b", data, MIB);
    unmount_dir(host);

    fd = open_device(host, O_RDONLY);
    assert_int_equal(ask(host, DETACH), -EBUSY);
    assert_true(is_configured(host->device));
    close(fd);

    mount_dir(host);
    check_file(host->dir, "a", data, 8 * MIB);
    check_file(host->dir, "b", data, MIB);
    unmount_dir(host);
    assert_int_equal(run("e2fsck", "-fn", host->device), 0);
    detach(host);
    assert_gone(host->device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attach_and_detach, setup, teardown),
        cmocka_unit_test_setup_teardown(test_direct_io, setup, teardown),
        cmocka_unit_test_setup_teardown(test_buffered_io_and_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(test_discard_and_zeroes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_512_byte_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resize, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_reach_the_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_filesystem_and_busy_detach, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
