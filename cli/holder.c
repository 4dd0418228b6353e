/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/holder.h"

#include <stdio.h>
#include <string.h>

#include "cli/table.h"
#include "image/ownership.h"

void holder_text(const struct lock_info *lock, struct holder_text *ret)
{
    ownership_parse_description(lock->holder.description, ret->host, sizeof(ret->host), ret->since,
                                sizeof(ret->since));
    if (ret->host[0] == '\0')
        snprintf(ret->host, sizeof(ret->host), "%s", lock->holder.address);
}

json_t *holder_json(const struct lock_info *lock, enum holder_life life)
{
    json_t *holder = json_object();
    struct holder_text text;

    holder_text(lock, &text);
    object_add_text(holder, "host", text.host);
    object_add_text(holder, "since", text.since);
    object_add(holder, "client", json_integer((json_int_t)lock->holder.client_id));
    object_add_text(holder, "address", lock->holder.address);
    object_add_text(holder, "state", holder_life_word(life));
    return holder;
}

static const char *reader_state_word(const struct image_reader *reader)
{
    return holder_life_word(reader->answers ? HOLDER_ALIVE : HOLDER_SILENT);
}

json_t *holder_readers_json(const struct image_readers *readers)
{
    json_t *list = json_array();

    for (size_t i = 0; i < readers->count; i++) {
        const struct image_reader *reader = &readers->items[i];
        json_t *object = json_object();

        object_add_text(object, "host", reader->host);
        object_add_text(object, "since", reader->since);
        object_add(object, "client", json_integer((json_int_t)reader->client_id));
        object_add_text(object, "address", reader->address);
        object_add_text(object, "state", reader_state_word(reader));
        json_array_append_new(list, object);
    }
    return list;
}

enum { VOLUME, HOST, SINCE, CLIENT, ADDRESS, STATE, ACCESS };

static void add_reader(struct table *table, const char *name, const struct image_reader *reader)
{
    table_row(table);
    table_text(table, VOLUME, name);
    table_text(table, HOST, reader->host);
    table_text(table, SINCE, reader->since);
    table_number(table, CLIENT, reader->client_id);
    table_text(table, ADDRESS, reader->address);
    table_text(table, STATE, reader_state_word(reader));
    table_text(table, ACCESS, volume_access_name(true));
}

static void add_holder(struct table *table, const struct volume_report *report)
{
    const struct lock_info *lock = &report->facts.lock;
    struct holder_text text;

    holder_text(lock, &text);
    table_row(table);
    table_text(table, VOLUME, report->name);
    table_text(table, HOST, text.host);
    table_text(table, SINCE, text.since);
    table_number(table, CLIENT, lock->holder.client_id);
    table_text(table, ADDRESS, lock->holder.address);
    if (report->err.code == 0)
        table_text(table, STATE, holder_life_word(report->life));
    table_text(table, ACCESS, volume_access_name(false));
}

static struct table *make_table(const struct cli *cli, const struct volume_report *const reports[],
                                size_t count)
{
    static const struct column columns[] = {
        {"VOLUME", COLUMN_TEXT},   {"HOST", COLUMN_TEXT},    {"SINCE", COLUMN_TEXT},
        {"CLIENT", COLUMN_NUMBER}, {"ADDRESS", COLUMN_TEXT}, {"STATE", COLUMN_TEXT},
        {"ACCESS", COLUMN_TEXT},
    };
    struct table *table = table_new(cli, "holders", columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; i < count; i++) {
        if (reports[i]->facts.lock.count > 0)
            add_holder(table, reports[i]);
        for (size_t j = 0; j < reports[i]->readers.count; j++)
            add_reader(table, reports[i]->name, &reports[i]->readers.items[j]);
    }
    return table;
}

void holder_print(const struct cli *cli, const struct volume_report *const reports[], size_t count)
{
    table_print(make_table(cli, reports, count), stdout);
}

void holder_announce(const struct volume_report *const reports[], size_t count)
{
    static const struct cli text = {0};

    table_print(make_table(&text, reports, count), stderr);
}
