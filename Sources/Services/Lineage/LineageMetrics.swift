package import Observability

/// Lineage's metrics.
package struct LineageMetrics: Sendable {
    /// Entries read to answer questions.
    package let scanned: Counter
    /// Segments that held a candidate, or had no index yet.
    package let segmentsRead: Counter
    package let scanSeconds: Histogram
    /// Faults found by verification.
    package let faults: Counter
    /// Streams of changes under way.
    package let watchers: Gauge
    package let watchedEntries: Counter
    /// Times that a stream of changes looked for entries: few while nothing is written.
    package let looks: Counter
    /// Notes of reads that were lost: their log is written too slowly, or its disk is full.
    package let readsDropped: Counter

    package init(_ registry: MetricsRegistry) {
        self.scanned = registry.counter(
            "vecraft_lineage_scanned_entries_total", help: "Journal entries read to answer lineage questions.")
        self.segmentsRead = registry.counter(
            "vecraft_lineage_segments_read_total", help: "Journal segments that lineage questions had to look into.")
        self.scanSeconds = registry.histogram(
            "vecraft_lineage_scan_duration_seconds", help: "Time in the journal of one lineage question.")
        self.faults = registry.counter(
            "vecraft_lineage_verify_faults_total", help: "Faults that verification of the journal has found.")
        self.watchers = registry.gauge(
            "vecraft_lineage_watchers", help: "Streams of changes (change data capture) under way.")
        self.watchedEntries = registry.counter(
            "vecraft_lineage_watched_entries_total", help: "Entries handed to streams of changes.")
        self.looks = registry.counter(
            "vecraft_lineage_watch_looks_total", help: "Times that streams of changes looked for entries.")
        self.readsDropped = registry.counter(
            "vecraft_lineage_reads_dropped_total",
            help: "Notes of reads that were lost: written too slowly, or on a full disk.")
    }
}
