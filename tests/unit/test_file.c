/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void assert_content(const char *path, const void *data, size_t len)
{
    cleanup_free char *content = NULL;
    struct error err = {0};
    size_t content_len;

    assert_int_equal(file_read(path, 1 << 20, &content, &content_len, &err), 0);
    assert_int_equal(content_len, len);
    assert_memory_equal(content, data, len);
    assert_int_equal(content[len], '\0');
}

static void test_replace_and_read(void **state)
{
    const char *path = scratch_path(state, "state.json");

    assert_int_equal(file_replace(path, "first", 5, NULL), 0);
    assert_content(path, "first", 5);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(file_replace(path, "a\0b", 3, NULL), 0);
    assert_content(path, "a\0b", 3);
    assert_int_equal(file_replace(path, "", 0, NULL), 0);
    assert_content(path, "", 0);
    assert_int_equal(scratch_entries(*state), 1); /* no half-made file beside it */
}

static void test_replace_long_names(void **state)
{
    char name[NAME_MAX + 2];
    struct error err = {0};

    memset(name, 'n', sizeof(name));
    name[NAME_MAX] = '\0';
    assert_int_equal(file_replace(scratch_path(state, name), "x", 1, NULL), 0);
    assert_content(scratch_path(state, name), "x", 1);

    name[NAME_MAX] = 'n';
    name[NAME_MAX + 1] = '\0';
    assert_int_equal(file_replace(scratch_path(state, name), "x", 1, &err), -ENAMETOOLONG);
    assert_int_equal(scratch_entries(*state), 1);
}

static void test_replace_fails_clean(void **state)
{
    struct error err = {0};

    assert_int_equal(file_replace(scratch_path(state, "no/such"), "x", 1, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/no/"));
    /* a directory is not replaced by a file */
    assert_int_equal(file_make_dir(scratch_path(state, "dir"), 0700, NULL), 0);
    assert_int_equal(file_replace(scratch_path(state, "dir"), "x", 1, &err), -EISDIR);
    assert_non_null(strstr(err.text, "/dir'"));
    assert_int_equal(scratch_entries(*state), 1);
}

/* Two writers, one file: a reader sees one text or the other, whole. */
struct writer {
    const char *path;
    char letter;
    int failures;
};

enum { WRITES = 40, TEXT_BYTES = 20000 };

static void *write_often(void *arg)
{
    struct writer *writer = arg;
    char text[TEXT_BYTES];

    memset(text, writer->letter, sizeof(text));
    for (int i = 0; i < WRITES; i++)
        writer->failures += file_replace(writer->path, text, sizeof(text), NULL) < 0;
    return NULL;
}

static void test_replace_is_whole(void **state)
{
    char path[512];
    struct writer writers[2] = {{.path = path, .letter = 'a'}, {.path = path, .letter = 'b'}};
    pthread_t threads[2];

    snprintf(path, sizeof(path), "%s", scratch_path(state, "file"));
    assert_int_equal(file_replace(path, "", 0, NULL), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_often, &writers[i]), 0);
    for (int i = 0; i < 200; i++) {
        cleanup_free char *text = NULL;
        size_t len;

        assert_int_equal(file_read(path, TEXT_BYTES, &text, &len, NULL), 0);
        assert_true(len == 0 || len == TEXT_BYTES);
        for (size_t at = 0; at < len; at++)
            assert_int_equal(text[at], text[0]);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(writers[i].failures, 0);
    }
    assert_int_equal(scratch_entries(*state), 1);
}

static void test_remove_unfinished(void **state)
{
    static const char *const stay[] = {"volume.json", ".new.", ".new.json", ".new.abcdefg",
                                       "new.abcdef"};
    const size_t count = sizeof(stay) / sizeof(stay[0]);

    for (size_t i = 0; i < count; i++)
        assert_int_equal(file_replace(scratch_path(state, stay[i]), "x", 1, NULL), 0);
    assert_int_equal(file_replace(scratch_path(state, ".new.a1B2c3"), "half", 4, NULL), 0);
    file_remove_unfinished(*state);
    assert_int_equal(scratch_entries(*state), count);
    for (size_t i = 0; i < count; i++)
        assert_content(scratch_path(state, stay[i]), "x", 1);
    file_remove_unfinished(scratch_path(state, "no-such-directory"));
}

static void test_read_limits(void **state)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 8192, 100000};
    const char *path = scratch_path(state, "file");
    cleanup_free char *data = calloc(1, 100001);
    struct error err = {0};

    assert_non_null(data);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *text = NULL;
        size_t len = 77;

        assert_int_equal(file_replace(path, data, sizes[i] + 1, NULL), 0);
        assert_int_equal(file_read(path, sizes[i], &text, &len, &err), -EFBIG);
        assert_null(text);
        assert_int_equal(len, 77);
        assert_non_null(strstr(err.text, path));

        assert_int_equal(file_read(path, sizes[i] + 1, &text, &len, &err), 0);
        assert_int_equal(len, sizes[i] + 1);
        free(text);
        assert_int_equal(file_read(path, SIZE_MAX, &text, &len, &err), 0);
        assert_int_equal(len, sizes[i] + 1);
        free(text);
    }
}

/* Files of /proc say that they are empty. */
static void test_read_proc(void **state)
{
    cleanup_free char *text = NULL;
    size_t len;

    (void)state;
    assert_int_equal(file_read("/proc/self/status", 1 << 20, &text, &len, NULL), 0);
    assert_true(len > 100);
    assert_int_equal(strlen(text), len);
    assert_memory_equal(text, "Name:", 5);
}

static void test_read_fails(void **state)
{
    const char *path = scratch_path(state, "nothing");
    struct error err = {0};
    char *text = NULL;
    size_t len;

    assert_int_equal(file_read(path, 100, &text, &len, &err), -ENOENT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(file_read(*state, 100, &text, &len, &err), -EISDIR);
    assert_null(text);
}

static void test_make_dir(void **state)
{
    mode_t mask = umask(077);

    /* modes are as asked for, whatever the umask of who starts us */
    assert_int_equal(file_make_dir(scratch_path(state, "a/b/c"), 0750, NULL), 0);
    assert_int_equal(mode_of(scratch_path(state, "a")), 0755);
    assert_int_equal(mode_of(scratch_path(state, "a/b")), 0755);
    assert_int_equal(mode_of(scratch_path(state, "a/b/c")), 0750);
    /* what is there stays as it is */
    assert_int_equal(chmod(scratch_path(state, "a/b"), 0700), 0);
    assert_int_equal(file_make_dir(scratch_path(state, "a/b"), 0711, NULL), 0);
    assert_int_equal(mode_of(scratch_path(state, "a/b")), 0700);
    assert_int_equal(file_make_dir(scratch_path(state, "a//b///d//"), 0711, NULL), 0);
    assert_int_equal(mode_of(scratch_path(state, "a/b/d")), 0711);
    assert_int_equal(file_make_dir("/", 0700, NULL), 0);
    umask(mask);
}

static void test_make_dir_fails(void **state)
{
    char longer[PATH_MAX + 1];
    struct error err = {0};

    assert_int_equal(file_replace(scratch_path(state, "file"), "", 0, NULL), 0);
    assert_int_equal(file_make_dir(scratch_path(state, "file"), 0700, &err), -ENOTDIR);
    assert_non_null(strstr(err.text, "/file'"));
    assert_int_equal(file_make_dir(scratch_path(state, "file/a"), 0700, &err), -ENOTDIR);
    assert_int_equal(file_make_dir("", 0700, &err), -ENOENT);
    memset(longer, 'd', PATH_MAX);
    longer[PATH_MAX] = '\0';
    assert_int_equal(file_make_dir(longer, 0700, &err), -ENAMETOOLONG);
}

static void test_relative_path(void **state)
{
    cleanup_close int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(before >= 0);
    assert_int_equal(chdir(*state), 0);
    assert_int_equal(file_make_dir("dir", 0700, NULL), 0);
    assert_int_equal(file_replace("name", "x", 1, NULL), 0);
    assert_int_equal(file_replace("dir/name", "y", 1, NULL), 0);
    assert_int_equal(fchdir(before), 0);
    assert_content(scratch_path(state, "name"), "x", 1);
    assert_content(scratch_path(state, "dir/name"), "y", 1);
}

#define scratch_test(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(test_replace_and_read),
        scratch_test(test_replace_long_names),
        scratch_test(test_replace_fails_clean),
        scratch_test(test_replace_is_whole),
        scratch_test(test_remove_unfinished),
        scratch_test(test_read_limits),
        scratch_test(test_read_proc),
        scratch_test(test_read_fails),
        scratch_test(test_make_dir),
        scratch_test(test_make_dir_fails),
        scratch_test(test_relative_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
