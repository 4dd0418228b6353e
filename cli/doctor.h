/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "cli/cli.h"
#include "cli/table.h"

/* radosvol doctor: one check after the other, each with a result and words. Words of what is not
 * ok end with the next step. */

enum result { RESULT_OK, RESULT_WARNING, RESULT_FAILED };

struct doctor {
    const struct cli *cli;
    struct table *table;
    bool failed;
};

/* Add a result; FORMAT makes the words. */
void doctor_add(struct doctor *doctor, const char *check, enum result result, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

/* Add what a call said: ok with OK_WORDS when R >= 0, else BAD with the words of ERR. */
void doctor_add_call(struct doctor *doctor, const char *check, int r, const char *ok_words,
                     enum result bad, const struct error *err);

void doctor_check_cluster(struct doctor *doctor); /* and the volumes, when it can be reached */
void doctor_check_host(struct doctor *doctor);
void doctor_check_volumes(struct doctor *doctor, struct cluster *cluster);
