package import Observability

/// Lineage's metrics.
package struct LineageMetrics: Sendable {
    /// Entries read to answer questions.
    package let scanned: Counter
    package let scanSeconds: Histogram
    /// Faults found by verification.
    package let faults: Counter

    package init(_ registry: MetricsRegistry) {
        self.scanned = registry.counter(
            "vecraft_lineage_scanned_entries_total", help: "Journal entries read to answer lineage questions.")
        self.scanSeconds = registry.histogram(
            "vecraft_lineage_scan_duration_seconds", help: "Time of one scan for a lineage question.")
        self.faults = registry.counter(
            "vecraft_lineage_verify_faults_total", help: "Faults that verification of the journal has found.")
    }
}
