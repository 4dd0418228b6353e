/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/reader.h"
#include "image/takeover.h"
#include "rados/cluster.h"
#include "volume/volume.h"

/* The facts of many volumes, read with several requests under way. */

struct volume_report {
    char name[RBD_NAME_MAX];
    struct volume_facts facts;
    enum holder_life life; /* of the lock's holder; meaningful when asked for and there is one */
    struct image_readers readers; /* with access=ro, when asked for: who has it open */
    struct error err; /* code < 0: facts or life could not be read. -ENOENT: there is no such
                       * volume, or the directory lists a name that leads nowhere; -ESTALE: the name
                       * leads to an image that is gone */
};

struct volume_survey {
    struct volume_report *items; /* in the order of the names */
    size_t count;
};
void volume_survey_free(struct volume_survey *survey); /* leaves it empty */

static inline void cleanup_volume_surveyp(struct volume_survey *survey)
{
    volume_survey_free(survey);
}
#define cleanup_volume_survey __attribute__((cleanup(cleanup_volume_surveyp)))

struct volume_survey_request {
    const char *const *names; /* COUNT of them; NULL: all volumes, sorted by name */
    size_t count;
    bool look; /* find out whether holders live, and who reads; takes about a second where one does
                  not answer */
    /* Called from the calling thread now and then. Optional. */
    void (*progress)(void *arg, size_t done, size_t total);
    void *arg;
};

/* Read them. A volume that cannot be read is no failure of the survey: its report says why.
 * 0, or a negative errno when the names cannot be listed. Blocks; any thread but librados' own. */
int volume_survey(struct cluster *cluster, const struct volume_survey_request *request,
                  int64_t deadline, struct volume_survey *ret, struct error *err);
