/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "volume/volume.h"

/* The `docker volume create` that makes a volume known on another host, with the options and labels
 * it has. Pure functions. */

#define CREATE_WORDS_MAX 512

struct create_line {
    char *words[CREATE_WORDS_MAX]; /* of the command; NULL at the end */
    size_t count;
};
void create_line_free(struct create_line *line); /* leaves it empty */

/* DRIVER: the driver's name for dockerd. Values that every volume has unless told otherwise are
 * left out, and so is what is not known, is no printable text (this driver never stores such) or
 * does not fit.
 * 0 or -ENOMEM. */
int create_line_make(const char *driver, const struct volume_facts *facts, struct create_line *ret);

/* The line for a shell, quoted where a shell would see more than text. NULL: out of memory; else
 * free(). */
char *create_line_text(const struct create_line *line);

/* The driver's name out of its socket's path: "/run/docker/plugins/rados.sock" is "rados". */
#define DRIVER_NAME_MAX 108
void create_line_driver(const char *socket, char ret[DRIVER_NAME_MAX]);
