/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* Cleanup attributes: a resource is released when its variable goes out of scope. Each type that
 * needs one defines it beside itself; these are the common ones. */

static inline void cleanup_freep(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_closep(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_unlockp(pthread_mutex_t **mutex)
{
    if (*mutex)
        pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *mutex_locked(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    return mutex;
}

#define cleanup_free  __attribute__((cleanup(cleanup_freep)))
#define cleanup_close __attribute__((cleanup(cleanup_closep)))

#define CLEANUP_JOIN2(a, b) a##b
#define CLEANUP_JOIN(a, b)  CLEANUP_JOIN2(a, b)

/* Hold MUTEX until the end of the enclosing scope. */
#define WITH_LOCK(mutex)                                                                           \
    __attribute__((cleanup(cleanup_unlockp), unused)) pthread_mutex_t *CLEANUP_JOIN(               \
        locked_, __COUNTER__) = mutex_locked(mutex)

/* Hand ownership out of a cleanup variable. */
#define steal_pointer(pp)                                                                          \
    ({                                                                                             \
        __typeof__(*(pp)) steal_value_ = *(pp);                                                    \
        *(pp) = NULL;                                                                              \
        steal_value_;                                                                              \
    })

static inline int steal_fd(int *fd)
{
    int value = *fd;

    *fd = -1;
    return value;
}
