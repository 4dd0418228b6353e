/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/metrics_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 2048
#define FIRST_CAP      ((size_t)16 * 1024)

/* A line in the making; one that gets too long is left out as a whole. */
struct line {
    char bytes[LINE_MAX_BYTES];
    size_t len;
    bool bad;
};

void metrics_text_init(struct metrics_text *text, size_t limit)
{
    *text = (struct metrics_text){.limit = limit};
}

void metrics_text_free(struct metrics_text *text)
{
    free(text->bytes);
    *text = (struct metrics_text){0};
}

static bool grow(struct metrics_text *text, size_t needed)
{
    size_t cap = text->cap ? text->cap * 2 : FIRST_CAP;
    char *bytes;

    if (needed <= text->cap)
        return true;
    if (cap < needed)
        cap = needed;
    bytes = realloc(text->bytes, cap);
    if (!bytes)
        return false;
    text->bytes = bytes;
    text->cap = cap;
    return true;
}

/* False when it is left out. */
static bool add_line(struct metrics_text *text, const struct line *line)
{
    if (line->bad || text->len + line->len > text->limit ||
        !grow(text, text->len + line->len + 1)) {
        text->left_out++;
        return false;
    }
    memcpy(text->bytes + text->len, line->bytes, line->len);
    text->len += line->len;
    text->bytes[text->len] = '\0';
    return true;
}

static __attribute__((format(printf, 2, 3))) void print(struct line *line, const char *format, ...)
{
    size_t room = sizeof(line->bytes) - line->len;
    va_list ap;
    int len;

    va_start(ap, format);
    len = vsnprintf(line->bytes + line->len, room, format, ap);
    va_end(ap);
    if (len < 0 || (size_t)len >= room)
        line->bad = true;
    else
        line->len += (size_t)len;
}

static void print_value(struct line *line, const char *value)
{
    for (const char *at = value; *at && !line->bad; at++) {
        if (*at == '\\' || *at == '"')
            print(line, "\\%c", *at);
        else
            print(line, "%c", *at >= 0x20 && *at < 0x7f ? *at : '?');
    }
}

/* LE: the label of a histogram's bucket, or NULL. */
static void print_head(struct line *line, const char *family, const char *suffix,
                       const struct metrics_label labels[], const char *le)
{
    char open = '{';

    print(line, METRICS_PREFIX "%s%s", family, suffix);
    for (; labels && labels->name; labels++) {
        if (!labels->value)
            continue;
        print(line, "%c%s=\"", open, labels->name);
        print_value(line, labels->value);
        print(line, "\"");
        open = ',';
    }
    if (le)
        print(line, "%cle=\"%s\"", open, le);
    print(line, "%s ", open == '{' && !le ? "" : "}");
}

void metrics_family(struct metrics_text *text, const char *name, const char *type, const char *help)
{
    struct line line = {.len = 0};

    text->family = name;
    print(&line, "# HELP " METRICS_PREFIX "%s %s\n# TYPE " METRICS_PREFIX "%s %s\n", name, help,
          name, type);
    add_line(text, &line);
}

static bool add_count(struct metrics_text *text, const char *suffix,
                      const struct metrics_label labels[], const char *le, uint64_t value)
{
    struct line line = {.len = 0};

    print_head(&line, text->family, suffix, labels, le);
    print(&line, "%" PRIu64 "\n", value);
    return add_line(text, &line);
}

static bool add_number(struct metrics_text *text, const char *suffix,
                       const struct metrics_label labels[], double value)
{
    struct line line = {.len = 0};

    print_head(&line, text->family, suffix, labels, NULL);
    /* Whole numbers in full: bytes may have more digits than %g would keep. */
    if (value >= 0 && value < 1e18 && value == (double)(uint64_t)value)
        print(&line, "%" PRIu64 "\n", (uint64_t)value);
    else
        print(&line, "%.15g\n", value);
    return add_line(text, &line);
}

void metrics_count(struct metrics_text *text, const struct metrics_label labels[], uint64_t value)
{
    add_count(text, "", labels, NULL, value);
}

void metrics_number(struct metrics_text *text, const struct metrics_label labels[], double value)
{
    add_number(text, "", labels, value);
}

void metrics_histogram(struct metrics_text *text, const struct metrics_label labels[],
                       const struct latency_counts *counts)
{
    const size_t start = text->len;
    uint64_t total = 0;
    bool whole = true;
    char le[32];

    for (unsigned i = 0; i < LATENCY_BOUNDS && whole; i++) {
        total += counts->buckets[i];
        snprintf(le, sizeof(le), "%.15g", (double)latency_bound_us(i) / 1e6);
        whole = add_count(text, "_bucket", labels, le, total);
    }
    total += counts->buckets[LATENCY_BOUNDS];
    whole = whole && add_count(text, "_bucket", labels, "+Inf", total) &&
            add_number(text, "_sum", labels, (double)counts->sum_ns / 1e9) &&
            add_count(text, "_count", labels, NULL, total);
    if (!whole && text->bytes) {
        text->len = start;
        text->bytes[start] = '\0';
    }
}
