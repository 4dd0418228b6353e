/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "block/backend.h"

static const char *kept; /* the one name that the keeper has something under */

static int fetch(struct fd_keeper *keeper, const char *name)
{
    (void)keeper;
    return kept && strcmp(name, kept) == 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
}

/* A successor goes on with what its predecessor used, whatever is wanted now. */
static void test_a_predecessors(void **state)
{
    static const struct {
        const char *name;
        const struct backend_ops *ops;
    } all[] = {{"nbd", &nbd_backend},
               {"fuse", &fuse_loop_backend},
               {"root", &fuse_loop_backend},
               {"loop", &fuse_loop_backend}};
    static const char *const wanted[] = {"auto", "nbd", "fuse"};
    struct fd_keeper keeper = {.fetch = fetch};
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        kept = all[i].name;
        for (size_t j = 0; j < sizeof(wanted) / sizeof(wanted[0]); j++)
            assert_ptr_equal(backend_choose(wanted[j], &keeper, &err), all[i].ops);
    }
}

/* A machine without it says which one it is that is missing, and of no other. */
static void test_wanted(void **state)
{
    static const struct backend_ops *const all[] = {&nbd_backend, &fuse_loop_backend};
    struct fd_keeper keeper = {.fetch = fetch};
    struct error err;

    (void)state;
    kept = NULL;
    for (size_t i = 0; i < 2; i++) {
        const struct backend_ops *ops = backend_choose(all[i]->name, &keeper, &err);

        if (ops) {
            assert_ptr_equal(ops, all[i]);
            continue;
        }
        assert_int_equal(err.code, -EOPNOTSUPP);
        assert_non_null(strstr(err.text, all[i]->name));
        assert_non_null(strstr(err.text, "modprobe"));
        assert_null(strstr(err.text, ";"));
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_true(backend_is_known("auto") && backend_is_known("nbd") && backend_is_known("fuse"));
    assert_false(backend_is_known("") || backend_is_known("loop") || backend_is_known("NBD"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_predecessors),
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
