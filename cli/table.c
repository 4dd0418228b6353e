/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <assert.h>
#include <err.h>
#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "volume/options.h"
#include "volume/text.h"

struct table {
    const struct cli *cli;
    const struct column *columns;
    struct libscols_table *scols;
    struct libscols_line *line; /* the row begun last */
};

static void check(int bad)
{
    if (bad)
        errx(EXIT_FAILED, "out of memory");
}

static int column_flags(enum column_kind kind)
{
    switch (kind) {
    case COLUMN_NUMBER:
    case COLUMN_SIZE:
        return SCOLS_FL_RIGHT;
    case COLUMN_WORDS:
        return SCOLS_FL_WRAP;
    case COLUMN_BOOLEAN:
    case COLUMN_TEXT:
        break;
    }
    return 0;
}

struct table *table_new(const struct cli *cli, const char *name, const struct column *columns,
                        size_t count)
{
    struct table *table = calloc(1, sizeof(*table));

    check(!table || !(table->scols = scols_new_table()));
    table->cli = cli;
    table->columns = columns;
    check(scols_table_set_name(table->scols, name) < 0);
    scols_table_enable_json(table->scols, cli->json);
    for (size_t i = 0; i < count; i++) {
        struct libscols_column *column = scols_table_new_column(
            table->scols, columns[i].name, columns[i].kind == COLUMN_WORDS ? 0.5 : 0.1,
            column_flags(columns[i].kind));

        check(!column);
        if (columns[i].kind == COLUMN_NUMBER || columns[i].kind == COLUMN_SIZE)
            scols_column_set_json_type(column, SCOLS_JSON_NUMBER);
        if (columns[i].kind == COLUMN_BOOLEAN)
            scols_column_set_json_type(column, SCOLS_JSON_BOOLEAN);
    }
    return table;
}

void table_row(struct table *table)
{
    table->line = scols_table_new_line(table->scols, NULL);
    check(!table->line);
}

/* Somebody else's text, made fit for a terminal and for JSON. */
static char *clean(const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        errx(EXIT_FAILED, "out of memory");
    if (text_is_printable(copy))
        return copy;
    for (char *p = copy; *p; p++) {
        if (*p < ' ' || *p > '~')
            *p = '?';
    }
    return copy;
}

void table_text(struct table *table, size_t column, const char *text)
{
    if (text[0] == '\0')
        return;
    check(scols_line_refer_data(table->line, column, clean(text)) < 0);
}

void table_number(struct table *table, size_t column, uint64_t number)
{
    char text[32];

    if (table->columns[column].kind == COLUMN_SIZE && !table->cli->json)
        size_format(number, text, sizeof(text));
    else
        snprintf(text, sizeof(text), "%" PRIu64, number);
    check(scols_line_set_data(table->line, column, text) < 0);
}

void table_print(struct table *table, FILE *out)
{
    scols_table_set_stream(table->scols, out);
    check(scols_print_table(table->scols) < 0);
    scols_unref_table(table->scols);
    free(table);
}

void object_add(json_t *object, const char *key, json_t *value)
{
    check(json_object_set_new(object, key, value) < 0);
}

void object_add_text(json_t *object, const char *key, const char *text)
{
    cleanup_free char *copy = clean(text);

    if (text[0] != '\0')
        object_add(object, key, json_string(copy));
}

static bool is_size(const char *key)
{
    return strcmp(key, "size") == 0 || strcmp(key, "used") == 0 || strcmp(key, "object-size") == 0;
}

static void add_line(struct table *table, const char *key, const json_t *value)
{
    table_row(table);
    table_text(table, 0, key);
    if (json_is_string(value)) {
        table_text(table, 1, json_string_value(value));
    } else if (json_is_integer(value) && is_size(key)) {
        char text[32];

        size_format((uint64_t)json_integer_value(value), text, sizeof(text));
        table_text(table, 1, text);
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        check(!text);
        table_text(table, 1, text);
        free(text);
    }
}

/* "layering, exclusive-lock" */
static void add_list(struct table *table, const char *key, const json_t *list)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    check(!out);
    for (size_t i = 0; i < json_array_size(list); i++)
        fprintf(out, "%s%s", i ? ", " : "", json_string_value(json_array_get(list, i)));
    check(fclose(out) != 0);
    table_row(table);
    table_text(table, 0, key);
    table_text(table, 1, text);
    free(text);
}

static void add_members(struct table *table, const char *prefix, json_t *object)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        char name[512];

        snprintf(name, sizeof(name), "%s%s", prefix, key);
        if (json_is_object(value)) {
            snprintf(name, sizeof(name), "%s%s.", prefix, key);
            add_members(table, name, value);
        } else if (json_is_array(value)) {
            add_list(table, name, value);
        } else {
            add_line(table, name, value);
        }
    }
}

void object_print(const struct cli *cli, json_t *object)
{
    static const struct column columns[] = {{"KEY", COLUMN_TEXT}, {"VALUE", COLUMN_WORDS}};
    struct table *table;

    if (cli->json) {
        check(json_dumpf(object, stdout, JSON_INDENT(3)) < 0);
        putchar('\n');
    } else {
        table = table_new(cli, "facts", columns, 2);
        scols_table_enable_noheadings(table->scols, 1);
        add_members(table, "", object);
        table_print(table, stdout);
    }
    json_decref(object);
}
