/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "volume/options.h"
#include "volume/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_words(const struct error *err, int r)
{
    assert(err->code == r && err->text[0] != '\0');
    for (const char *at = err->text; *at; at++)
        assert(*at >= ' ' && *at <= '~'); /* fits into JSON and a log line wherever it is cut */
}

static void try_mount_options(enum filesystem fs, const char *text)
{
    char data[MOUNT_OPTIONS_MAX];
    struct error err = {0};
    unsigned long flags;
    int r = mount_options_parse(fs, text, &flags, data, &err);

    if (r < 0) {
        assert_words(&err, r);
        return;
    }
    assert(strlen(data) < sizeof(data) && strlen(text) < MOUNT_OPTIONS_MAX);
    mount_options_leave_journal(fs, data);
    assert(strlen(data) < sizeof(data) &&
           strstr(data, fs == FILESYSTEM_EXT4 ? "noload" : "norecovery"));
}

static void try_size(const char *text)
{
    char formatted[32];
    uint64_t size, again;

    if (size_parse(text, &size) < 0)
        return;
    assert(size > 0 && size % 4096 == 0 && size <= INT64_MAX);
    size_format(size, formatted, sizeof(formatted));
    assert(size_parse(formatted, &again) == 0 && again == size);
}

static void try_name(const char *text)
{
    struct error err = {0};
    int r = volume_name_check(text, &err);

    if (r < 0)
        assert_words(&err, r);
    else
        assert(strlen(text) < VOLUME_NAME_MAX && !strchr(text, '/') && text[0] != '.');
}

static void try_options(char *text)
{
    struct volume_options options;
    struct error err = {0};
    char *rest = NULL;
    int r;

    volume_options_init(&options, UINT64_C(10) << 30, FILESYSTEM_EXT4);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *value = strchr(line, '=');

        if (value)
            *value++ = '\0';
        err = (struct error){0};
        r = volume_options_set(&options, line, value ? value : "", &err);
        if (r < 0)
            assert_words(&err, r);
    }
    assert(options.size % 4096 == 0 && options.order >= 16 && options.order <= 25);
    assert(options.mode <= 07777 && text_is_printable(options.owner));
    for (size_t i = 1; i < options.labels.count; i++)
        assert(strcmp(options.labels.items[i - 1].key, options.labels.items[i].key) < 0);
    err = (struct error){0};
    r = volume_options_check(&options, &err);
    if (r < 0)
        assert_words(&err, r);
    volume_options_free(&options);
}

/* The same text as a size, a name, mount options, and lines of key=value. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    try_size(text);
    try_name(text);
    try_mount_options(FILESYSTEM_EXT4, text);
    try_mount_options(FILESYSTEM_XFS, text);
    try_options(text);
    free(text);
    return 0;
}
