"""Is anything wrong, and where to look next."""

from .grafana import (
    FAULTS, ORANGE, RED, WRITES, YELLOW, Board, Row, graph, heat, quantiles, rate, share, stat, states, table,
)


def firing(severity):
    selector = f'alertname=~"Vecraft.*", alertstate="firing", severity="{severity}", cluster=~"$cluster"'
    return f"count(ALERTS{{{selector}}}) or on () vector(0)"


board = Board(
    "vecraft-overview", "Vecraft DB / Overview",
    "Health of a whole cluster on one page. Red here says which of the other boards to open.",
    [
        Row("Is anything wrong"),
        stat(
            "Critical alerts", "short", (firing("critical"), "firing"),
            "Alerts that want somebody now. Good: 0. Each alert's runbook says what to do; docs/runbooks has them all.",
            limits=[(1, RED)],
        ),
        stat(
            "Warnings", "short", (firing("warning"), "firing"),
            "Alerts that want somebody in office hours. Good: 0. A warning that stays becomes tomorrow's page.",
            limits=[(1, ORANGE)],
        ),
        stat(
            "Nodes that answer", "percentunit", ("sum(up{@}) / count(up{@})", "up"),
            """Share of the scraped nodes that answer Prometheus. Good: 100 %. Less: `vecraft cluster status` at a node that answers
            names the one that does not; look at its log and its machine.""",
            limits=[(0.6, ORANGE), (1, "green")], falling=True,
        ),
        stat(
            "Partitions without leader", "short",
            ("count(max by (cluster, partition) (vecraft_raft_has_leader{@}) == 0) or on () vector(0)", "partitions"),
            """Partitions of the journal for which no node knows a leader: their writes and strong reads wait. Good: 0, and for less than a
            second after a node died. Longer: a majority of voters is missing; bring nodes back.""",
            limits=[(1, RED)],
        ),
        stat(
            "Missing copies", "short", ("max(vecraft_control_missing_replicas{@}) or on () vector(0)", "copies"),
            """Copies that shards want and have not. Good: 0; after a node died it grows and falls to 0 within a minute or so. It stays: see
            the board Control plane, panel Needed and not to be had.""",
            limits=[(1, ORANGE)],
        ),
        stat(
            "Lowest error budget", "percentunit", ("min(vecraft_error_budget_remaining{@})", "left"),
            """What is left of the error budget of the tier that has least. Good: above 20 %. Below 0 the objective of the period is
            missed: stop what is risky, and see the board QoS and SLO.""",
            limits=[(0, ORANGE), (0.2, "green")], falling=True,
        ),
        stat(
            "Longest replay lag", "s", ("max(vecraft_storage_replay_lag_seconds{@})", "lag"),
            """How old the oldest committed write is that some replica has not applied. Good: below 0.2 s (an idle cluster shows up to
            0.1 s, the pace of closed timestamps). From 1 s on writes are held back: see Storage and index.""",
            limits=[(0.2, YELLOW), (0.5, ORANGE), (1, RED)],
        ),
        stat(
            "Writes found by lineage", "percentunit", ("min(vecraft_tracking_coverage_ratio{@})", "coverage"),
            """Share of acknowledged writes that lineage found when it looked for them. Good: 100 %, always. Less is data loss or a gap in
            the log until shown otherwise: see Lineage and tracking.""",
            limits=[(0.999, ORANGE), (0.9999, "green")], falling=True,
        ),
        Row("Requests"),
        graph(
            "Requests", "reqps", [(rate("vecraft_request_total", "operation"), "{{operation}}")],
            """Answers a second at the edge, gRPC and HTTP, by operation. There is no good value: look for steps that nobody planned, and
            for a fall to zero.""",
            stacked=True,
        ),
        graph(
            "Failed by the server's fault", "percentunit",
            [(share(rate("vecraft_request_total", "tier", FAULTS), rate("vecraft_request_total", "tier")), "{{tier}}")],
            """Share of requests answered UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS, by tier. Good: 0; the objectives
            allow 0.01 % (critical), 0.1 % (interactive), 0.5 % (batch) and 1 % (background). Panel Answers by status says which.""",
            limits=[(0.001, YELLOW), (0.01, RED)],
        ),
        graph(
            "Answers by status", "reqps", [(rate("vecraft_request_total", "status"), "{{status}}")],
            """Statuses by their gRPC names, whatever wire they went over. INVALID_ARGUMENT and NOT_FOUND are callers' mistakes;
            RESOURCE_EXHAUSTED is load turned away; UNAVAILABLE mostly a partition without leader or a node that stops.""",
            stacked=True,
        ),
        heat(
            "Search time", "vecraft_request_duration_seconds",
            """Where searches' times lie, from request read whole to answer handed over. Good: one dark band below 50 ms. A second band above
            it is a slow node, reads that wait for replay, or a filter that scans: see Query and consistency.""",
            where='operation="search"',
        ),
        graph(
            "Search time, quantiles", "s", quantiles("vecraft_request_duration_seconds", 'operation="search"'),
            "The objective of tier 1: p95 below 25 ms, p99 below 50 ms; above 100 ms an alert fires.",
            limits=[(0.05, YELLOW), (0.1, RED)],
        ),
        graph(
            "Write time, quantiles", "s", quantiles("vecraft_request_duration_seconds", WRITES),
            """From request to durable on a majority. The objective of tier 2 is p99 below 200 ms, of journal appends alone 10 ms: the
            difference is decoding, queueing and batching. Grows first when disks are slow: see Journal.""",
            limits=[(0.2, YELLOW), (1, RED)],
        ),
        Row("Data"),
        graph(
            "Points", "short",
            [("sum by (collection) (max by (collection, shard) (vecraft_storage_points{@}))", "{{collection}}")],
            "Live points, each counted once whatever the number of copies. A fall nobody ordered: `vecraft lineage record COLLECTION ID`.",
            stacked=True,
        ),
        graph(
            "Entries appended", "ops", [("max by (partition) (rate(vecraft_journal_entries_total{@}[$__rate_interval]))", "{{partition}}")],
            "Journal entries a second; one entry is one write request, of up to hundreds of points. Uneven partitions: tenants are uneven.",
        ),
        table(
            "Builds", "short", ("max by (instance, version, revision) (vecraft_build_info{@})", "{{instance}}"),
            "Which build each node runs. Good: one version everywhere, except while a release is rolled out.", hidden=("Value",),
        ),
        Row("Nodes"),
        states(
            "Ready", ("vecraft_node_ready{@}", "{{instance}}"),
            """What /readyz answers: whether the node can do its job now. Not ready for longer than a start: `vecraft health --address` of
            that node says which check fails.""",
            yes="ready", no="not ready",
        ),
        states(
            "Services", ("min by (instance, service) (vecraft_node_service_up{@})", "{{instance}} {{service}}"),
            "Each service's own health on its node. One that is down while its neighbours are up is a fault of that service: read the node's log.",
            yes="up", no="down",
        ),
        graph(
            "Processor", "percentunit", [("vecraft_node_cpu_utilization_ratio{@}", "{{instance}}")],
            """Use of all cores of the machine (or of the container's share). Good: below 80 %; more for 10 minutes is a reason to move
            tenants or to add a node: it takes its share of the copies by itself.""",
            limits=[(0.8, ORANGE)], top=1,
        ),
        graph(
            "Processors that the process uses", "short", [("sum by (instance) (rate(process_cpu_seconds_total{@}[$__rate_interval]))", "{{instance}}")],
            "In cores. Much less than Processor says: the machine works for somebody else.",
        ),
        graph(
            "Processor time waited or taken away", "percentunit",
            [
                (
                    """sum by (cluster, job, instance, mode) (rate(vecraft_node_cpu_seconds_total{@, mode=~"iowait|steal"}[$__rate_interval]))
                    / on (cluster, job, instance) group_left () sum by (cluster, job, instance) (rate(vecraft_node_cpu_seconds_total{@}[$__rate_interval]))""",
                    "{{instance}} {{mode}}",
                )
            ],
            "iowait: the disk is what everybody waits for. steal: the host gives the time to other machines. Good: below 10 %.",
            limits=[(0.1, ORANGE)], top=1,
        ),
        graph(
            "Memory of the process", "bytes", [("process_resident_memory_bytes{@}", "{{instance}}")],
            "Resident bytes, mapped files that happen to be in memory included. A line that only rises under steady load is worth a look.",
        ),
        graph(
            "Memory of the machine in use", "percentunit",
            [
                (
                    'vecraft_node_memory_bytes{@, state="used"} / on (cluster, job, instance) vecraft_node_memory_bytes{@, state="total"}',
                    "{{instance}}",
                )
            ],
            "Good: below 85 %. Above it for 5 minutes is a reason for one more node, before the kernel decides.",
            limits=[(0.85, ORANGE), (0.95, RED)], top=1,
        ),
        graph(
            "Disk free", "percentunit",
            [
                (
                    'vecraft_node_disk_bytes{@, state="free"} / on (cluster, job, instance) vecraft_node_disk_bytes{@, state="total"}',
                    "{{instance}}",
                )
            ],
            """Of the file system with the data directory. Good: above 20 %. At `journal.reserve_bytes` the node gives leadership up and
            refuses writes; deletes go on. Trim (`vecraft journal trim`), grow the disk, or add a node.""",
            top=1,
        ),
        graph(
            "Disk traffic of the process", "Bps",
            [("sum by (instance, direction) (rate(vecraft_node_disk_io_bytes_total{@}[$__rate_interval]))", "{{instance}} {{direction}}")],
            "Reads should be near nothing once a node has started: steady reading says that the mapped segments do not fit into memory.",
        ),
        graph(
            "Network traffic of the machine", "Bps",
            [("sum by (instance, direction) (rate(vecraft_node_network_bytes_total{@}[$__rate_interval]))", "{{instance}} {{direction}}")],
            "A leader sends each write to its followers; a node that is built anew receives a whole shard. Compare with the link's limit.", width=12,
        ),
        graph(
            "Warnings and errors logged", "ops",
            [('sum by (instance, level) (rate(vecraft_log_lines_total{@, level=~"warning|error|critical"}[$__rate_interval]))', "{{instance}} {{level}}")],
            "Lines a second. Good: none, beyond some warnings when nodes come and go. The lines themselves say what and where.", width=12,
        ),
    ],
)
