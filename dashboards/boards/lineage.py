"""Whether every write is found, and what tracing costs."""

from .grafana import ORANGE, RED, Board, Row, graph, heat, quantile, rate, stat

board = Board(
    "vecraft-lineage", "Vecraft DB / Lineage and tracking",
    "Every acknowledged write must be found by lineage. Here is whether it is, and what questions of lineage cost.",
    [
        Row("Tracking"),
        stat(
            "Writes found", "percentunit", ("min(vecraft_tracking_coverage_ratio{@})", "coverage"),
            """Share of the acknowledged writes that were looked up in lineage and found. The target is 99.99 %; good is 100 %. Less: verify the
            journal of that node (`vecraft journal verify --address NODE`) and follow the runbook of VecraftTrackingLoss.""",
            width=6, limits=[(0.999, ORANGE), (0.9999, "green")], falling=True,
        ),
        stat(
            "Writes lost", "short", ("sum(increase(vecraft_tracking_writes_lost_total{@}[$__range]))", "lost"),
            "Not found, in the time shown. Good: 0. Above 0.1 % of those checked an alert fires.", width=6, limits=[(1, RED)],
        ),
        stat(
            "Faults found by verification", "short", ("sum(vecraft_lineage_verify_faults_total{@})", "faults"),
            "Gaps, wrong checksums and wrong order that `vecraft journal verify` has found since the processes began. Good: 0.", width=6, limits=[(1, RED)],
        ),
        stat(
            "Entries held", "short",
            ("sum(max by (cluster, partition) (vecraft_journal_committed_offset{@} - vecraft_journal_first_offset{@} + 1))", "entries"),
            "History that lineage can answer from. Trimming the journal shortens it, for good.", width=6,
        ),
        graph(
            "Checked", "ops", [(rate("vecraft_tracking_writes_checked_total", "instance"), "{{instance}}")],
            "Acknowledged writes looked up, a second: every 64th, and each of the canary's. 0 on a node: it takes no writes and its canary is off.",
        ),
        graph(
            "Lost", "short", [("sum by (instance) (increase(vecraft_tracking_writes_lost_total{@}[$__rate_interval]))", "{{instance}}")],
            "Good: 0.", limits=[(1, RED)],
        ),
        graph(
            "Coverage", "percentunit", [("min by (instance) (vecraft_tracking_coverage_ratio{@})", "{{instance}}")],
            "By node. One node below the others: its own journal copy or its clock.", top=1,
        ),
        Row("Questions"),
        graph(
            "Questions", "reqps", [(rate("vecraft_request_total", "operation, status", 'operation=~"lineage|verify"'), "{{operation}} {{status}}")],
            "Of lineage and verification, by answer. NOT_FOUND is an answer, too: nothing of that id is held.",
        ),
        graph(
            "Time of questions, p99", "s", [(quantile(0.99, "vecraft_request_duration_seconds", "operation", 'operation=~"lineage|verify"'), "{{operation}}")],
            "A question about a point or a request reads what the key index names, or scans. Verification reads all: minutes are normal.",
        ),
        heat("Time of scans", "vecraft_lineage_scan_duration_seconds", "Of one scan of the journal. Bands that move up: the journal has grown."),
        graph(
            "Entries read", "ops", [(rate("vecraft_lineage_scanned_entries_total", "instance"), "{{instance}}")],
            "Journal entries read to answer, a second. Much more than answers: questions that scan.", width=12,
        ),
        graph(
            "Scans", "ops", [(rate("vecraft_lineage_scan_duration_seconds_count", "instance"), "{{instance}}")],
            "A second, by the node asked.", width=12,
        ),
        Row("Traces and logs"),
        graph(
            "Spans", "ops",
            [
                (rate("vecraft_trace_spans_finished_total", "instance"), "{{instance}} finished"),
                (rate("vecraft_trace_spans_exported_total", "instance"), "{{instance}} exported"),
                (rate("vecraft_trace_spans_dropped_total", "instance"), "{{instance}} dropped"),
                (rate("vecraft_trace_export_failures_total", "instance"), "{{instance}} requests that failed"),
            ],
            """Sampled spans, of nodes that are told of a collector (OTEL_EXPORTER_OTLP_ENDPOINT). Dropped: the collector is down or slow.
            Lineage does not need them: the spans of a write are in its journal entry.""",
        ),
        graph("Log lines", "ops", [(rate("vecraft_log_lines_total", "level"), "{{level}}")], "A second, by level.", stacked=True),
        graph(
            "Label sets folded", "ops", [(rate("vecraft_metrics_label_sets_folded_total", "family") + " or on () vector(0)", "{{family}}")],
            "Series counted under the label value other because their family was full. Good: 0; else boards show less than there is.",
        ),
    ],
)
