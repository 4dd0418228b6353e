/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/server/metrics_data.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* A volume: what the cluster knew of it, what this host measures, or both. */
struct row {
    const char *name;
    const struct metrics_facts *facts;
    const struct metrics_local *local; /* NULL: not mounted here */
    int64_t now;
};

/* The number a family shows for a volume; false: none. */
typedef bool value_fn(const struct row *row, double *ret);

static bool size_of(const struct row *row, double *ret)
{
    if (row->local && row->local->measured > 0)
        *ret = (double)row->local->stats.size;
    else if (row->facts)
        *ret = (double)row->facts->size;
    else
        return false;
    return true;
}

static bool used_of(const struct row *row, double *ret)
{
    if (row->local && row->local->has_usage)
        *ret = (double)row->local->used;
    else if (row->facts && row->facts->used != UINT64_MAX)
        *ret = (double)row->facts->used;
    else
        return false;
    return true;
}

static bool created_of(const struct row *row, double *ret)
{
    if (row->facts)
        *ret = (double)row->facts->created;
    return row->facts && row->facts->created > 0;
}

static bool snapshots_of(const struct row *row, double *ret)
{
    if (row->facts)
        *ret = (double)row->facts->snapshots;
    return row->facts;
}

static bool newest_snapshot_of(const struct row *row, double *ret)
{
    if (row->facts)
        *ret = (double)row->facts->newest_snapshot;
    return row->facts && row->facts->newest_snapshot > 0;
}

static bool takeovers_of(const struct row *row, double *ret)
{
    if (row->facts)
        *ret = (double)row->facts->takeovers;
    return row->facts;
}

static bool held_of(const struct row *row, double *ret)
{
    if (row->facts)
        *ret = row->facts->held;
    return row->facts;
}

static double age(const struct row *row, int64_t instant)
{
    return (double)(row->now - instant) / (double)NS_PER_S;
}

static bool facts_age_of(const struct row *row, double *ret)
{
    if (row->facts)
        *ret = age(row, row->facts->read);
    return row->facts;
}

static bool mounted_of(const struct row *row, double *ret)
{
    *ret = row->local != NULL;
    return true;
}

static bool is_measured(const struct row *row)
{
    return row->local && row->local->measured > 0;
}

static bool stats_age_of(const struct row *row, double *ret)
{
    if (is_measured(row))
        *ret = age(row, row->local->measured);
    return is_measured(row);
}

static bool fenced_of(const struct row *row, double *ret)
{
    if (is_measured(row))
        *ret = row->local->stats.state == BLOCKD_FENCED;
    return is_measured(row);
}

static bool fences_of(const struct row *row, double *ret)
{
    if (row->local)
        *ret = (double)row->local->fences;
    return row->local;
}

static bool watch_age_of(const struct row *row, double *ret)
{
    if (is_measured(row))
        *ret = (double)row->local->stats.watch_age_ms / 1e3 + age(row, row->local->measured);
    return is_measured(row);
}

static bool in_flight_of(const struct row *row, double *ret)
{
    if (is_measured(row))
        *ret = (double)row->local->stats.io.in_flight;
    return is_measured(row);
}

static bool read_bytes_of(const struct row *row, double *ret)
{
    if (is_measured(row))
        *ret = (double)row->local->stats.io.read_bytes;
    return is_measured(row);
}

static bool write_bytes_of(const struct row *row, double *ret)
{
    if (is_measured(row))
        *ret = (double)row->local->stats.io.write_bytes;
    return is_measured(row);
}

static bool errors_of(const struct row *row, double *ret)
{
    if (is_measured(row))
        *ret = (double)row->local->stats.io.errors;
    return is_measured(row);
}

static bool resident_of(const struct row *row, double *ret)
{
    if (row->local && row->local->has_process)
        *ret = (double)row->local->process.resident_bytes;
    return row->local && row->local->has_process;
}

static bool fds_of(const struct row *row, double *ret)
{
    if (row->local && row->local->has_process)
        *ret = (double)row->local->process.open_fds;
    return row->local && row->local->has_process;
}

static bool started_of(const struct row *row, double *ret)
{
    if (row->local && row->local->has_process)
        *ret = row->local->process.started;
    return row->local && row->local->has_process;
}

static const struct family {
    const char *name;
    const char *type;
    const char *help;
    value_fn *value;
} families[] = {
    {"volume_size_bytes", "gauge", "Size of the volume.", size_of},
    {"volume_used_bytes", "gauge",
     "Bytes used in its file system: now where it is mounted, else at its last unmount.", used_of},
    {"volume_created_timestamp_seconds", "gauge", "When the volume was made.", created_of},
    {"volume_snapshots", "gauge", "Number of snapshots.", snapshots_of},
    {"volume_newest_snapshot_timestamp_seconds", "gauge", "When the newest snapshot was taken.",
     newest_snapshot_of},
    {"volume_takeovers_total", "counter",
     "How often a host took the volume over from another that was lost.", takeovers_of},
    {"volume_held", "gauge", "Whether a host holds the volume's lock.", held_of},
    {"volume_facts_age_seconds", "gauge", "How old the facts read from the cluster are.",
     facts_age_of},
    {"volume_mounted", "gauge", "Whether the volume is mounted on this host.", mounted_of},
    {"volume_stats_age_seconds", "gauge",
     "How long ago the volume's data process was last measured.", stats_age_of},
    {"volume_fenced", "gauge",
     "Whether this host was cut off from the volume because another took it over.", fenced_of},
    {"volume_fences_total", "counter", "How often this host was cut off from the volume.",
     fences_of},
    {"volume_watch_age_seconds", "gauge",
     "How long ago the cluster last confirmed that this host holds the volume.", watch_age_of},
    {"volume_requests_in_flight", "gauge", "Requests to the device that are not done yet.",
     in_flight_of},
    {"volume_read_bytes_total", "counter", "Bytes read from the device.", read_bytes_of},
    {"volume_written_bytes_total", "counter", "Bytes written to the device.", write_bytes_of},
    {"volume_request_errors_total", "counter", "Requests to the device that failed.", errors_of},
    {"volume_process_resident_memory_bytes", "gauge", "Memory of the volume's data process.",
     resident_of},
    {"volume_process_open_fds", "gauge", "Open descriptors of the volume's data process.", fds_of},
    {"volume_process_start_time_seconds", "gauge", "When the volume's data process started.",
     started_of},
};

/* Call VISIT for each volume, by name. */
static void each_row(const struct metrics_data *data,
                     void (*visit)(struct metrics_text *text, const struct row *row,
                                   const struct family *family),
                     struct metrics_text *text, const struct family *family)
{
    size_t f = 0;
    size_t l = 0;

    while (f < data->facts_count || l < data->local_count) {
        int order = f == data->facts_count   ? 1
                    : l == data->local_count ? -1
                                             : strcmp(data->facts[f].name, data->locals[l].name);
        struct row row = {.now = data->now};

        if (order <= 0)
            row.facts = &data->facts[f++];
        if (order >= 0)
            row.local = &data->locals[l++];
        row.name = row.facts ? row.facts->name : row.local->name;
        visit(text, &row, family);
    }
}

static void print_number(struct metrics_text *text, const struct row *row,
                         const struct family *family)
{
    const struct metrics_label labels[] = {{"volume", row->name}, {0}};
    double value;

    if (family->value(row, &value))
        metrics_number(text, labels, value);
}

static void print_holder(struct metrics_text *text, const struct row *row,
                         const struct family *family)
{
    char client[24];
    const struct metrics_label labels[] = {{"volume", row->name},
                                           {"host", row->facts ? row->facts->holder_host : NULL},
                                           {"client", client},
                                           {0}};

    (void)family;
    if (!row->facts || !row->facts->held)
        return;
    snprintf(client, sizeof(client), "%llu", (unsigned long long)row->facts->holder_client);
    metrics_count(text, labels, 1);
}

static void print_latency(struct metrics_text *text, const struct row *row,
                          const struct family *family)
{
    static const char *const operations[BACKEND_FLUSH] = {
        [BACKEND_READ] = "read", [BACKEND_WRITE] = "write", [BACKEND_DISCARD] = "discard"};

    (void)family;
    if (!is_measured(row))
        return;
    for (int op = 0; op < BACKEND_FLUSH; op++) {
        const struct metrics_label labels[] = {
            {"volume", row->name}, {"operation", operations[op]}, {0}};

        metrics_histogram(text, labels, &row->local->stats.io.done[op]);
    }
}

static void print_volumes(struct metrics_text *text, const struct metrics_data *data)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        metrics_family(text, families[i].name, families[i].type, families[i].help);
        each_row(data, print_number, text, &families[i]);
    }
    metrics_family(text, "volume_holder_info", "gauge", "Which host and Ceph client hold it.");
    each_row(data, print_holder, text, NULL);
    metrics_family(text, "volume_request_duration_seconds", "histogram",
                   "How long requests to the device took that succeeded; _count is their number.");
    each_row(data, print_latency, text, NULL);
}

static void print_one(struct metrics_text *text, const char *name, const char *type,
                      const char *help, double value)
{
    metrics_family(text, name, type, help);
    metrics_number(text, NULL, value);
}

static void print_cluster(struct metrics_text *text, const struct metrics_data *data)
{
    const struct metrics_label pool[] = {{"pool", data->settings->pool}, {0}};

    print_one(text, "cluster_reachable", "gauge",
              "Whether the cluster answered when this host last asked, at most some 35 s ago.",
              data->link.reachable);
    print_one(text, "cluster_connections_total", "counter",
              "Connections made to the cluster: more than one after this host was blocklisted.",
              (double)data->link.connected);
    if (data->link.contact > 0)
        print_one(text, "cluster_last_contact_timestamp_seconds", "gauge",
                  "When the cluster last answered.", (double)data->link.contact);
    if (data->pool_read == 0)
        return;
    metrics_family(text, "pool_stored_bytes", "gauge", "Data in the pool, before replication.");
    metrics_count(text, pool, data->pool.stored);
    metrics_family(text, "pool_available_bytes", "gauge", "Data that would still fit.");
    metrics_count(text, pool, data->pool.available);
    metrics_family(text, "pool_full", "gauge", "Whether writes wait because the pool is full.");
    metrics_count(text, pool, data->pool.full);
    metrics_family(text, "pool_usage_age_seconds", "gauge", "How old these numbers are.");
    metrics_number(text, pool, (double)(data->now - data->pool_read) / (double)NS_PER_S);
}

static void print_processes(struct metrics_text *text, const struct metrics_data *data)
{
    enum { STARTED, RESIDENT, FDS, NUMBERS };
    static const struct {
        const char *name;
        const char *help;
    } numbers[NUMBERS] = {
        [STARTED] = {"process_start_time_seconds", "When the process started."},
        [RESIDENT] = {"process_resident_memory_bytes", "Memory of the process."},
        [FDS] = {"process_open_fds", "Open descriptors of the process."},
    };

    for (int n = 0; n < NUMBERS; n++) {
        metrics_family(text, numbers[n].name, "gauge", numbers[n].help);
        for (int i = 0; i < METRICS_PROCESSES; i++) {
            const struct metrics_process *process = &data->host.processes[i];
            const struct metrics_label labels[] = {{"process", process->name}, {0}};
            const double values[NUMBERS] = {[STARTED] = process->usage.started,
                                            [RESIDENT] = (double)process->usage.resident_bytes,
                                            [FDS] = (double)process->usage.open_fds};

            if (process->known)
                metrics_number(text, labels, values[n]);
        }
    }
    print_one(text, "process_max_fds", "gauge", "Descriptors the server may have open.",
              (double)data->max_fds);
    if (!data->host.has_counts)
        return;
    metrics_family(text, "process_restarts_total", "counter",
                   "Processes that ended unasked and were started again.");
    metrics_count(text, (const struct metrics_label[]){{"process", "server"}, {0}},
                  data->host.counts.server_restarts);
    metrics_count(text, (const struct metrics_label[]){{"process", "blockd"}, {0}},
                  data->host.counts.blockd_restarts);
    print_one(text, "blockds", "gauge", "Volumes' data processes.",
              (double)data->host.counts.blockds);
}

static void print_workers(struct metrics_text *text, const struct metrics_data *data)
{
    enum { BUSY, QUEUED, LIMIT, NUMBERS };
    static const struct {
        const char *name;
        const char *help;
    } numbers[NUMBERS] = {
        [BUSY] = {"workers_busy", "Threads that handle a call."},
        [QUEUED] = {"workers_queued", "Calls that wait for a thread."},
        [LIMIT] = {"workers_max", "Threads there may be."},
    };

    for (int n = 0; n < NUMBERS; n++) {
        metrics_family(text, numbers[n].name, "gauge", numbers[n].help);
        for (int i = 0; i < CALLS_POOLS; i++) {
            const struct workers_view *view = &data->workers[i];
            const struct metrics_label labels[] = {{"kind", view->name}, {0}};
            const size_t values[NUMBERS] = {
                [BUSY] = view->busy, [QUEUED] = view->queued, [LIMIT] = view->limit};

            metrics_count(text, labels, values[n]);
        }
    }
}

void metrics_print(struct metrics_text *text, const struct metrics_data *data)
{
    const struct settings *s = data->settings;
    const struct metrics_label info[] = {{"version", VERSION},
                                         {"host", s->host},
                                         {"pool", s->pool},
                                         {"namespace", s->namespace},
                                         {0}};

    metrics_family(text, "info", "gauge", "Which plugin this is.");
    metrics_count(text, info, 1);
    print_processes(text, data);
    print_workers(text, data);
    print_cluster(text, data);
    print_one(text, "volumes", "gauge", "Volumes in the pool.", (double)data->volumes);
    print_one(text, "volumes_left_out", "gauge", "Volumes that are not shown: there are too many.",
              (double)data->volumes_left_out);
    print_volumes(text, data);
    /* Last, since it counts the lines before it; they left it room. */
    text->limit += METRICS_TAIL_MAX;
    print_one(text, "lines_left_out", "gauge", "Lines that are not shown: there are too many.",
              (double)text->left_out);
}
