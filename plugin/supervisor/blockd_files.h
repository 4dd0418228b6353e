/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/error.h"
#include "plugin/supervisor_protocol.h"

/* The files of a blockd in RUN_DIR/blockd:
 *   <id>.sock  its control socket
 *   <id>.args  its arguments, as in a START request: a later supervisor needs them to restart it
 *   <id>.pid   its process id and that process's start time, which tells it from a later process
 *              with the same id
 * All calls name the blockd in their words. */

/* The address of the control socket. -ENAMETOOLONG when it does not fit. */
int blockd_files_address(const char *run_dir, const char *id, struct sockaddr_un *ret,
                         struct error *err);

/* Make the control socket, listening, mode 0600, in place of a dead one. */
int blockd_files_listen(const char *run_dir, const char *id, int *ret, struct error *err);

int blockd_files_write_args(const char *run_dir, const char *id, const char *args, size_t len,
                            struct error *err);
int blockd_files_read_args(const char *run_dir, const char *id, char ret[SUPERVISOR_ARGS_MAX],
                           size_t *ret_len, struct error *err);

int blockd_files_write_pid(const char *run_dir, const char *id, pid_t pid, struct error *err);

/* *ret_pidfd: the process named in the file, if it still is that one, as a pidfd of the caller's.
 * -ENOENT without a file, -ESRCH when the process is gone, or another errno. */
int blockd_files_open_pid(const char *run_dir, const char *id, pid_t *ret_pid, int *ret_pidfd);

/* Remove them all. */
void blockd_files_remove(const char *run_dir, const char *id);
