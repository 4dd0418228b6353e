/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *log_program = "docker-volume-rados";
static enum log_level log_limit = LOG_LEVEL_INFO;
static const char *log_host = "";
static const char *log_place = ""; /* the volume of this process */
static _Thread_local char log_volume[LOG_VOLUME_MAX];

void log_init(const char *program, enum log_level level)
{
    log_program = program;
    log_limit = level;
}

int log_level_parse(const char *text, enum log_level *ret)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {
        {"error", LOG_LEVEL_ERROR},
        {"warning", LOG_LEVEL_WARNING},
        {"info", LOG_LEVEL_INFO},
        {"debug", LOG_LEVEL_DEBUG},
    };

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(text, levels[i].name) == 0) {
            *ret = levels[i].level;
            return 0;
        }
    }
    return -EINVAL;
}

void log_set_place(const char *host, const char *volume)
{
    log_host = host ? host : "";
    log_place = volume ? volume : "";
}

struct log_scope log_enter(const char *volume)
{
    struct log_scope scope;

    memcpy(scope.previous, log_volume, sizeof(scope.previous));
    if (volume && volume[0] != '\0')
        snprintf(log_volume, sizeof(log_volume), "%s", volume);
    return scope;
}

void log_leave(const struct log_scope *scope)
{
    memcpy(log_volume, scope->previous, sizeof(log_volume));
}

/* The part before the words. Its length, which leaves room for some words in any case. */
static size_t print_head(char *line, size_t size, enum log_level level)
{
    const char *volume = log_volume[0] != '\0' ? log_volume : log_place;

    snprintf(line, size, "<%d>%s%s%.64s%s%.255s: ", (int)level, log_program,
             log_host[0] != '\0' ? " host=" : "", log_host, volume[0] != '\0' ? " volume=" : "",
             volume);
    return strlen(line);
}

void log_print(enum log_level level, const char *format, ...)
{
    char line[2048];
    va_list ap;
    size_t used;

    if (level > log_limit)
        return;
    used = print_head(line, sizeof(line), level);
    va_start(ap, format);
    vsnprintf(line + used, sizeof(line) - used - 1, format, ap);
    va_end(ap);
    used = strlen(line);
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)line[i] < 0x20)
            line[i] = ' ';
    }
    line[used++] = '\n';
    /* Nothing useful can be done when stderr is gone. */
    if (write(STDERR_FILENO, line, used) < 0)
        return;
}
