package import Observability
import Primitives

/// The journal's metrics, by partition.
package struct JournalMetrics: Sendable {
    /// Entry handed to the queue until its batch was durable. Seconds.
    package let appendSeconds: HistogramFamily
    package let fsyncSeconds: HistogramFamily
    package let batchEntries: HistogramFamily
    package let batchBytes: HistogramFamily
    package let entries: CounterFamily
    package let bytes: CounterFamily
    /// By partition and reason ("DISK_FULL", "JOURNAL_QUEUE_FULL", ...).
    package let rejected: CounterFamily
    package let replayed: CounterFamily
    package let tornTails: CounterFamily
    package let committed: GaugeFamily
    package let first: GaugeFamily
    package let diskBytes: GaugeFamily
    package let segments: GaugeFamily
    package let queueBytes: GaugeFamily
    package let term: GaugeFamily
    package let lastTimestamp: GaugeFamily

    package init(_ registry: MetricsRegistry) {
        let labels = ["partition"]
        self.appendSeconds = registry.histogram(
            "vecraft_journal_append_duration_seconds", help: "Time from an entry's arrival in the queue until it is durable.",
            labels: labels)
        self.fsyncSeconds = registry.histogram(
            "vecraft_journal_fsync_duration_seconds", help: "Time of one fdatasync of a journal segment.", labels: labels)
        self.batchEntries = registry.histogram(
            "vecraft_journal_batch_entries", help: "Entries made durable by one fdatasync.", labels: labels, buckets: .counts)
        self.batchBytes = registry.histogram(
            "vecraft_journal_batch_bytes", help: "Bytes made durable by one fdatasync.", labels: labels, buckets: .bytes)
        self.entries = registry.counter(
            "vecraft_journal_entries_total", help: "Entries appended and durable.", labels: labels)
        self.bytes = registry.counter(
            "vecraft_journal_bytes_total", help: "Bytes of entries appended and durable.", labels: labels)
        self.rejected = registry.counter(
            "vecraft_journal_rejected_total", help: "Appends refused, by reason.", labels: ["partition", "reason"])
        self.replayed = registry.counter(
            "vecraft_journal_idempotent_replays_total", help: "Appends answered with the result of an earlier one.",
            labels: labels)
        self.tornTails = registry.counter(
            "vecraft_journal_torn_tails_total", help: "Unacknowledged bytes cut from the end of a log when it was opened.",
            labels: labels)
        self.committed = registry.gauge(
            "vecraft_journal_committed_offset", help: "Last durable offset.", labels: labels)
        self.first = registry.gauge("vecraft_journal_first_offset", help: "First offset still held.", labels: labels)
        self.diskBytes = registry.gauge(
            "vecraft_journal_disk_bytes", help: "Bytes of the partition's files.", labels: labels)
        self.segments = registry.gauge("vecraft_journal_segments", help: "Segment files.", labels: labels)
        self.queueBytes = registry.gauge(
            "vecraft_journal_queue_bytes", help: "Bytes of entries waiting to be written.", labels: labels)
        self.term = registry.gauge("vecraft_journal_term", help: "Current term.", labels: labels)
        self.lastTimestamp = registry.gauge(
            "vecraft_journal_last_entry_timestamp_seconds", help: "Physical part of the newest entry's HLC.", labels: labels)
    }
}
