/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <unistd.h>

#include "base/clock.h"
#include "rados/diagnose.h"
#include "rados/pool_usage.h"

/* The way to the cluster, step by step: a step that fails ends it, for the next ones need it. */

#define POOL_MS 15000

/* Locks and records carry hosts' times, and the sweep compares them (it allows ten minutes). */
#define CLOCK_WARN_S 2
#define CLOCK_FAIL_S 300

static bool check_conf(struct doctor *doctor)
{
    const char *conf = doctor->cli->settings.ceph_conf;

    if (access(conf, R_OK) == 0) {
        doctor_add(doctor, "ceph.conf", RESULT_OK, "%s", conf);
        return true;
    }
    doctor_add(doctor, "ceph.conf", RESULT_FAILED,
               "%s cannot be read (%s): copy it from the cluster, or say where it is with "
               "--ceph-conf",
               conf, error_words(-errno));
    return false;
}

static bool check_keyring(struct doctor *doctor)
{
    const struct cluster_settings settings = cli_cluster_settings(doctor->cli);
    char path[PATH_MAX] = "";
    struct error err;
    int r = diagnose_keyring(&settings, path, sizeof(path), &err);

    doctor_add_call(doctor, "keyring", r, path, RESULT_FAILED, &err);
    return r == 0;
}

static struct cluster *check_connect(struct doctor *doctor)
{
    struct cluster *cluster = NULL;
    int64_t begin = clock_now();
    struct error err;

    if (cli_connect(doctor->cli, &cluster, &err) < 0)
        doctor_add(doctor, "connection", RESULT_FAILED, "%s", err.text);
    else
        doctor_add(doctor, "connection", RESULT_OK, "as client.%s, pool '%s', after %lld ms",
                   doctor->cli->settings.ceph_client, cluster_pool(cluster),
                   (long long)((clock_now() - begin) / NS_PER_MS));
    return cluster;
}

static void check_clock(struct doctor *doctor, int64_t clock_ns, int64_t precision_ns)
{
    double off_s = fabs((double)clock_ns / (double)NS_PER_S);
    double precision_s = (double)precision_ns / (double)NS_PER_S;
    const char *side = clock_ns < 0 ? "ahead of" : "behind";

    if (off_s <= CLOCK_WARN_S + precision_s)
        doctor_add(doctor, "clock", RESULT_OK, "%.3f s %s the cluster's", off_s, side);
    else
        doctor_add(doctor, "clock", off_s <= CLOCK_FAIL_S ? RESULT_WARNING : RESULT_FAILED,
                   "this host's clock is %.1f s %s the cluster's: set both by NTP", off_s, side);
}

static void check_copies(struct doctor *doctor, struct cluster *cluster)
{
    const char *pool = cluster_pool(cluster);
    unsigned copies;
    struct error err;
    int r = pool_copies_read(cluster, pool, &copies, &err);

    if (r < 0)
        doctor_add(doctor, "copies", RESULT_WARNING, "%s", err.text);
    else if (copies == 1)
        doctor_add(
            doctor, "copies", RESULT_WARNING,
            "pool '%s' has one copy of everything, so a single disk that fails takes volumes "
            "with it: \"ceph osd pool set %s size 3\"",
            pool, pool);
    else
        doctor_add(doctor, "copies", RESULT_OK, "each piece of data is on %u disks", copies);
}

static void check_rights(struct doctor *doctor, struct cluster *cluster)
{
    int64_t clock_ns = 0;
    int64_t precision_ns = 0;
    struct error err;
    int r;

    progress("asking for rights");
    r = diagnose_fence_right(cluster, &err);
    doctor_add_call(doctor, "right to fence", r, "may blocklist a lost host's clients",
                    RESULT_FAILED, &err);
    r = diagnose_application(cluster, &err);
    doctor_add_call(doctor, "pool", r, "marked for RBD", RESULT_WARNING, &err);
    progress("writing a scratch object");
    r = diagnose_pool(cluster, deadline_in_ms(POOL_MS), &clock_ns, &precision_ns, &err);
    doctor_add_call(doctor, "right to write", r, "may write objects and call their classes",
                    RESULT_FAILED, &err);
    if (r == 0)
        check_clock(doctor, clock_ns, precision_ns);
}

void doctor_check_cluster(struct doctor *doctor)
{
    cleanup_cluster struct cluster *cluster = NULL;

    if (!check_conf(doctor) || !check_keyring(doctor))
        return;
    cluster = check_connect(doctor);
    if (!cluster)
        return;
    check_copies(doctor, cluster);
    check_rights(doctor, cluster);
    doctor_check_volumes(doctor, cluster);
}
