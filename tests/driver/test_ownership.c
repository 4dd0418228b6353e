/* SPDX-License-Identifier: Apache-2.0 */
#include "images.h"
#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "image/io.h"
#include "image/names.h"
#include "image/ownership.h"
#include "image/takeover.h"
#include "rados/header_notify.h"
#include "rados/op.h"

struct fixture {
    struct cluster *control; /* somebody else */
    struct cluster *data;    /* the owner */
    const char *name;
    struct image_header header;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->control = live_connect(CLUSTER_CONTROL);
    f->data = live_connect(CLUSTER_DATA);
    f->name = live_name("owned");
    f->header = test_image_make(f->control, f->name, 64 * MIB, 22);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    test_image_remove(f->control, f->name, f->header.id);
    cluster_close(f->data);
    cluster_close(f->control);
    free(f);
    return 0;
}

static struct ownership *acquire(struct fixture *f, const char *token)
{
    struct image_header header = {0};
    struct ownership *o;
    struct error err;

    assert_ok(
        ownership_acquire(f->data, f->header.id, "host-a", token, 15, soon(), &header, &o, &err),
        err);
    image_header_free(&header);
    return o;
}

static struct lock_info lock_of(struct fixture *f)
{
    struct image_header header = {0};
    struct lock_info lock;
    struct error err;

    assert_ok(image_read_header(f->control, f->header.id, soon(), &header, &err), err);
    lock = header.lock;
    image_header_free(&header);
    return lock;
}

static void the_lock_looks_like_librbds(void **state)
{
    struct fixture *f = *state;
    struct ownership *o = acquire(f, "");
    struct lock_info lock = lock_of(f);

    assert_int_equal(lock.count, 1);
    assert_int_equal(lock.type, LOCK_EXCLUSIVE);
    assert_string_equal(lock.tag, "internal");
    assert_int_equal(strncmp(lock.holder.cookie, "auto ", 5), 0);
    assert_int_equal(lock.holder.client_id, cluster_client_id(f->data));
    assert_string_equal(lock.holder.address, cluster_address(f->data));
    assert_int_equal(ownership_state(o), OWNERSHIP_OWNED);
    ownership_release(o);
    lock = lock_of(f);
    assert_int_equal(lock.count, 0);
}

static void a_second_owner_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    struct server server = {.ownership = acquire(f, "one")};
    struct ownership *second = NULL;
    struct image_header header = {0};
    struct error err;

    serve_start(&server);
    assert_int_equal(ownership_acquire(f->control, f->header.id, "host-b", "two", 15, soon(),
                                       &header, &second, &err),
                     -EBUSY);
    assert_non_null(strstr(err.text, "host-a since 20"));
    assert_non_null(strstr(err.text, "it is alive"));
    serve_stop(&server);
    ownership_release(server.ownership);
    assert_ok(ownership_acquire(f->control, f->header.id, "host-b", "two", 15, soon(), &header,
                                &second, &err),
              err);
    image_header_free(&header);
    ownership_release(second);
}

/* It watches and answers nothing. The deadline ends in the middle of a look at it, and that look's
 * failure was what the refusal spoke of. */
static void a_silent_owner_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    struct ownership *silent = acquire(f, "one");
    struct image_header header = {0};
    struct ownership *second = NULL;
    struct error err;

    for (int64_t ms = 1500; ms <= 2700; ms += 400) {
        assert_true(ownership_acquire(f->control, f->header.id, "host-b", "two", 15,
                                      deadline_in_ms(ms), &header, &second, &err) < 0);
        assert_non_null(strstr(err.text, "host-a since 20"));
        assert_non_null(strstr(err.text, "the cluster has not given it up yet"));
    }
    ownership_release(silent);
}

static int32_t ask_owner(struct fixture *f, enum notify_op what)
{
    struct encoder payload = {0};
    struct encoder bytes = {0};
    struct notify_answer answer = {0};
    int32_t result;

    notify_encode_client(&payload, what, cluster_client_id(f->control), 1);
    {
        char object[OBJECT_NAME_MAX];

        name_header(object, f->header.id);
        assert_int_equal(op_notify(cluster_io(f->control), object, &payload, 5000, &bytes, soon()),
                         0);
    }
    assert_int_equal(notify_decode_answer(decoder_of(bytes.data, bytes.len), &answer), 0);
    assert_int_equal(answer.ack_count, 1);
    assert_int_equal(answer.acks[0].client_id, cluster_client_id(f->data));
    result = answer.acks[0].result;
    notify_answer_free(&answer);
    encoder_free(&payload);
    encoder_free(&bytes);
    return result;
}

static void the_owner_answers_as_librbd_expects(void **state)
{
    struct fixture *f = *state;
    struct server server = {.ownership = acquire(f, "")};

    serve_start(&server);
    assert_int_equal(ask_owner(f, NOTIFY_REQUEST_LOCK), -EROFS);
    assert_int_equal(ask_owner(f, NOTIFY_FLATTEN), -EROFS); /* without I/O it does nothing */
    assert_int_equal(ask_owner(f, NOTIFY_RELEASED_LOCK), 0);
    serve_stop(&server);
    assert_int_equal(lock_of(f).count, 1);
    ownership_release(server.ownership);
}

static void resized(void *arg, uint64_t size)
{
    *(uint64_t *)arg = size;
}

static void the_owner_follows_the_header(void **state)
{
    struct fixture *f = *state;
    struct server server = {.ownership = acquire(f, "")};
    struct encoder in = {0};
    char object[OBJECT_NAME_MAX];
    struct image_io *io;
    uint64_t seen = 0;
    struct error err;

    assert_ok(image_io_open(f->data, &f->header, &io, &err), err);
    ownership_attach_io(server.ownership, io);
    ownership_on_resize(server.ownership, resized, &seen);
    serve_start(&server);
    rbd_encode_set_size(&in, 96 * MIB);
    name_header(object, f->header.id);
    assert_int_equal(op_call_write(cluster_io(f->control), object, "rbd", "set_size", &in, soon()),
                     0);
    encoder_free(&in);
    assert_int_equal(ask_owner(f, NOTIFY_SNAP_RENAME), -EOPNOTSUPP);
    assert_int_equal(ask_owner(f, NOTIFY_SNAP_CREATE), -EINVAL); /* without a name */
    /* the acknowledgement comes only after the refresh */
    assert_int_equal(ask_owner(f, NOTIFY_HEADER_UPDATE), 0);
    assert_int_equal(image_io_size(io), 96 * MIB);
    assert_int_equal(seen, 96 * MIB);
    serve_stop(&server);
    ownership_release(server.ownership);
    image_io_close(io);
}

/* The cluster was slow: it changed the cookie, for a new watch, after we had stopped waiting. */
static void a_cookie_that_changed_unheard_is_no_fence(void **state)
{
    struct fixture *f = *state;
    struct server server = {.ownership = acquire(f, "")};
    struct lock_info lock = lock_of(f);
    struct encoder in = {0};
    char object[OBJECT_NAME_MAX];
    char data[512] = {0};
    struct image_io *io;
    struct error err;

    assert_ok(image_io_open(f->data, &f->header, &io, &err), err);
    ownership_attach_io(server.ownership, io);
    serve_start(&server);
    lock_encode_set_cookie(&in, RBD_LOCK_NAME, LOCK_EXCLUSIVE, lock.holder.cookie, RBD_LOCK_TAG,
                           "auto 4711");
    name_header(object, f->header.id);
    assert_int_equal(op_call_write(cluster_io(f->data), object, "lock", "set_cookie", &in, soon()),
                     0);
    encoder_free(&in);
    assert_int_equal(ask_owner(f, NOTIFY_HEADER_UPDATE), 0);
    assert_int_equal(image_run(io, IMAGE_WRITE, 0, sizeof(data), data), 0);
    serve_stop(&server);
    assert_int_equal(ownership_state(server.ownership), OWNERSHIP_OWNED);
    ownership_release(server.ownership);
    assert_int_equal(lock_of(f).count, 0);
    image_io_close(io);
}

static void a_broken_lock_is_never_written_again(void **state)
{
    struct fixture *f = *state;
    struct ownership *o = acquire(f, "");
    struct lock_info lock = lock_of(f);
    struct encoder in = {0};
    char object[OBJECT_NAME_MAX];
    char data[512] = {0};
    struct image_io *io;
    struct server server = {.ownership = o};
    struct error err;

    assert_ok(image_io_open(f->data, &f->header, &io, &err), err);
    ownership_attach_io(o, io);
    serve_start(&server);
    lock_encode_break(&in, RBD_LOCK_NAME, lock.holder.client_id, lock.holder.cookie);
    name_header(object, f->header.id);
    assert_int_equal(
        op_call_write(cluster_io(f->control), object, "lock", "break_lock", &in, soon()), 0);
    encoder_free(&in);
    ask_owner(f, NOTIFY_HEADER_UPDATE);
    assert_int_equal(image_run(io, IMAGE_WRITE, 0, sizeof(data), data), -ESHUTDOWN);
    serve_stop(&server);
    assert_int_equal(ownership_state(o), OWNERSHIP_FENCED);
    ownership_release(o);
    image_io_close(io);
}

/* A process that owns the image and writes without end, until it is told to end by a signal. A
 * program of its own, not a fork: a forked client's random address would be this process' next one,
 * and fencing the one would fence the other. */
static int victim_main(const char *id, const char *token, unsigned watch_timeout_s)
{
    struct cluster *cluster = live_connect(CLUSTER_DATA);
    struct image_header header = {0};
    struct ownership *o;
    struct image_io *io;
    char data[4096];

    alarm(60);
    memset(data, 'v', sizeof(data));
    if (ownership_acquire(cluster, id, "host-v", token, watch_timeout_s, soon(), &header, &o,
                          NULL) < 0 ||
        image_io_open(cluster, &header, &io, NULL) < 0)
        return 1;
    ownership_attach_io(o, io);
    if (write(STDOUT_FILENO, "x", 1) < 0)
        return 3;
    for (;;) {
        ownership_run(o);
        if (image_run(io, IMAGE_WRITE, 0, sizeof(data), data) < 0)
            _exit(2); /* fenced */
    }
}

static pid_t start_victim(struct fixture *f, const char *token, unsigned watch_timeout_s)
{
    char timeout[16];
    int ready[2];
    char byte;
    pid_t pid;

    snprintf(timeout, sizeof(timeout), "%u", watch_timeout_s);
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        dup2(ready[1], STDOUT_FILENO);
        execl("/proc/self/exe", "victim", f->header.id, token, timeout, (char *)NULL);
        _exit(127);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static bool has_record(struct fixture *f)
{
    struct image_header header = {0};
    struct error err;
    bool found = false;

    assert_ok(image_read_header(f->control, f->header.id, soon(), &header, &err), err);
    for (size_t i = 0; i < header.metadata.count; i++) {
        if (strncmp(header.metadata.items[i].key, TAKEOVER_KEY, strlen(TAKEOVER_KEY)) == 0)
            found = strstr(header.metadata.items[i].value, "host-v since") != NULL;
    }
    image_header_free(&header);
    return found;
}

static void a_dead_predecessor_is_fenced_at_once(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_victim(f, "same-token", 30);
    struct ownership *o;
    struct lock_info lock;
    int64_t begin;

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    lock = lock_of(f);
    assert_int_equal(lock.count, 1); /* it died with its lock */
    begin = clock_now();
    o = acquire(f, "same-token");
    assert_true(clock_now() - begin < 25 * NS_PER_S); /* not after the watch's 30 s */
    assert_int_equal(lock_of(f).holder.client_id, cluster_client_id(f->data));
    assert_int_not_equal(lock.holder.client_id, cluster_client_id(f->data));
    assert_false(has_record(f));
    ownership_release(o);
}

static void a_dead_owner_is_taken_over_when_its_watch_is_gone(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_victim(f, "theirs", 5);
    struct ownership *o;

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    o = acquire(f, "ours");
    assert_int_equal(lock_of(f).holder.client_id, cluster_client_id(f->data));
    assert_true(has_record(f));
    ownership_release(o);
}

static void an_owner_that_hangs_is_fenced_and_never_writes_again(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_victim(f, "theirs", 5);
    struct ownership *o;
    struct image_io *io;
    char data[4096];
    int status;
    struct error err;

    kill(pid, SIGSTOP);
    o = acquire(f, "ours");
    assert_true(has_record(f));
    assert_ok(image_io_open(f->data, &f->header, &io, &err), err);
    memset(data, 'n', sizeof(data));
    assert_int_equal(image_run(io, IMAGE_WRITE, 0, sizeof(data), data), 0);
    kill(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 2); /* its write failed */
    assert_int_equal(image_run(io, IMAGE_READ, 0, sizeof(data), data), 0);
    for (size_t i = 0; i < sizeof(data); i++)
        assert_int_equal(data[i], 'n');
    ownership_release(o);
    image_io_close(io);
}

/* Each takeover has a record of its own, also within one second, and the oldest make room. */
static void records_are_kept_apart_and_few(void **state)
{
    struct fixture *f = *state;
    struct image_header header = {0};
    struct lock_info lock = {.count = 1};
    unsigned count = 0;
    struct error err;

    for (unsigned i = 0; i < TAKEOVER_RECORDS_MAX + 3; i++) {
        char why[16];

        snprintf(why, sizeof(why), "reason %02u", i);
        assert_ok(takeover_record(f->control, f->header.id, &lock, "host-a", why, soon(), &err),
                  err);
    }
    assert_ok(image_read_header(f->control, f->header.id, soon(), &header, &err), err);
    for (size_t i = 0; i < header.metadata.count; i++) {
        char why[16];

        if (strncmp(header.metadata.items[i].key, TAKEOVER_KEY, strlen(TAKEOVER_KEY)) != 0)
            continue;
        snprintf(why, sizeof(why), "reason %02u", 3 + count++);
        assert_non_null(strstr(header.metadata.items[i].value, why));
    }
    assert_int_equal(count, TAKEOVER_RECORDS_MAX);
    image_header_free(&header);
}

static void a_lock_made_by_hand_is_respected(void **state)
{
    struct fixture *f = *state;
    struct encoder in = {0};
    struct image_header header = {0};
    struct ownership *o;
    char object[OBJECT_NAME_MAX];
    struct error err;

    name_header(object, f->header.id);
    lock_encode_lock(&in, RBD_LOCK_NAME, LOCK_EXCLUSIVE, "maintenance", "", "", 0);
    assert_int_equal(op_call_write(cluster_io(f->control), object, "lock", "lock", &in, soon()), 0);
    encoder_free(&in);
    assert_int_equal(
        ownership_acquire(f->data, f->header.id, "host-a", "", 15, soon(), &header, &o, &err),
        -EBUSY);
    assert_non_null(strstr(err.text, "made by hand"));
    lock_encode_unlock(&in, RBD_LOCK_NAME, "maintenance");
    assert_int_equal(op_call_write(cluster_io(f->control), object, "lock", "unlock", &in, soon()),
                     0);
    encoder_free(&in);
}

static void descriptions_are_read_back(void **state)
{
    struct lock_info lock = {.count = 1, .holder = {.client_id = 7}};
    char host[64];
    char since[64];
    char text[256];

    (void)state;
    snprintf(lock.holder.description, sizeof(lock.holder.description),
             "docker-volume-rados host=h.example since=2026-11-24T10:00:00Z token=abc");
    ownership_parse_description(lock.holder.description, host, sizeof(host), since, sizeof(since));
    assert_string_equal(host, "h.example");
    assert_string_equal(since, "2026-11-24T10:00:00Z");
    ownership_parse_description("somebody's lock host=evil", host, sizeof(host), since,
                                sizeof(since));
    assert_string_equal(host, "");
    assert_string_equal(since, "");
    snprintf(lock.holder.address, sizeof(lock.holder.address), "10.0.0.1:0/5");
    lock.holder.description[0] = '\0';
    ownership_describe(&lock, text, sizeof(text));
    assert_string_equal(text, "client 7 at 10.0.0.1:0/5");
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_lock_looks_like_librbds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_owner_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_owner_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(the_owner_answers_as_librbd_expects, setup, teardown),
        cmocka_unit_test_setup_teardown(the_owner_follows_the_header, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cookie_that_changed_unheard_is_no_fence, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_lock_is_never_written_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_predecessor_is_fenced_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_owner_is_taken_over_when_its_watch_is_gone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_owner_that_hangs_is_fenced_and_never_writes_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(records_are_kept_apart_and_few, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lock_made_by_hand_is_respected, setup, teardown),
        cmocka_unit_test(descriptions_are_read_back),
    };

    if (argc == 4 && strcmp(argv[0], "victim") == 0)
        return victim_main(argv[1], argv[2], (unsigned)atoi(argv[3]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
