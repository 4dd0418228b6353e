/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/keeper.h"

/* ours: the supervisor's end; theirs: the blockd's. */
static void make_pair(int *ours, int *theirs)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    *ours = ends[0];
    *theirs = ends[1];
}

/* A descriptor that can be told from others. */
static int new_fd(ino_t *ret_inode)
{
    int ends[2];
    struct stat st;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[1]);
    assert_int_equal(fstat(ends[0], &st), 0);
    *ret_inode = st.st_ino;
    return ends[0];
}

static void assert_fd(int fd, ino_t inode)
{
    struct stat st;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_ino, inode);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static void assert_packet(int socket, const char *name, ino_t inode)
{
    char received[KEEPER_NAME_MAX];
    int fd;

    assert_int_equal(keeper_receive(socket, received, &fd), 0);
    assert_string_equal(received, name);
    if (inode != 0)
        assert_fd(fd, inode);
    else
        assert_int_equal(fd, -1);
}

static void test_send_and_receive(void **state)
{
    int ours;
    int theirs;
    ino_t inode;
    int fd = new_fd(&inode);

    (void)state;
    make_pair(&ours, &theirs);
    assert_int_equal(keeper_send(ours, "fuse", fd), 0);
    assert_int_equal(keeper_send(ours, "", -1), 0);
    assert_packet(theirs, "fuse", inode);
    assert_packet(theirs, "", 0);
    assert_int_equal(keeper_send(ours, "a name of thirty-two bytes or so", fd), -ENAMETOOLONG);
    close(ours);
    assert_int_equal(keeper_receive(theirs, (char[KEEPER_NAME_MAX]){0}, &ours), -ECONNRESET);
    close(theirs);
    close(fd);
}

static void test_malformed_packets(void **state)
{
    struct keeper_packet packet = {.version = KEEPER_VERSION, .name = "loop"};
    char name[KEEPER_NAME_MAX];
    int ours;
    int theirs;
    int fd;

    (void)state;
    make_pair(&ours, &theirs);
    assert_int_equal(send(ours, &packet, sizeof(packet) - 1, 0), sizeof(packet) - 1);
    assert_int_equal(keeper_receive(theirs, name, &fd), -EBADMSG);
    assert_int_equal(send(ours, (char[100]){1}, 100, 0), 100);
    assert_int_equal(keeper_receive(theirs, name, &fd), -EBADMSG);
    packet.version++;
    assert_int_equal(send(ours, &packet, sizeof(packet), 0), sizeof(packet));
    assert_int_equal(keeper_receive(theirs, name, &fd), -EBADMSG);
    packet.version = KEEPER_VERSION;
    memset(packet.name, 'x', sizeof(packet.name));
    assert_int_equal(send(ours, &packet, sizeof(packet), 0), sizeof(packet));
    assert_int_equal(keeper_receive(theirs, name, &fd), -EBADMSG);
    close(ours);
    close(theirs);
}

/* Two descriptors in one packet: refused, and neither stays open here. */
static void test_two_descriptors(void **state)
{
    struct keeper_packet packet = {.version = KEEPER_VERSION, .name = "loop"};
    struct iovec part = {.iov_base = &packet, .iov_len = sizeof(packet)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(2 * sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    char name[KEEPER_NAME_MAX];
    int ours;
    int theirs;
    int fd;
    int next;

    (void)state;
    make_pair(&ours, &theirs);
    memcpy(CMSG_DATA(&control.header), (int[2]){ours, ours}, 2 * sizeof(int));
    assert_true(sendmsg(ours, &message, 0) > 0);
    next = dup(ours);
    close(next);
    assert_int_equal(keeper_receive(theirs, name, &fd), -EBADMSG);
    assert_int_equal(dup(ours), next);
    close(next);
    close(ours);
    close(theirs);
}

static struct fd_keeper *open_client(int theirs)
{
    struct fd_keeper *keeper;
    struct error err;

    assert_int_equal(keeper_client_open(theirs, &keeper, &err), 0);
    return keeper;
}

static void test_first_blockd(void **state)
{
    struct fd_keeper *keeper;
    ino_t fuse;
    ino_t loop;
    int fuse_fd = new_fd(&fuse);
    int loop_fd = new_fd(&loop);
    int ours;
    int theirs;

    (void)state;
    make_pair(&ours, &theirs);
    assert_int_equal(keeper_send(ours, "", -1), 0);
    keeper = open_client(theirs);
    assert_int_equal(keeper->fetch(keeper, "fuse"), -1);
    assert_int_equal(keeper->store(keeper, "fuse", fuse_fd), 0);
    assert_int_equal(keeper->store(keeper, "loop", loop_fd), 0);
    assert_int_equal(keeper->store(keeper, "", loop_fd), -EINVAL);
    assert_packet(ours, "fuse", fuse);
    assert_packet(ours, "loop", loop);
    assert_int_equal(keeper_client_count(keeper), 2);
    assert_int_equal(keeper->store(keeper, "fuse", loop_fd), 0); /* in place of the other */
    assert_packet(ours, "fuse", loop);
    assert_int_equal(keeper_client_count(keeper), 2);
    assert_int_equal(keeper->store(keeper, "loop", -1), 0);
    assert_packet(ours, "loop", 0);
    assert_int_equal(keeper_client_count(keeper), 1);
    keeper_client_free(keeper);
    close(ours);
    close(fuse_fd);
    close(loop_fd);
}

static void test_successor(void **state)
{
    struct fd_keeper *keeper;
    ino_t inode;
    int fd = new_fd(&inode);
    int ours;
    int theirs;

    (void)state;
    make_pair(&ours, &theirs);
    assert_int_equal(keeper_send(ours, "fuse", fd), 0);
    assert_int_equal(keeper_send(ours, "", -1), 0);
    close(fd);
    keeper = open_client(theirs);
    assert_int_equal(keeper_client_count(keeper), 1);
    assert_fd(keeper->fetch(keeper, "fuse"), inode);
    assert_int_equal(keeper->fetch(keeper, "loop"), -1);
    keeper_client_free(keeper);
    close(ours);
}

static void test_new_supervisor(void **state)
{
    struct fd_keeper *keeper;
    ino_t fuse;
    ino_t loop;
    ino_t control;
    int fuse_fd = new_fd(&fuse);
    int loop_fd = new_fd(&loop);
    int control_fd = new_fd(&control);
    int ours;
    int theirs;

    (void)state;
    make_pair(&ours, &theirs);
    assert_int_equal(keeper_send(ours, "fuse", fuse_fd), 0);
    assert_int_equal(keeper_send(ours, "", -1), 0);
    keeper = open_client(theirs);
    close(ours); /* the old one dies */
    assert_int_equal(keeper->store(keeper, "loop", loop_fd), 0);
    make_pair(&ours, &theirs);
    assert_int_equal(keeper_client_adopt(keeper, theirs, "control", control_fd), 0);
    assert_packet(ours, "fuse", fuse);
    assert_packet(ours, "loop", loop);
    assert_packet(ours, "control", control);
    assert_int_equal(keeper->store(keeper, "fuse", -1), 0);
    assert_packet(ours, "fuse", 0);
    keeper_client_free(keeper);
    close(ours);
    close(fuse_fd);
    close(loop_fd);
    close(control_fd);
}

static void test_forget_all(void **state)
{
    static const char *const names[] = {"fuse", "root", "loop"};
    struct fd_keeper *keeper;
    ino_t inode;
    int fd = new_fd(&inode);
    int ours;
    int theirs;

    (void)state;
    make_pair(&ours, &theirs);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(keeper_send(ours, names[i], fd), 0);
    assert_int_equal(keeper_send(ours, "", -1), 0);
    keeper = open_client(theirs);
    keeper_client_forget(keeper);
    assert_int_equal(keeper_client_count(keeper), 0);
    for (unsigned i = 0; i < 3; i++) /* in the order in which they were stored */
        assert_packet(ours, names[i], 0);
    keeper_client_free(keeper);
    close(ours);
    close(fd);
}

static void test_bad_supervisors(void **state)
{
    struct fd_keeper *keeper;
    struct error err;
    ino_t inode;
    int fd = new_fd(&inode);
    int ours;
    int theirs;

    (void)state;
    make_pair(&ours, &theirs);
    close(ours);
    assert_int_equal(keeper_client_open(theirs, &keeper, &err), -ECONNRESET);
    make_pair(&ours, &theirs);
    assert_int_equal(keeper_send(ours, "fuse", -1), 0); /* a name without a descriptor */
    assert_int_equal(keeper_client_open(theirs, &keeper, &err), -EBADMSG);
    close(ours);
    make_pair(&ours, &theirs);
    assert_int_equal(keeper_send(ours, "", fd), 0); /* and the reverse */
    assert_int_equal(keeper_client_open(theirs, &keeper, &err), -EBADMSG);
    close(ours);
    make_pair(&ours, &theirs);
    for (char name[] = "a"; name[0] <= 'i'; name[0]++)
        assert_int_equal(keeper_send(ours, name, fd), 0);
    assert_int_equal(keeper_client_open(theirs, &keeper, &err), -ENOSPC);
    close(ours);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send_and_receive), cmocka_unit_test(test_malformed_packets),
        cmocka_unit_test(test_two_descriptors),  cmocka_unit_test(test_first_blockd),
        cmocka_unit_test(test_successor),        cmocka_unit_test(test_new_supervisor),
        cmocka_unit_test(test_forget_all),       cmocka_unit_test(test_bad_supervisors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
