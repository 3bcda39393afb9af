"""Searches: how fast, and how fresh."""

from .grafana import ORANGE, RED, YELLOW, Board, Row, graph, heat, quantile, quantiles, rate, stat

READS = 'operation=~"search|get|count|scroll"'
SYNCS, BEHIND = "vecraft_query_syncs_total", "vecraft_query_replica_behind_total"


def p99(where):
    return quantile(0.99, "vecraft_request_duration_seconds", where=where)


board = Board(
    "vecraft-query", "Vecraft DB / Query and consistency",
    "Time of reads at each level, what they wait for, and whether they kept their promise.",
    [
        Row("At a glance"),
        stat(
            "Search p99", "s", (p99('operation="search"'), "p99"), "Good: below 50 ms, the objective of tier 1. Above 100 ms an alert fires.",
            width=4, limits=[(0.05, YELLOW), (0.1, RED)],
        ),
        stat(
            "Strong read p99", "s", (p99(f'consistency_level="strong", {READS}'), "p99"),
            "A strong read asks the leader and waits for replay up to its answer. Good: below 50 ms.", width=4, limits=[(0.025, YELLOW), (0.05, RED)],
        ),
        stat(
            "Searches a second", "reqps", ('sum(rate(vecraft_request_total{@, operation="search"}[$__rate_interval]))', "searches"),
            "At the edge of all nodes.", width=4,
        ),
        stat(
            "Syncs that failed", "percentunit",
            (f"sum(rate({BEHIND}{{@}}[$__rate_interval])) / (sum(rate({SYNCS}{{@}}[$__rate_interval])) > 0) or on () vector(0)", "failed"),
            "Share of the reads that waited for replay whose time ended first. Good: 0; above 5 % an alert fires.", width=4, limits=[(0.01, ORANGE), (0.05, RED)],
        ),
        stat(
            "Beyond their bound", "percentunit",
            (
                """sum(rate(vecraft_query_bounded_violations_total{@}[$__rate_interval]))
                / (sum(rate(vecraft_query_reads_total{@, level="bounded"}[$__rate_interval])) > 0) or on () vector(0)""",
                "violations",
            ),
            "Bounded reads answered staler than they allowed. Good: 0, always; above 2 % an alert fires.", width=4, limits=[(0.001, ORANGE), (0.02, RED)],
        ),
        stat(
            "Canary violations", "short",
            ('sum(increase(vecraft_canary_checks_total{@, result="violation"}[$__range])) or on () vector(0)', "violations"),
            "Reads of the canary that did not see what their level promises, in the time shown. Good: 0. One is a bug to report.", width=4, limits=[(1, RED)],
        ),
        Row("Time"),
        heat("Search time", "vecraft_request_duration_seconds", "Good: one dark band. Two bands are two kinds of searches: local and fanned out, waiting and not.", where='operation="search"'),
        graph(
            "Search time, quantiles", "s", quantiles("vecraft_request_duration_seconds", 'operation="search"'),
            "From request read whole to answer handed over. p99 far from p95: look at waits (below) before the index.", limits=[(0.05, YELLOW), (0.1, RED)],
        ),
        graph(
            "p99 by level achieved", "s", [(quantile(0.99, "vecraft_request_duration_seconds", "consistency_level", READS), "{{consistency_level}}")],
            "Eventual is the index alone; what a stronger level costs is the distance between the lines.", limits=[(0.05, ORANGE)],
        ),
        graph(
            "p99 by operation", "s", [(quantile(0.99, "vecraft_request_duration_seconds", "operation", READS), "{{operation}}")],
            "Scrolls and counts with filters may scan; searches and gets should not.",
        ),
        heat(
            "Time inside the index", "vecraft_query_engine_duration_seconds",
            "Of a search in one shard engine. If this is fast and searches are slow, the time goes to waiting or to other nodes.",
        ),
        graph(
            "Index time, quantiles", "s", quantiles("vecraft_query_engine_duration_seconds"),
            "Grows with `ef`, with vectors outside graphs (Storage and index) and when mapped files do not fit into memory.",
        ),
        graph(
            "Searches by strategy", "ops", [(rate("vecraft_query_searches_total", "strategy"), "{{strategy}}")],
            "exact: compared with every match, for small shards and narrow filters. Much of it on large shards is what makes filters slow: index the field.",
            stacked=True,
        ),
        graph(
            "Distances per search", "short",
            [("sum(rate(vecraft_query_distances_total{@}[$__rate_interval])) / (sum(rate(vecraft_query_searches_total{@}[$__rate_interval])) > 0)", "distances")],
            "The work of one search. Thousands are a graph walk; as many as there are points is a scan.",
        ),
        graph(
            "Result cache hits", "percentunit",
            [('sum by (instance) (rate(vecraft_query_result_cache_lookups_total{@, outcome="hit"}[$__rate_interval])) / (sum by (instance) (rate(vecraft_query_result_cache_lookups_total{@}[$__rate_interval])) > 0) or on () vector(0)', "{{instance}}")],
            """The cache is keyed by request and index version: writes to a shard empty it for that shard. Low is normal under writes; 0 also where
            it is off (`query.result_cache_bytes`).""",
            top=1,
        ),
        graph(
            "Other nodes' shards p99", "s", [(quantile(0.99, "vecraft_query_shard_read_seconds", "instance"), "{{instance}}")],
            "Until another node answered for its shards. Far above Index time: the link, or that node is busy.", limits=[(0.05, ORANGE)],
        ),
        graph(
            "Questions to other nodes", "ops",
            [
                (rate("vecraft_query_shard_reads_total", "outcome"), "{{outcome}}"),
                ("sum(rate(vecraft_query_hedged_reads_total{@}[$__rate_interval]))", "hedged"),
            ],
            "Failed ones were asked of another copy. Hedged: a second copy was asked because the first was slow; many point at one slow node.",
        ),
        graph(
            "Result cache", "bytes", [("sum by (instance) (vecraft_query_result_cache_bytes{@}) or on () vector(0)", "{{instance}}")],
            "Bytes of keys and answers kept, up to `query.result_cache_bytes`.",
        ),
        Row("Consistency"),
        graph("Reads by level", "ops", [(rate("vecraft_query_reads_total", "level"), "{{level}}")], "What callers ask for. read_your_writes is the default.", stacked=True),
        heat(
            "Staleness of answers", "vecraft_query_staleness_seconds",
            "Upper bound on the age of what an answer missed. Good: below 0.1 s. A tail is replicas that are behind.",
        ),
        graph(
            "Staleness p99 by level achieved", "s", [(quantile(0.99, "vecraft_query_staleness_seconds", "consistency_level"), "{{consistency_level}}")],
            "Eventual reads show how far replicas are behind; the others are held to their promise.", limits=[(1, ORANGE)],
        ),
        graph(
            "Reads that waited", "ops", [(rate(SYNCS, "consistency_level"), "{{consistency_level}}")],
            "Pull before read, a second, by level asked for. Many for read_your_writes: callers read at once what they wrote.",
        ),
        graph(
            "Wait for replay p99", "s", [(quantile(0.99, "vecraft_query_sync_wait_seconds", "consistency_level"), "{{consistency_level}}")],
            "Good: some milliseconds, a round trip and an apply. Grows with replay lag. Nothing shown: nobody waited.",
        ),
        graph(
            "Gave up waiting", "ops", [(rate(BEHIND, "consistency_level"), "{{consistency_level}}")],
            "Deadline ended before the replica had caught up (REPLICA_BEHIND). Good: 0. See Lag in time on Storage and index.", limits=[(0.1, RED)],
        ),
        graph(
            "Beyond their bound", "ops", [("sum by (instance) (rate(vecraft_query_bounded_violations_total{@}[$__rate_interval])) or on () vector(0)", "{{instance}}")],
            "Bounded reads answered staler than allowed. Good: 0. They should wait or fail instead.", limits=[(0.001, RED)],
        ),
        graph(
            "Strong reads confirmed", "ops", [(rate("vecraft_raft_reads_total", "by"), "by {{by}}")],
            "Under the leader's lease, or by a round of messages when the lease had run out. Good: nearly all under the lease.",
        ),
        graph(
            "Strong read p99", "s", [(quantile(0.99, "vecraft_request_duration_seconds", "operation", 'consistency_level="strong"'), "{{operation}}")],
            "Good: below 50 ms. The parts: a question to the leader (Round trip, Journal), then the wait for replay.", limits=[(0.05, RED)],
        ),
        Row("Canary"),
        graph(
            "Checks", "ops", [(rate("vecraft_canary_checks_total", "level, result"), "{{level}} {{result}}")],
            "The canary writes a point and reads it back at each level. ok: as promised. failed: no answer. violation: an answer that breaks the promise.",
        ),
        graph(
            "Write and read back p99", "s", [(quantile(0.99, "vecraft_canary_duration_seconds", "level"), "{{level}}")],
            "What a user would see who writes and reads at once.", limits=[(0.25, ORANGE)],
        ),
        graph(
            "Since the last success", "s", [("time() - max by (instance) (vecraft_canary_last_success_timestamp_seconds{@} > 0)", "{{instance}}")],
            "Good: as short as the canary's pause. Grows: writes or reads do not work from that node; its readiness says why.", limits=[(60, ORANGE), (300, RED)],
        ),
    ],
)
