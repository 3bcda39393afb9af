package import Observability

/// A query processor's metrics.
package struct QueryMetrics: Sendable {
    /// Staleness of what reads were answered from, by level achieved. Seconds.
    package let staleness: HistogramFamily
    /// Time that reads waited for replay (pull before read), by level asked for. Seconds.
    package let syncWait: HistogramFamily
    /// Reads that had to wait, by level asked for.
    package let syncs: CounterFamily
    /// Reads whose deadline ended before the replica had caught up, by level asked for.
    package let behind: CounterFamily
    /// Reads answered to callers, by level asked for.
    package let reads: CounterFamily
    /// Of them, answers that are staler than was asked for.
    package let boundedViolations: Counter
    /// Distances computed by searches.
    package let visited: Counter
    /// Searches by strategy ("graph", "graph+filter", "exact", ...).
    package let strategies: CounterFamily
    /// Time inside the shard engine. Seconds.
    package let engineSeconds: Histogram

    package init(_ registry: MetricsRegistry) {
        self.staleness = registry.histogram(
            "vecraft_query_staleness_seconds", help: "Upper bound on the age of what an answer missed, by level achieved.",
            labels: ["consistency_level"])
        self.syncWait = registry.histogram(
            "vecraft_query_sync_wait_seconds", help: "Time a read waited for replay, by level asked for.",
            labels: ["consistency_level"])
        self.syncs = registry.counter(
            "vecraft_query_syncs_total", help: "Reads that waited for replay, by level asked for.",
            labels: ["consistency_level"])
        self.behind = registry.counter(
            "vecraft_query_replica_behind_total",
            help: "Reads whose deadline ended before the replica had caught up, by level asked for.",
            labels: ["consistency_level"])
        self.reads = registry.counter(
            "vecraft_query_reads_total", help: "Reads answered to callers, by level asked for.", labels: ["level"])
        self.boundedViolations = registry.counter(
            "vecraft_query_bounded_violations_total",
            help: "Answers to bounded reads that say to miss more than was allowed when the read arrived; should be 0.")
        self.visited = registry.counter("vecraft_query_distances_total", help: "Distances computed by searches.")
        self.strategies = registry.counter(
            "vecraft_query_searches_total", help: "Searches by the strategy that answered them.", labels: ["strategy"])
        self.engineSeconds = registry.histogram(
            "vecraft_query_engine_duration_seconds", help: "Time of a search inside the shard engine.")
    }
}
