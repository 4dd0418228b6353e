/* SPDX-License-Identifier: Apache-2.0 */
#include "live.h"

#include <errno.h>
#include <fcntl.h>

#include "rados/op.h"

/* Connecting: what works, and what each mistake is called. */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int try_connect(struct cluster_settings settings, int64_t ms, struct error *err)
{
    struct cluster *cluster = NULL;
    int r = cluster_connect(&settings, CLUSTER_CONTROL, deadline_in_ms(ms), &cluster, err);

    cluster_close(cluster);
    return r;
}

static void connects(void **state)
{
    struct cluster *cluster = live_connect(CLUSTER_CONTROL);

    (void)state;
    assert_true(cluster_pool_id(cluster) >= 0);
    assert_true(cluster_client_id(cluster) > 0);
    assert_non_null(strchr(cluster_address(cluster), '/'));
    cluster_close(cluster);
}

static void names_missing_conf(void **state)
{
    struct cluster_settings settings = live_settings();
    struct error err;

    (void)state;
    settings.conf = "/nonexistent/ceph.conf";
    assert_int_equal(try_connect(settings, 10000, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/ceph.conf does not exist"));
}

static void names_missing_keyring(void **state)
{
    struct cluster_settings settings = live_settings();
    struct error err;

    (void)state;
    settings.client = "nobody-knows-me";
    assert_int_equal(try_connect(settings, 10000, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no keyring for client.nobody-knows-me"));
}

static void names_missing_pool(void **state)
{
    struct cluster_settings settings = live_settings();
    struct error err;

    (void)state;
    settings.pool = "no-such-pool";
    assert_int_equal(try_connect(settings, 10000, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no pool 'no-such-pool'"));
}

/* The cluster's own ceph.conf as a new file PATH, a template of mkstemp(), where client.docker has
 * LINE in place of its line with WORD, or before its others. */
static void change_conf(char *path, const char *word, const char *line)
{
    FILE *from = fopen(live_settings().conf, "r");
    FILE *to;
    char text[1024];
    bool docker = false;

    assert_non_null(from);
    close(mkstemp(path));
    to = fopen(path, "w");
    assert_non_null(to);
    while (fgets(text, sizeof(text), from)) {
        if (text[0] == '[')
            docker = strncmp(text, "[client.docker]", 15) == 0;
        if (!docker || !strstr(text, word))
            fputs(text, to);
        if (docker && text[0] == '[')
            fprintf(to, "%s\n", line);
    }
    fclose(from);
    fclose(to);
}

static void names_wrong_key(void **state)
{
    struct cluster_settings settings = live_settings();
    char keyring[] = "/tmp/test-keyring-XXXXXX";
    char conf[] = "/tmp/test-conf-XXXXXX";
    char line[64];
    struct error err;

    (void)state;
    close(mkstemp(keyring));
    write_file(keyring, "[client.docker]\n\tkey = AQBDm9NkAAAAABAAhv4h0k8y5pYQ1V5Xo1m2eA==\n");
    snprintf(line, sizeof(line), "keyring = %s", keyring);
    change_conf(conf, "keyring", line);
    settings.conf = conf;
    assert_true(try_connect(settings, 10000, &err) < 0);
    assert_non_null(strstr(err.text, "refuses client.docker: its key"));
    unlink(keyring);
    unlink(conf);
}

static int messenger_threads(const struct cluster_settings *settings)
{
    struct cluster *cluster = NULL;
    char number[16];
    struct error err;

    assert_int_equal(cluster_connect(settings, CLUSTER_DATA, deadline_in_ms(10000), &cluster, &err),
                     0);
    assert_int_equal(
        rados_conf_get(cluster_rados(cluster), "ms_async_op_threads", number, sizeof(number)), 0);
    cluster_close(cluster);
    return atoi(number);
}

static void has_no_more_messenger_threads_than_processors_serve(void **state)
{
    struct cluster_settings settings = live_settings();
    char conf[] = "/tmp/test-conf-XXXXXX";
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    (void)state;
    assert_int_equal(messenger_threads(&settings), processors >= 6 ? 3 : processors >= 4 ? 2 : 1);
    change_conf(conf, "ms_async_op_threads", "ms_async_op_threads = 5");
    settings.conf = conf;
    assert_int_equal(messenger_threads(&settings), 5);
    unlink(conf);
}

static void gives_up_without_monitors(void **state)
{
    struct cluster_settings settings = live_settings();
    char conf[] = "/tmp/test-conf-XXXXXX";
    char keyring[] = "/tmp/test-keyring-XXXXXX";
    char text[512];
    struct error err;
    int64_t begin = clock_now();

    (void)state;
    close(mkstemp(conf));
    close(mkstemp(keyring));
    write_file(keyring, "[client.docker]\n\tkey = AQBDm9NkAAAAABAAhv4h0k8y5pYQ1V5Xo1m2eA==\n");
    snprintf(text, sizeof(text),
             "[global]\nfsid = 00000000-0000-0000-0000-000000000001\n"
             "mon_host = 127.0.0.1:1\nkeyring = %s\n",
             keyring);
    write_file(conf, text);
    settings.conf = conf;
    assert_int_equal(try_connect(settings, 2000, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "no Ceph monitor answers"));
    assert_true(clock_now() - begin < 30 * NS_PER_S);
    unlink(conf);
    unlink(keyring);
}

static void an_operation_ends_at_its_deadline(void **state)
{
    struct cluster *cluster = live_connect(CLUSTER_CONTROL);
    int r = op_call(cluster_io(cluster), "rbd_directory", "rbd", "dir_list", NULL, NULL,
                    clock_now() - NS_PER_S);

    (void)state;
    assert_true(r == -ETIMEDOUT || r == -EINVAL); /* it may be faster than a past deadline */
    /* Its memory is freed when its answer comes: before that of another one. */
    op_call(cluster_io(cluster), "rbd_directory", "rbd", "dir_list", NULL, NULL, soon());
    cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connects),
        cmocka_unit_test(names_missing_conf),
        cmocka_unit_test(names_missing_keyring),
        cmocka_unit_test(names_missing_pool),
        cmocka_unit_test(names_wrong_key),
        cmocka_unit_test(has_no_more_messenger_threads_than_processors_serve),
        cmocka_unit_test(gives_up_without_monitors),
        cmocka_unit_test(an_operation_ends_at_its_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
