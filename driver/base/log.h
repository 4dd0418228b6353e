/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One line per event on stderr, led by "<N>", the syslog level that systemd and dockerd both
 * understand, then the program, what the line is about, and the words:
 *
 *   <6>docker-volume-rados-server host=host-a volume=db: volume 'db' is created
 *
 * Thread safe: a line is one write(2). Newlines inside the words become spaces. Library code
 * (driver/) logs at debug only; programs log each failure once and name the volume. */

enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
};

/* Set the program's name (kept, not copied) and the most talkative level that is printed. */
void log_init(const char *program, enum log_level level);

/* What all lines are about: this host and, in a process that serves one, the volume. Kept, not
 * copied; NULL or "": not said. */
void log_set_place(const char *host, const char *volume);

/* Within this scope the calling thread's lines are about VOLUME (copied; NULL or "": as before). */
#define LOG_VOLUME(volume)                                                                         \
    __attribute__((cleanup(log_leave))) struct log_scope log_scope_ = log_enter(volume)

#define LOG_VOLUME_MAX 256
struct log_scope {
    char previous[LOG_VOLUME_MAX];
};
struct log_scope log_enter(const char *volume);
void log_leave(const struct log_scope *scope);

/* "error", "warning", "info" or "debug" to a level; 0 or -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret);

void log_print(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_print(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_print(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_print(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_print(LOG_LEVEL_DEBUG, __VA_ARGS__)
