/* SPDX-License-Identifier: Apache-2.0 */

/* A watch on an object whose OSDs stand still for a while: they must be those of the cluster that
 * CEPH_CONF names, on this machine. */

#include "live.h"

#include <dirent.h>
#include <errno.h>
#include <rados/librados.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/file.h"
#include "image/watch.h"
#include "rados/op.h"

#define OSDS_MAX  16
#define TIMEOUT_S 60 /* of the watches: none goes away by itself while a test runs */

static pid_t osds[OSDS_MAX];
static unsigned osd_count;

/* As scripts/dev-cluster keeps them, beside ceph.conf. */
static void find_osds(void)
{
    struct cluster_settings settings = live_settings();
    struct dirent *entry;
    char run[256];
    DIR *dir;

    snprintf(run, sizeof(run), "%.*s/run", (int)(strrchr(settings.conf, '/') - settings.conf),
             settings.conf);
    dir = opendir(run);
    assert_non_null(dir);
    osd_count = 0;
    while ((entry = readdir(dir)) && osd_count < OSDS_MAX) {
        size_t len = strlen(entry->d_name);
        char path[600];
        struct error err;
        char *text;

        if (strncmp(entry->d_name, "osd.", 4) != 0 || strcmp(entry->d_name + len - 4, ".pid") != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", run, entry->d_name);
        assert_ok(file_read(path, 64, &text, &len, &err), err);
        osds[osd_count++] = atoi(text);
        free(text);
    }
    closedir(dir);
    assert_true(osd_count > 0);
}

static void signal_osds(int number)
{
    for (unsigned i = 0; i < osd_count; i++)
        assert_int_equal(kill(osds[i], number), 0);
}

/* What `rados listwatchers` prints, a line for each. */
static unsigned count_watchers(const char *object)
{
    struct cluster_settings settings = live_settings();
    unsigned count = 0;
    int ends[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], 1);
        execlp("rados", "rados", "--conf", settings.conf, "--id", "docker", "-p", "docker",
               "listwatchers", object, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    while (read(ends[0], &byte, 1) == 1)
        count += byte == '\n';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &(int){0}, 0), pid);
    return count;
}

struct scene {
    struct cluster *cluster;
    char object[80];
};

static int setup(void **state)
{
    static struct scene scene;
    cleanup_op struct op *op = op_write();

    scene.cluster = live_connect(CLUSTER_CONTROL);
    snprintf(scene.object, sizeof(scene.object), "%s", live_name("watch"));
    op_create(op, true);
    assert_int_equal(op_run(op, cluster_io(scene.cluster), scene.object, soon()), 0);
    find_osds();
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    cleanup_op struct op *op = op_write();

    signal_osds(SIGCONT); /* after a test that failed half-way */
    op_remove(op);
    assert_int_equal(op_run(op, cluster_io(scene->cluster), scene->object, soon()), 0);
    cluster_close(scene->cluster);
    return 0;
}

static void test_attempts_that_took_too_long_leave_one_watch(void **state)
{
    struct scene *scene = *state;
    struct watch *watch;
    struct error err;

    assert_ok(watch_open(scene->cluster, scene->object, TIMEOUT_S, soon(), &watch, &err), err);
    assert_int_equal(count_watchers(scene->object), 1);
    signal_osds(SIGSTOP);
    for (int i = 0; i < 4; i++)
        assert_int_equal(watch_reopen(watch, deadline_in_ms(300)), -ETIMEDOUT);
    signal_osds(SIGCONT);
    assert_int_equal(watch_reopen(watch, soon()), 0);
    assert_true(watch_check(watch) >= 0);
    assert_int_equal(count_watchers(scene->object), 1);
    watch_close(watch, soon());
    assert_int_equal(count_watchers(scene->object), 0);
}

static void test_an_attempt_that_took_too_long_is_taken_back(void **state)
{
    struct scene *scene = *state;
    struct watch *watch;
    struct error err;

    assert_ok(watch_open(scene->cluster, scene->object, TIMEOUT_S, soon(), &watch, &err), err);
    signal_osds(SIGSTOP);
    assert_int_equal(watch_reopen(watch, deadline_in_ms(300)), -ETIMEDOUT);
    signal_osds(SIGCONT);
    watch_close(watch, soon());
    assert_int_equal(count_watchers(scene->object), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_attempts_that_took_too_long_leave_one_watch, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_attempt_that_took_too_long_is_taken_back, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
