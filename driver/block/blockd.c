/* SPDX-License-Identifier: Apache-2.0 */

/* radosvol-blockd: serves one volume as a block device.
 *
 *   phase      STATUS     DETACH     ADOPT       leaves by
 *   ATTACHING  waits      waits      served      attached                     -> ATTACHED
 *                                                failed                       -> FAILED
 *   ATTACHED   answered   starts it  served      DETACH, SIGTERM or SIGQUIT   -> DETACHING
 *   DETACHING  waits      waits      served      in use, or failed            -> ATTACHED
 *                                                done, or SIGQUIT             -> (exit 0)
 *   FAILED     the words  result 0   refused     an answer was given, or 10 s -> (exit 1)
 *
 * STATS is answered while ATTACHED and refused otherwise, at once: who measures does not wait.
 *
 * The main loop waits for nothing longer than one bounded operation of the ownership, so that a new
 * supervisor is followed at any time; attaching and detaching, which wait for the cluster or the
 * kernel, are jobs of a thread of their own, which has the volume to itself meanwhile.
 *
 * SIGTERM asks for the end in order: a device that is in use stays, and so does the process.
 * SIGQUIT asks for the end in any case, and the image at least is given back in order. When the
 * supervisor dies, the process goes on and waits for the next one (BLOCKD_ADOPT).
 *
 * The kernel may have to write to our device in order to free memory, so nothing here may wait for
 * memory that way: PR_SET_IO_FLUSHER, inherited by all threads, keeps our own allocations from
 * waiting for I/O, and mlockall keeps our code and data from being paged out. */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "block/blockd_clients.h"
#include "block/blockd_options.h"
#include "block/blockd_volume.h"
#include "block/control.h"
#include "block/keeper.h"

#define LISTENER_FD 3
#define KEEPER_FD   4

/* How long a failure waits to be told to whoever asked for the volume. */
#define FAILED_MS 10000

/* Bytes of stack below main's that are left alone. */
#define STACK_KEPT (64 * (size_t)1024)

enum phase { ATTACHING, ATTACHED, DETACHING, FAILED, ENDED };

struct blockd {
    struct blockd_options options;
    struct fd_keeper *keeper;
    struct blockd_clients clients;
    int signals; /* signalfd */

    enum phase phase;
    struct volume *volume; /* the job's while there is one */
    struct error failure;  /* FAILED: why */
    int64_t failed_until;
    int64_t next_run; /* of volume_run */
    bool fenced;      /* has been logged */

    /* The job: attaching or detaching. */
    pthread_t job;
    int job_done; /* eventfd, written at its end */
    int job_result;
    struct error job_err;
    atomic_bool cancelled; /* SIGTERM or SIGQUIT before the device was attached */
    atomic_bool quit;      /* SIGQUIT */
};

static void *end_job(struct blockd *blockd, int result)
{
    const uint64_t one = 1;

    blockd->job_result = result;
    /* An eventfd that is not full takes it at once. */
    if (write(blockd->job_done, &one, sizeof(one)) != sizeof(one))
        log_error("cannot tell the main loop: %s", error_words(-errno));
    return NULL;
}

static bool is_cancelled(void *arg)
{
    struct blockd *blockd = arg;

    return atomic_load(&blockd->cancelled);
}

static void *attach_job(void *arg)
{
    struct blockd *blockd = arg;

    return end_job(blockd, volume_attach(&blockd->options, blockd->keeper, is_cancelled, blockd,
                                         &blockd->volume, &blockd->job_err));
}

static void *detach_job(void *arg)
{
    struct blockd *blockd = arg;
    int r = volume_detach(blockd->volume, &blockd->job_err);

    if (r < 0 && atomic_load(&blockd->quit))
        r = volume_abandon(blockd->volume, &blockd->job_err);
    return end_job(blockd, r);
}

static int start_job(struct blockd *blockd, enum phase phase, void *(*job)(void *))
{
    int r = -pthread_create(&blockd->job, NULL, job, blockd);

    if (r < 0)
        return error_errno(&blockd->job_err, r, "cannot start a thread");
    blockd->phase = phase;
    return 0;
}

static struct blockd_reply new_reply(int result, const char *words)
{
    struct blockd_reply reply = {
        .version = BLOCKD_VERSION,
        .result = result,
        .state = BLOCKD_ATTACHED,
        .pid = (uint64_t)getpid(),
    };

    snprintf(reply.text, sizeof(reply.text), "%.*s", (int)sizeof(reply.text) - 1, words);
    return reply;
}

static void answer_adoption(struct blockd *blockd)
{
    struct blockd_client *client;

    while ((client = blockd_clients_waiting(&blockd->clients, BLOCKD_ADOPT))) {
        struct blockd_reply reply = new_reply(0, "");
        int socket = client->adoption_fd;

        client->adoption_fd = -1;
        if (socket < 0) {
            reply = new_reply(-EBADMSG, "a keeper socket must come with the request");
        } else if (blockd->phase == FAILED || blockd->phase == ENDED) {
            close(socket);
            reply = new_reply(-ESHUTDOWN, "the volume is being given back");
        } else {
            int r = keeper_client_adopt(blockd->keeper, socket, BLOCKD_CONTROL_NAME, LISTENER_FD);

            if (r < 0)
                reply = new_reply(r, "cannot send over the new keeper socket");
            else
                log_info("volume '%s': follows a new supervisor", blockd->options.name);
        }
        blockd_client_answer(client, &reply);
    }
}

static void start_detach(struct blockd *blockd)
{
    struct blockd_reply reply;

    if (start_job(blockd, DETACHING, detach_job) == 0)
        return;
    reply = new_reply(blockd->job_err.code, blockd->job_err.text);
    log_error("volume '%s': %s", blockd->options.name, blockd->job_err.text);
    blockd_clients_answer(&blockd->clients, BLOCKD_DETACH, &reply);
}

static void answer_stats(struct blockd *blockd)
{
    struct blockd_stats stats = {
        .version = BLOCKD_VERSION, .state = BLOCKD_ATTACHED, .pid = (uint64_t)getpid()};

    if (!blockd_clients_waiting(&blockd->clients, BLOCKD_STATS))
        return;
    if (blockd->phase == ATTACHED)
        volume_stats(blockd->volume, &stats);
    else
        stats.result = -EAGAIN;
    blockd_clients_answer_stats(&blockd->clients, &stats);
}

static void answer_attached(struct blockd *blockd)
{
    if (blockd_clients_waiting(&blockd->clients, BLOCKD_STATUS)) {
        struct blockd_reply reply = new_reply(0, "");

        volume_status(blockd->volume, &reply);
        blockd_clients_answer(&blockd->clients, BLOCKD_STATUS, &reply);
    }
    if (blockd_clients_waiting(&blockd->clients, BLOCKD_DETACH))
        start_detach(blockd);
}

static void answer_failed(struct blockd *blockd)
{
    struct blockd_reply failure = new_reply(blockd->failure.code, blockd->failure.text);
    struct blockd_reply detached = new_reply(0, "");

    if (blockd_clients_answer(&blockd->clients, BLOCKD_STATUS, &failure) +
            blockd_clients_answer(&blockd->clients, BLOCKD_DETACH, &detached) >
        0)
        blockd->phase = ENDED;
}

/* Will attaching fail for ever? The image belongs to another host now, is gone or half restored.
 * Anything else, such as a cluster that is away, is worth another try. */
static bool is_final(int code)
{
    return code == -EBUSY || code == -ENOENT || code == -EOPNOTSUPP || code == -EPERM ||
           code == -EUCLEAN;
}

static void on_attach_end(struct blockd *blockd)
{
    if (blockd->job_result == 0) {
        blockd->phase = ATTACHED;
        log_info("volume '%s': attached as %s", blockd->options.name,
                 volume_device(blockd->volume));
        return;
    }
    blockd->failure = blockd->job_err;
    blockd->phase = FAILED;
    log_error("volume '%s': cannot attach: %s", blockd->options.name, blockd->failure.text);
    if (keeper_client_count(blockd->keeper) > 0 && is_final(blockd->failure.code)) {
        log_error("volume '%s': its device is given up: all I/O to it fails from now on",
                  blockd->options.name);
        keeper_client_forget(blockd->keeper);
    }
    /* With a predecessor's device waiting, being started again soon matters more than being heard.
     */
    blockd->failed_until =
        keeper_client_count(blockd->keeper) > 0 ? clock_now() : deadline_in_ms(FAILED_MS);
}

static void on_detach_end(struct blockd *blockd)
{
    const bool done = blockd->job_result == 0;
    struct blockd_reply reply =
        done ? new_reply(0, "") : new_reply(blockd->job_err.code, blockd->job_err.text);

    if (done) {
        blockd->volume = NULL;
        blockd->phase = ENDED;
        log_info("volume '%s': detached", blockd->options.name);
    } else {
        blockd->phase = ATTACHED;
        log_info("volume '%s': stays attached: %s", blockd->options.name, blockd->job_err.text);
    }
    blockd_clients_answer(&blockd->clients, BLOCKD_DETACH, &reply);
}

static void on_job_end(struct blockd *blockd)
{
    uint64_t count;

    if (read(blockd->job_done, &count, sizeof(count)) != sizeof(count))
        return;
    pthread_join(blockd->job, NULL);
    if (blockd->phase == ATTACHING)
        on_attach_end(blockd);
    else
        on_detach_end(blockd);
}

static void on_signal(struct blockd *blockd)
{
    struct signalfd_siginfo info;

    if (read(blockd->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGQUIT)
        atomic_store(&blockd->quit, true);
    switch (blockd->phase) {
    case ATTACHING:
        atomic_store(&blockd->cancelled, true);
        break;
    case ATTACHED:
        log_info("volume '%s': signal %u: detaching%s", blockd->options.name, info.ssi_signo,
                 info.ssi_signo == SIGQUIT ? " although it may be in use" : " if it is not in use");
        start_detach(blockd);
        break;
    case FAILED:
        blockd->phase = ENDED;
        break;
    case DETACHING:
    case ENDED:
        break;
    }
}

static void look_after(struct blockd *blockd)
{
    const char *why;

    blockd->next_run = deadline_in_ms(VOLUME_RUN_MS);
    volume_run(blockd->volume);
    why = volume_loss(blockd->volume);
    if (why) {
        log_error("volume '%s': %s: ending at once", blockd->options.name, why);
        _exit(1);
    }
    why = volume_fence(blockd->volume);
    if (!blockd->fenced && why) {
        blockd->fenced = true;
        log_error("volume '%s': %s: all I/O to %s fails from now on", blockd->options.name, why,
                  volume_device(blockd->volume));
    }
}

/* Answer whoever can be answered now. */
static void answer(struct blockd *blockd)
{
    answer_adoption(blockd);
    answer_stats(blockd);
    if (blockd->phase == ATTACHED)
        answer_attached(blockd);
    else if (blockd->phase == FAILED)
        answer_failed(blockd);
}

static int wait_ms(const struct blockd *blockd)
{
    switch (blockd->phase) {
    case ATTACHED:
        return deadline_left_ms(blockd->next_run);
    case FAILED:
        return deadline_left_ms(blockd->failed_until);
    default:
        return -1;
    }
}

static void step(struct blockd *blockd)
{
    enum { SIGNALS, JOB, VOLUME, CLIENTS };
    struct pollfd polls[CLIENTS + BLOCKD_CLIENTS_POLLS] = {
        [SIGNALS] = {.fd = blockd->signals, .events = POLLIN},
        [JOB] = {.fd = blockd->job_done, .events = POLLIN},
        [VOLUME] = {.fd = blockd->phase == ATTACHED ? volume_fd(blockd->volume) : -1,
                    .events = POLLIN},
    };

    blockd_clients_poll(&blockd->clients, polls + CLIENTS);
    if (poll(polls, sizeof(polls) / sizeof(polls[0]), wait_ms(blockd)) < 0)
        return;
    if (blockd->phase == ATTACHED && (polls[VOLUME].revents || clock_now() >= blockd->next_run))
        look_after(blockd);
    if (polls[JOB].revents)
        on_job_end(blockd);
    if (polls[SIGNALS].revents)
        on_signal(blockd);
    blockd_clients_take(&blockd->clients, polls + CLIENTS);
    answer(blockd);
    if (blockd->phase == FAILED && clock_now() >= blockd->failed_until)
        blockd->phase = ENDED;
}

/* 0: detached in order. */
static int serve(struct blockd *blockd)
{
    struct blockd_reply ended = new_reply(-ESHUTDOWN, "the volume is not attached any more");
    struct blockd_reply detached = new_reply(0, "");

    if (start_job(blockd, ATTACHING, attach_job) < 0) {
        log_error("volume '%s': %s", blockd->options.name, blockd->job_err.text);
        return -1;
    }
    while (blockd->phase != ENDED)
        step(blockd);
    blockd_clients_answer(&blockd->clients, BLOCKD_STATUS, &ended);
    blockd_clients_answer(&blockd->clients, BLOCKD_DETACH, &detached);
    blockd_clients_close(&blockd->clients);
    return blockd->failure.code < 0 ? -1 : 0;
}

/* What librados' libraries set up before main has used 900 KiB of stack, which mlockall would keep
 * in memory for good. */
static void forget_used_stack(void)
{
    pthread_attr_t attributes;
    char here;
    void *start;
    size_t size;

    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return;
    if (pthread_attr_getstack(&attributes, &start, &size) == 0) {
        const size_t below = (size_t)(&here - (char *)start);

        /* Most of it was never mapped; that the rest is given back all the same is the kernel's
         * promise. */
        if (below > STACK_KEPT)
            madvise(start, below - STACK_KEPT, MADV_DONTNEED);
    }
    pthread_attr_destroy(&attributes);
}

/* All of it before the first thread, which inherits it. */
static int prepare_process(struct blockd *blockd)
{
    sigset_t set;

    umask(077);
    if (chdir("/") < 0)
        log_warning("cannot change to /: %s", error_words(-errno));
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
        log_warning("a machine short of memory may hang: PR_SET_IO_FLUSHER: %s",
                    error_words(-errno));
    forget_used_stack();
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
        log_warning("a machine short of memory may hang: cannot lock memory: %s",
                    error_words(-errno));
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return -EINVAL;
    blockd->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (blockd->signals < 0)
        return -errno;
    blockd->job_done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return blockd->job_done < 0 ? -errno : 0;
}

int main(int argc, char *argv[])
{
    struct blockd blockd = {.phase = ATTACHING};
    struct error err;
    int r;

    log_init("radosvol-blockd", LOG_LEVEL_INFO);
    if (blockd_options_parse(argc, argv, &blockd.options, &err) < 0) {
        log_error("%s (started by docker-volume-rados only)", err.text);
        return 2;
    }
    log_init("radosvol-blockd", blockd.options.log_level);
    log_set_place(blockd.options.host, blockd.options.name);
    r = prepare_process(&blockd);
    if (r < 0) {
        log_error("volume '%s': cannot start: %s", blockd.options.name, error_words(r));
        return 1;
    }
    if (keeper_client_open(KEEPER_FD, &blockd.keeper, &err) < 0) {
        log_error("volume '%s': %s", blockd.options.name, err.text);
        return 1;
    }
    blockd_clients_init(&blockd.clients, LISTENER_FD);
    r = serve(&blockd);
    keeper_client_free(blockd.keeper);
    if (atomic_load(&blockd.quit)) /* the threads of a device that is in use go on until now */
        _exit(r < 0 ? 1 : 0);
    return r < 0 ? 1 : 0;
}
