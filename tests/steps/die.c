/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <rados/librados.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Preloaded into one of our programs: counts the steps by which it changes the cluster, and dies at
 * one of them.
 *
 * A step is a call of a function of librados that may change what is in the cluster. All that there
 * are in our programs are below (test_steps.py looks for others), so every step is met, those of
 * code that is yet to be written included, and the program is the one that is installed: nothing in
 * it knows of this.
 *
 * STEPS_LOG=FILE: append a line for each step: its number, the function, the object, and the way
 * there: return addresses in the program, the innermost first, as addr2line wants them.
 * STEPS_DIE="before N" or "after N": kill ourselves before the Nth step is sent, or once the
 * cluster has done it.
 */

#define WAY_MAX  32
#define LINE_MAX 2048

/* How long the cluster has to do the last step. */
#define DONE_MS 10000

static atomic_uint count;
static unsigned die_at; /* 0: never */
static bool die_after;
static int log_fd = -1;
static struct {
    uintptr_t base, end;
} program;

/* The first one is the program itself. */
static int find_program(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    program.base = info->dlpi_addr;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t end = program.base + segment->p_vaddr + segment->p_memsz;

        if (segment->p_type == PT_LOAD && end > program.end)
            program.end = end;
    }
    return 1;
}

static __attribute__((constructor)) void begin(void)
{
    const char *die = getenv("STEPS_DIE");
    const char *log = getenv("STEPS_LOG");
    void *way[1];
    char when[8];

    dl_iterate_phdr(find_program, NULL);
    backtrace(way, 1); /* loads what it needs now */
    if (log)
        log_fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (die && sscanf(die, "%7s %u", when, &die_at) != 2) {
        fprintf(stderr, "STEPS_DIE=%s: it is 'before N' or 'after N'\n", die);
        exit(2);
    }
    die_after = die && strcmp(when, "after") == 0;
}

static void *next(const char *function)
{
    void *address = dlsym(RTLD_NEXT, function);

    if (!address) {
        fprintf(stderr, "librados has no %s\n", function);
        abort();
    }
    return address;
}
#define NEXT(function) ((__typeof__(&(function)))next(#function))

static void note(unsigned number, const char *function, const char *object)
{
    void *way[WAY_MAX];
    int depth = backtrace(way, WAY_MAX);
    char line[LINE_MAX];
    int len = snprintf(line, sizeof(line), "%u %s %.256s", number, function, object);

    for (int i = 0; i < depth; i++) {
        uintptr_t at = (uintptr_t)way[i];

        if (at > program.base && at < program.end) /* one byte back: in the call, not behind it */
            len += snprintf(line + len, sizeof(line) - (size_t)len, " 0x%lx",
                            (unsigned long)(at - program.base - 1));
    }
    line[len++] = '\n';
    if (log_fd >= 0 && write(log_fd, line, (size_t)len) != len)
        abort();
}

static __attribute__((noreturn)) void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Is this the last step of our life, which is to be done before? */
static bool step(const char *function, const char *object)
{
    unsigned number = atomic_fetch_add(&count, 1) + 1;

    note(number, function, object);
    if (number == die_at && !die_after)
        die();
    return number == die_at;
}

/* R: how it began; COMPLETION: of what goes on then, which the caller keeps until it waits for it;
 * or NULL. */
static int end(bool last, int r, rados_completion_t completion)
{
    if (!last)
        return r;
    for (int ms = 0; r == 0 && completion && ms < DONE_MS; ms++) {
        if (NEXT(rados_aio_is_complete)(completion))
            break;
        usleep(1000);
    }
    die();
}

int rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io, rados_completion_t completion,
                               const char *object, time_t *mtime, int flags)
{
    bool last = step(__func__, object);
    int r = NEXT(rados_aio_write_op_operate)(op, io, completion, object, mtime, flags);

    if (last && r == 0) /* the completion's callback may have released it by now */
        NEXT(rados_aio_flush)(io);
    return end(last, r, NULL);
}

int rados_aio_notify(rados_ioctx_t io, const char *object, rados_completion_t completion,
                     const char *data, int len, uint64_t timeout_ms, char **answer,
                     size_t *answer_len)
{
    bool last = step(__func__, object);
    int r =
        NEXT(rados_aio_notify)(io, object, completion, data, len, timeout_ms, answer, answer_len);

    return end(last, r, completion);
}

int rados_aio_watch2(rados_ioctx_t io, const char *object, rados_completion_t completion,
                     uint64_t *handle, rados_watchcb2_t notified, rados_watcherrcb_t failed,
                     uint32_t timeout_s, void *arg)
{
    bool last = step(__func__, object);
    int r =
        NEXT(rados_aio_watch2)(io, object, completion, handle, notified, failed, timeout_s, arg);

    return end(last, r, completion);
}

int rados_aio_unwatch(rados_ioctx_t io, uint64_t handle, rados_completion_t completion)
{
    bool last = step(__func__, "-");

    return end(last, NEXT(rados_aio_unwatch)(io, handle, completion), completion);
}

void rados_aio_ioctx_selfmanaged_snap_create(rados_ioctx_t io, rados_snap_t *id,
                                             rados_completion_t completion)
{
    bool last = step(__func__, "-");

    NEXT(rados_aio_ioctx_selfmanaged_snap_create)(io, id, completion);
    end(last, 0, completion);
}

void rados_aio_ioctx_selfmanaged_snap_remove(rados_ioctx_t io, rados_snap_t id,
                                             rados_completion_t completion)
{
    bool last = step(__func__, "-");

    NEXT(rados_aio_ioctx_selfmanaged_snap_remove)(io, id, completion);
    end(last, 0, completion);
}

int rados_ioctx_selfmanaged_snap_rollback(rados_ioctx_t io, const char *object, rados_snap_t id)
{
    bool last = step(__func__, object);

    return end(last, NEXT(rados_ioctx_selfmanaged_snap_rollback)(io, object, id), NULL);
}

int rados_remove(rados_ioctx_t io, const char *object)
{
    bool last = step(__func__, object);

    return end(last, NEXT(rados_remove)(io, object), NULL);
}

int rados_blocklist_add(rados_t rados, char *address, uint32_t seconds)
{
    bool last = step(__func__, address);

    return end(last, NEXT(rados_blocklist_add)(rados, address, seconds), NULL);
}
