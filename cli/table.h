/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/cli.h"

/* What commands print: tables, and single objects. Both come out as text or as JSON from
 * the same calls. Text of others is shown with '?' for what is not printable. Out of memory ends
 * the program. */

enum column_kind {
    COLUMN_TEXT,
    COLUMN_NUMBER,
    COLUMN_SIZE,    /* bytes in JSON, "10G" in text */
    COLUMN_BOOLEAN, /* "yes" and "no" as texts */
    COLUMN_WORDS,   /* text that is broken into lines where the terminal is too narrow */
};

struct column {
    const char *name; /* in capitals; the key in JSON is the same in small letters */
    enum column_kind kind;
};

struct table;

/* COLUMNS must live as long as the table. NAME: of the array in JSON. */
struct table *table_new(const struct cli *cli, const char *name, const struct column *columns,
                        size_t count);
void table_row(struct table *table); /* begin one; cells not set are empty (null) */
void table_text(struct table *table, size_t column, const char *text);  /* "": empty */
void table_number(struct table *table, size_t column, uint64_t number); /* also of COLUMN_SIZE */
void table_print(struct table *table, FILE *out);                       /* and free it */

/* Print OBJECT (taken over) on stdout and, as text, its members one a line: those of members that
 * are objects as "member.key". Sizes are JSON integers; in text the members called "size", "used"
 * and "object-size" read as "10G". */
void object_print(const struct cli *cli, json_t *object);

/* Add members: text (cleaned; "" is left out), and any JSON value (taken over). */
void object_add_text(json_t *object, const char *key, const char *text);
void object_add(json_t *object, const char *key, json_t *value);
