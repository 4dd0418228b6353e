/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/supervisor/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"

#define LAST_CHILD_FD 4

/* The child runs on a stack of its own in the parent's memory, and the parent sleeps until the
 * child has called exec or ended (CLONE_VFORK), as posix_spawn does it: no page table is copied, a
 * failed exec is told through ordinary memory, and CLONE_PIDFD leaves no moment without a pidfd.
 * The child calls nothing but the kernel. */
static _Alignas(64) char child_stack[64 * 1024];

struct spawn {
    const struct child_plan *plan;
    pid_t parent;
    int failed; /* set by the child: errno */
};

int child_reserve_fds(struct error *err)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return error_errno(err, -errno, "cannot open /dev/null");
    for (int reserved = 0; reserved <= LAST_CHILD_FD; reserved++) {
        if (fcntl(reserved, F_GETFD) < 0 && dup2(fd, reserved) < 0)
            return error_errno(err, -errno, "cannot reserve descriptor %d", reserved);
        if (reserved <= STDERR_FILENO && fcntl(reserved, F_SETFD, 0) < 0)
            return error_errno(err, -errno, "cannot hand on descriptor %d", reserved);
    }
    if (fd > LAST_CHILD_FD)
        close(fd);
    if (close_range(STDERR_FILENO + 1, UINT32_MAX, CLOSE_RANGE_CLOEXEC) < 0)
        return error_errno(err, -errno, "cannot mark inherited descriptors close-on-exec");
    return 0;
}

static int place_fds(const struct child_plan *plan)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(plan->fd3, 3) < 0 ||
        dup2(plan->fd4, 4) < 0)
        return -errno;
    if (close_range(LAST_CHILD_FD + 1, UINT32_MAX, 0) < 0)
        return -errno;
    return 0;
}

static void default_signals(void)
{
    const struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action, NULL); /* fails for those that cannot be changed: as wished */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_main(void *arg)
{
    struct spawn *spawn = arg;
    const struct child_plan *plan = spawn->plan;

    if (plan->dies_with_parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != spawn->parent)
            return 127; /* it was gone before the call */
    }
    setsid();
    spawn->failed = -place_fds(plan);
    if (spawn->failed)
        return 127;
    default_signals();
    execve(plan->path, plan->argv, environ);
    spawn->failed = errno;
    return 127;
}

int child_spawn(const struct child_plan *plan, struct child *ret, struct error *err)
{
    struct spawn spawn = {.plan = plan, .parent = getpid()};
    int pidfd = -1;
    pid_t pid = clone(child_main, child_stack + sizeof(child_stack),
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &spawn, &pidfd);

    if (pid < 0)
        return error_errno(err, -errno, "cannot start \"%s\"", plan->path);
    if (spawn.failed) {
        close(pidfd); /* the dead child is reaped with the others */
        return error_errno(err, -spawn.failed, "cannot start \"%s\"", plan->path);
    }
    ret->pid = pid;
    ret->pidfd = pidfd; /* close-on-exec by nature */
    return 0;
}

void child_kill(const struct child *child, int signal)
{
    if (child->pidfd >= 0)
        pidfd_send_signal(child->pidfd, signal, NULL, 0);
}

int child_wait(const struct child *child, int64_t deadline)
{
    struct pollfd ended = {.fd = child->pidfd, .events = POLLIN};

    for (;;) {
        int rc = poll(&ended, 1, deadline_left_ms(deadline));

        if (rc == 1)
            return 0;
        if (rc == 0)
            return -ETIMEDOUT;
    }
}

void child_clear(struct child *child)
{
    if (child->pidfd >= 0)
        close(child->pidfd);
    child->pid = 0;
    child->pidfd = -1;
}
