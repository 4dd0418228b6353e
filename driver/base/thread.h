/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>

/* Start a thread in which no signal is delivered: they are for the program's own threads. 0 or a
 * negative errno. */
int thread_start(pthread_t *ret, void *(*main)(void *arg), void *arg);
