/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/adopt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/packet.h"
#include "block/control.h"
#include "plugin/supervisor/blockd_files.h"

/* How long a blockd may take to answer before the operator hears of it. */
#define ANSWER_MS 10000

/* Give the blockd behind CONNECTION a new keeper socket and wait for what comes. */
static int ask(struct blockds *blockds, struct blockd *b, int connection)
{
    const struct blockd_request request = {.version = BLOCKD_VERSION, .op = BLOCKD_ADOPT};
    uint32_t index = blockds_index(blockds, b);
    cleanup_close int theirs = -1;
    int ends[2];
    int rc;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    b->keeper = ends[0];
    theirs = ends[1];
    if (fcntl(b->keeper, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    rc = packet_send(connection, &request, sizeof(request), theirs, 0);
    if (rc == 0)
        rc = loop_add(blockds->loop, b->keeper, LOOP_KEEPER, index);
    if (rc == 0)
        rc = loop_add(blockds->loop, connection, LOOP_ADOPTION, index);
    return rc;
}

static void watch(struct blockds *blockds, struct blockd *b, pid_t pid, int pidfd)
{
    b->child.pid = pid;
    b->child.pidfd = pidfd;
    loop_add(blockds->loop, pidfd, LOOP_ADOPTED, blockds_index(blockds, b));
}

static void adopt(struct blockds *blockds, const char *id, int connection)
{
    struct blockd *b = blockds_claim(blockds, id);
    struct error err;
    size_t len = 0;
    pid_t pid;
    int pidfd;
    int rc;

    if (!b) {
        log_error("image \"%s\": no room to adopt its radosvol-blockd", id);
        close(connection);
        return;
    }
    b->phase = BLOCKD_ADOPTING;
    b->adopted = true;
    b->adoption = connection;
    b->due = deadline_in_ms(ANSWER_MS);
    if (blockd_files_read_args(blockds->run_dir, id, b->args, &len, &err) < 0)
        log_warning("%s", err.text);
    else
        b->args_len = (uint32_t)len;
    if (blockd_files_open_pid(blockds->run_dir, id, &pid, &pidfd) == 0)
        watch(blockds, b, pid, pidfd);
    rc = ask(blockds, b, connection);
    if (rc < 0) {
        log_error("image \"%s\": cannot adopt its radosvol-blockd: %s", id, error_words(rc));
        loop_close(blockds->loop, &b->keeper);
        loop_close(blockds->loop, &b->adoption);
        b->phase = BLOCKD_RUNNING;
        b->due = INT64_MAX;
    }
}

/* What a control socket that was found stands for: adopt, clean up, or leave alone. */
static void look_at(struct blockds *blockds, const char *id)
{
    cleanup_close int fd = -1;
    struct sockaddr_un address;
    struct error err;

    if (blockd_files_address(blockds->run_dir, id, &address, &err) < 0) {
        log_warning("%s", err.text);
        return;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        adopt(blockds, id, steal_fd(&fd));
    } else if (fd >= 0 && errno == ECONNREFUSED) {
        log_info("image \"%s\": its radosvol-blockd ended while there was no supervisor", id);
        blockd_files_remove(blockds->run_dir, id);
    } else {
        log_error("image \"%s\": cannot reach its radosvol-blockd: %s", id, error_words(-errno));
    }
}

static void cleanup_closedirp(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

int adopt_all(struct blockds *blockds, struct error *err)
{
    __attribute__((cleanup(cleanup_closedirp))) DIR *dir = NULL;
    char path[PATH_MAX];
    struct dirent *entry;

    snprintf(path, sizeof(path), "%s/blockd", blockds->run_dir);
    dir = opendir(path);
    if (!dir)
        return error_errno(err, -errno, "cannot read \"%s\"", path);
    while ((entry = readdir(dir))) {
        char id[SUPERVISOR_ID_MAX];
        size_t len = strcspn(entry->d_name, ".");

        if (len >= sizeof(id) || strcmp(entry->d_name + len, ".sock") != 0)
            continue;
        memcpy(id, entry->d_name, len);
        id[len] = '\0';
        if (supervisor_id_check(id, sizeof(id)) == 0)
            look_at(blockds, id);
    }
    return 0;
}

/* The process behind B's connection says that it is PID: believe it when it is still there to hold
 * the connection open once a pidfd is in hand, for then PID is not another's yet. */
static void learn_pid(struct blockds *blockds, struct blockd *b, pid_t pid)
{
    struct pollfd connection = {.fd = b->adoption, .events = POLLIN};
    int pidfd;

    if (b->child.pidfd >= 0 && b->child.pid == pid)
        return;
    loop_close(blockds->loop, &b->child.pidfd);
    b->child.pid = 0;
    pidfd = pid > 1 ? pidfd_open(pid, 0) : -1;
    if (pidfd < 0)
        return;
    if (poll(&connection, 1, 0) != 0) {
        close(pidfd);
        return;
    }
    watch(blockds, b, pid, pidfd);
}

void adopt_on_answer(struct blockds *blockds, uint32_t index)
{
    struct blockd *b = &blockds->rows[index];
    struct blockd_reply reply;
    ssize_t len = recv(b->adoption, &reply, sizeof(reply), MSG_TRUNC | MSG_DONTWAIT);
    LOG_VOLUME(blockd_volume(b));

    if (len < 0 && errno == EAGAIN)
        return;
    b->phase = BLOCKD_RUNNING;
    b->due = INT64_MAX;
    if (len != sizeof(reply) || reply.version != BLOCKD_VERSION) {
        log_error("image \"%s\": radosvol-blockd gave no proper answer to its new supervisor",
                  b->id);
    } else if (reply.result < 0) {
        learn_pid(blockds, b, (pid_t)reply.pid);
        log_error("image \"%s\": radosvol-blockd does not follow its new supervisor: %.*s", b->id,
                  (int)strnlen(reply.text, sizeof(reply.text)), reply.text);
    } else {
        learn_pid(blockds, b, (pid_t)reply.pid);
        log_info("image \"%s\": adopted radosvol-blockd, process %d", b->id, (int)b->child.pid);
    }
    loop_close(blockds->loop, &b->adoption);
}
