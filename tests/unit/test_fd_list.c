/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/fd_list.h"

static int new_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void assert_order(const struct fd_list *list)
{
    for (unsigned i = 0; i < list->count; i++) {
        assert_true(is_open(list->items[i].fd));
        assert_true(fcntl(list->items[i].fd, F_GETFD) & FD_CLOEXEC);
        assert_true(i == 0 || list->items[i].fd < list->items[i - 1].fd);
    }
}

/* Each number is lower than those before it, whatever numbers there are, so that a death closes
 * them in the same order as fd_list_drop. */
static void test_numbers_fall(void **state)
{
    struct fd_list list = {0};
    struct stat before, after;
    int pipe_ends[2];

    (void)state;
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    assert_int_equal(fstat(pipe_ends[0], &before), 0);
    assert_int_equal(fd_list_put(&list, "fuse", pipe_ends[0]), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(fd_list_put(&list, "root", new_fd()), 0);
        assert_int_equal(fd_list_put(&list, "loop", new_fd()), 0);
        assert_int_equal(list.count, 3);
        assert_order(&list);
        assert_string_equal(list.items[0].name, "fuse");
        assert_string_equal(list.items[2].name, "loop");
        fd_list_remove(&list, "loop");
        assert_order(&list);
    }
    assert_int_equal(fstat(fd_list_get(&list, "fuse"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(fd_list_get(&list, "loop"), -1);
    fd_list_drop(&list);
    assert_int_equal(list.count, 0);
    close(pipe_ends[1]);
}

static void test_replaced_in_place(void **state)
{
    struct fd_list list = {0};
    int first = new_fd();
    int second = new_fd();

    (void)state;
    assert_int_equal(fd_list_put(&list, "a", second), 0);
    assert_int_equal(fd_list_put(&list, "b", first), 0);
    assert_int_equal(fd_list_get(&list, "a"), second); /* in order already */
    assert_int_equal(fd_list_put(&list, "a", new_fd()), 0);
    assert_false(is_open(second));
    assert_string_equal(list.items[0].name, "a");
    assert_order(&list);
    fd_list_drop(&list);
    assert_false(is_open(first));
    fd_list_remove(&list, "a"); /* nothing */
}

static void test_full(void **state)
{
    struct fd_list list = {0};
    char name[FD_NAME_MAX];
    int fd;

    (void)state;
    for (unsigned i = 0; i < FD_LIST_MAX; i++) {
        snprintf(name, sizeof(name), "fd-%u", i);
        assert_int_equal(fd_list_put(&list, name, new_fd()), 0);
    }
    fd = new_fd();
    assert_int_equal(fd_list_put(&list, "one more", fd), -ENOSPC);
    assert_false(is_open(fd));
    assert_int_equal(fd_list_put(&list, "fd-0", new_fd()), 0);
    assert_order(&list);
    fd_list_drop(&list);
}

static void test_raise(void **state)
{
    int low = new_fd();
    int high;

    (void)state;
    assert_int_equal(fd_raise(low, low - 1), low);
    high = fd_raise(low, low + 5);
    assert_true(high > low + 5);
    assert_false(is_open(low));
    assert_int_equal(fd_raise(high, 1 << 30), high); /* no such numbers */
    close(high);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_fall),
        cmocka_unit_test(test_replaced_in_place),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_raise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
