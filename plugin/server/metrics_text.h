/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "block/latency.h"

/* The text that Prometheus reads (text exposition format 0.0.4), up to a limit: lines that would go
 * beyond it are left out and counted, so that what is there stays valid. */

#define METRICS_PREFIX "docker_volume_rados_"
#define METRICS_TYPE   "text/plain; version=0.0.4; charset=utf-8"

struct metrics_text {
    char *bytes; /* NUL-terminated; NULL until something is written */
    size_t len;
    size_t cap;
    size_t limit;       /* bytes; 0 for the NUL alone */
    uint64_t left_out;  /* lines */
    const char *family; /* the name of the one being written, without the prefix */
};

/* At most LIMIT bytes. */
void metrics_text_init(struct metrics_text *text, size_t limit);
void metrics_text_free(struct metrics_text *text); /* leaves it empty */

/* Labels of a sample, ended by one without a name; those without a value (NULL) are left out. Of
 * values, bytes that are not printable ASCII become '?': somebody else may have chosen them, and
 * one bad byte would make a scraper refuse all of the text. */
struct metrics_label {
    const char *name;
    const char *value;
};

/* Begin a family; its samples follow. TYPE: "counter", "gauge" or "histogram". HELP: one line
 * without backslashes. */
void metrics_family(struct metrics_text *text, const char *name, const char *type,
                    const char *help);

void metrics_count(struct metrics_text *text, const struct metrics_label labels[], uint64_t value);
void metrics_number(struct metrics_text *text, const struct metrics_label labels[], double value);

/* A histogram of seconds: all its lines, or none. */
void metrics_histogram(struct metrics_text *text, const struct metrics_label labels[],
                       const struct latency_counts *counts);
