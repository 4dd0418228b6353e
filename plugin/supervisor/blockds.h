/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "block/keeper.h"
#include "plugin/supervisor/child.h"
#include "plugin/supervisor/crashes.h"
#include "plugin/supervisor/loop.h"
#include "plugin/supervisor_protocol.h"

/* The table of blockds: one row per image, of fixed size. A row's states:
 *
 *   phase     process  control socket  stored    leaves by
 *   FREE      -        -               -         START                            -> RUNNING
 *                                                found alive at start             -> ADOPTING
 *   RUNNING   yes      yes             0 to 8    exit 0                           -> FREE
 *                                                crash, nothing stored            -> FREE
 *                                                crash, something stored          -> WAITING
 *                                                the 10th crash within 60 s       -> FREE
 *                                                KILL                             -> DYING
 *   WAITING   -        yes             1 to 8    its time has come                -> RUNNING
 *                                                KILL                             -> FREE
 *   ADOPTING  yes      comes           come      answer to BLOCKD_ADOPT, or none  -> RUNNING
 *                                                its end, KILL: as RUNNING
 *   DYING     yes      -               0 to 8    its end                          -> FREE
 *
 * FREE means: descriptors closed, files removed. So callers waiting on the control socket are
 * reset, and I/O to a device whose descriptor was kept fails instead of waiting for ever.
 *
 * The exit status of an adopted blockd is unknown. It takes back what it stored before it ends in
 * order (control.h), so its end with something stored is a crash, and the end without is not.
 *
 * All calls: the supervisor's only thread. */

enum blockd_phase { BLOCKD_FREE, BLOCKD_RUNNING, BLOCKD_WAITING, BLOCKD_ADOPTING, BLOCKD_DYING };

struct blockd {
    enum blockd_phase phase;
    bool adopted; /* not a child: its exit status is unknown */
    char id[SUPERVISOR_ID_MAX];
    struct child child;
    int control;           /* listening control socket, or -1 */
    int keeper;            /* our end of the keeper socket, or -1 */
    int adoption;          /* connection to the control socket while ADOPTING, else -1 */
    struct fd_list stored; /* while we hold them the kernel's requests wait instead of failing */
    int64_t due;           /* WAITING: when to start; ADOPTING: when to complain; else INT64_MAX */
    struct crashes crashes;
    uint32_t args_len; /* 0: unknown (adopted without its file), cannot be restarted */
    char args[SUPERVISOR_ARGS_MAX];
};

struct blockds {
    const char *run_dir;
    const char *program; /* path of radosvol-blockd */
    const struct loop *loop;
    bool stopping;     /* blockds_stop was called */
    uint32_t restarts; /* of blockds that had crashed */
    unsigned used;     /* rows at and above were never used */
    struct blockd rows[SUPERVISOR_BLOCKDS_MAX];
};

static inline uint32_t blockds_index(const struct blockds *blockds, const struct blockd *b)
{
    return (uint32_t)(b - blockds->rows);
}

/* SUPERVISOR_START, _KILL, _LIST as supervisor_protocol.h says. KILL waits up to 2 s for the end;
 * -ETIMEDOUT when it has not come then (it comes: the row stays until it does). */
int blockds_start(struct blockds *blockds, const char *id, const char *args, uint32_t args_len,
                  struct error *err);
int blockds_kill(struct blockds *blockds, const char *id, struct error *err);
uint32_t blockds_list(const struct blockds *blockds, char (*ret)[SUPERVISOR_ID_MAX]);

/* The name of its volume, out of its arguments, for the log: "" when they do not say. Borrowed. */
const char *blockd_volume(const struct blockd *b);

/* A free row for ID, its descriptors -1, phase still FREE; NULL when the table is full. */
struct blockd *blockds_claim(struct blockds *blockds, const char *id);

/* LOOP_KEEPER: take what the blockd in row INDEX stores. */
void blockds_on_keeper(struct blockds *blockds, uint32_t index);

/* LOOP_ADOPTED: the adopted blockd in row INDEX has ended. */
void blockds_on_adopted_end(struct blockds *blockds, uint32_t index);

/* A child was reaped with STATUS (waitpid). Whether it was a blockd. */
bool blockds_on_exit(struct blockds *blockds, pid_t pid, int status);

/* When blockds_tick wants to be called next: CLOCK_MONOTONIC ns, or INT64_MAX. */
int64_t blockds_due(const struct blockds *blockds);
void blockds_tick(struct blockds *blockds);

/* The supervisor ends and the blockds stay, for the next supervisor to adopt: start what waits to
 * be started, kill what has no device yet. Returns how many stay. */
unsigned blockds_leave(struct blockds *blockds);

/* Ask each to end, in order (SIGTERM) or in any case (SIGQUIT), and restart none from now on. */
void blockds_stop(struct blockds *blockds, int signal_number);

/* How many rows are not FREE. */
unsigned blockds_count(const struct blockds *blockds);
