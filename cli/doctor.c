/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>

struct doctor_args {
    struct cli *cli;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct doctor_args *args = state->input;

    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    cli_init_children(state, args->cli, cli_common_host);
    return 0;
}

static const struct argp argp = {
    .parser = parse,
    .doc = "Check what volumes need: the way to the cluster, this host, and the volumes "
           "themselves.\v"
           "Changes nothing: a scratch object is made and removed in the pool. Ends with 1 when a "
           "check has failed.",
    .children = cli_common_host,
};

void doctor_add(struct doctor *doctor, const char *check, enum result result, const char *format,
                ...)
{
    static const char *const words[] = {
        [RESULT_OK] = "ok", [RESULT_WARNING] = "warning", [RESULT_FAILED] = "failed"};
    enum { CHECK, RESULT, DETAIL };
    char text[ERROR_TEXT_MAX];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    table_row(doctor->table);
    table_text(doctor->table, CHECK, check);
    table_text(doctor->table, RESULT, words[result]);
    table_text(doctor->table, DETAIL, text);
    doctor->failed = doctor->failed || result == RESULT_FAILED;
}

void doctor_add_call(struct doctor *doctor, const char *check, int r, const char *ok_words,
                     enum result bad, const struct error *err)
{
    if (r < 0)
        doctor_add(doctor, check, bad, "%s", err->text);
    else
        doctor_add(doctor, check, RESULT_OK, "%s", ok_words);
}

int command_doctor(struct cli *cli, int argc, char *argv[])
{
    static const struct column columns[] = {
        {"CHECK", COLUMN_TEXT}, {"RESULT", COLUMN_TEXT}, {"DETAIL", COLUMN_WORDS}};
    struct doctor_args args = {.cli = cli};
    struct doctor doctor = {.cli = cli};

    cli_parse(cli, &argp, argc, argv, &args);
    doctor.table = table_new(cli, "checks", columns, sizeof(columns) / sizeof(columns[0]));
    doctor_check_cluster(&doctor);
    doctor_check_host(&doctor);
    progress_end();
    table_print(doctor.table, stdout);
    return doctor.failed ? EXIT_FAILED : 0;
}
