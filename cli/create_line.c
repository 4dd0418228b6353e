/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/create_line.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume/text.h"

/* What the options of a volume are when none is given (volume_options_init). */
#define DEFAULT_OBJECT_SIZE (UINT64_C(4) << 20)
#define DEFAULT_ID          "0"
#define DEFAULT_MODE        "0755"

#define SIZE_UNIT 4096 /* a size that is no multiple cannot be asked for */

void create_line_free(struct create_line *line)
{
    for (size_t i = 0; i < line->count; i++)
        free(line->words[i]);
    *line = (struct create_line){0};
}

__attribute__((format(printf, 2, 3))) static bool add(struct create_line *line, const char *format,
                                                      ...)
{
    char *word = NULL;
    va_list ap;
    int r;

    va_start(ap, format);
    r = vasprintf(&word, format, ap);
    va_end(ap);
    if (r < 0)
        return false;
    line->words[line->count++] = word;
    return true;
}

static bool add_option(struct create_line *line, const char *key, const char *value)
{
    if (value[0] == '\0' || !text_is_printable(value))
        return true;
    return add(line, "-o") && add(line, "%s=%s", key, value);
}

static bool add_option_unless(struct create_line *line, const char *key, const char *value,
                              const char *initial)
{
    return strcmp(value, initial) == 0 || add_option(line, key, value);
}

static bool add_size(struct create_line *line, const char *key, uint64_t bytes)
{
    char text[32];

    size_format(bytes, text, sizeof(text));
    return add_option(line, key, text);
}

/* What only a volume that was created with options has. An image of another tool may have values
 * that cannot be asked for. */
static bool add_format(struct create_line *line, const struct volume_facts *facts)
{
    if (!facts->formatted)
        return true;
    return (facts->size % SIZE_UNIT != 0 || add_size(line, "size", facts->size)) &&
           add_option(line, "fs", filesystem_name(facts->fs)) &&
           (facts->object_size == DEFAULT_OBJECT_SIZE ||
            add_size(line, "object-size", facts->object_size));
}

/* What it shows says who owns its files. */
static bool add_contents(struct create_line *line, const struct volume_facts *facts)
{
    if (facts->read_only)
        return add_option(line, "from", facts->from) &&
               add_option(line, "access", volume_access_name(true));
    return add_option_unless(line, "uid", facts->uid, DEFAULT_ID) &&
           add_option_unless(line, "gid", facts->gid, DEFAULT_ID) &&
           add_option_unless(line, "mode", facts->mode, DEFAULT_MODE);
}

static bool add_labels(struct create_line *line, const struct rbd_pairs *labels)
{
    for (size_t i = 0; i < labels->count && line->count + 4 < CREATE_WORDS_MAX; i++) {
        const struct rbd_pair *label = &labels->items[i];
        char key[256];

        snprintf(key, sizeof(key), "label.%s", label->key);
        if (text_is_printable(key) && !add_option(line, key, label->value))
            return false;
    }
    return true;
}

int create_line_make(const char *driver, const struct volume_facts *facts, struct create_line *ret)
{
    struct create_line line = {0};

    if (add(&line, "docker") && add(&line, "volume") && add(&line, "create") && add(&line, "-d") &&
        add(&line, "%s", driver) && add_format(&line, facts) &&
        add_option(&line, "mount-options", facts->mount_options) && add_contents(&line, facts) &&
        add_option(&line, "owner", facts->owner) &&
        add_option(&line, "data-pool", facts->data_pool) &&
        add_option(&line, "protect", facts->protect ? "true" : "") &&
        add_labels(&line, &facts->labels) && add(&line, "%s", facts->name)) {
        *ret = line;
        return 0;
    }
    create_line_free(&line);
    return -ENOMEM;
}

static bool is_plain(const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "_-./:=,@%+";

    return word[0] != '\0' && word[strspn(word, plain)] == '\0';
}

/* In single quotes, where only the single quote itself means something. */
static void quote(FILE *out, const char *word)
{
    fputc('\'', out);
    for (const char *p = word; *p; p++) {
        if (*p == '\'')
            fputs("'\\''", out);
        else
            fputc(*p, out);
    }
    fputc('\'', out);
}

char *create_line_text(const struct create_line *line)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    for (size_t i = 0; i < line->count; i++) {
        if (i > 0)
            fputc(' ', out);
        if (is_plain(line->words[i]))
            fputs(line->words[i], out);
        else
            quote(out, line->words[i]);
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

void create_line_driver(const char *socket, char ret[DRIVER_NAME_MAX])
{
    const char *slash = strrchr(socket, '/');
    const char *name = slash ? slash + 1 : socket;
    size_t len = strlen(name);
    const char suffix[] = ".sock";

    if (len > strlen(suffix) && strcmp(name + len - strlen(suffix), suffix) == 0)
        len -= strlen(suffix);
    snprintf(ret, DRIVER_NAME_MAX, "%.*s", (int)(len < DRIVER_NAME_MAX ? len : 0), name);
}
