package import Observability

/// A storage node's metrics. Replay is measured by journal partition, shards by collection.
package struct StorageMetrics: Sendable {
    package let appliedOffset: GaugeFamily
    package let lagEntries: GaugeFamily
    package let lagSeconds: GaugeFamily
    package let lagBytes: GaugeFamily
    /// Applied, and in memory alone.
    package let lagMemoryBytes: GaugeFamily
    package let appliedEntries: CounterFamily
    package let appliedBytes: CounterFamily
    package let applySeconds: HistogramFamily
    /// Entries passed over because they cannot be applied.
    package let refusedEntries: CounterFamily
    package let waiting: GaugeFamily
    package let replayFailures: CounterFamily

    package let points: GaugeFamily
    package let segments: GaugeFamily
    package let recodingSegments: GaugeFamily
    package let deletedRows: GaugeFamily
    package let vectors: GaugeFamily
    package let indexedVectors: GaugeFamily
    package let diskBytes: GaugeFamily
    package let memoryBytes: GaugeFamily
    package let filterGraphs: GaugeFamily
    package let filterGraphBytes: GaugeFamily
    package let checkpointedOffset: GaugeFamily
    package let checkpoints: CounterFamily
    package let checkpointFailures: CounterFamily
    package let checkpointSeconds: HistogramFamily
    package let merges: CounterFamily
    package let quarantined: CounterFamily
    package let rebuilt: CounterFamily

    package let transfer: ShardTransferMetrics

    package init(_ registry: MetricsRegistry) {
        self.transfer = ShardTransferMetrics(registry)
        let byPartition = ["partition"]
        let byCollection = ["collection", "shard"]
        self.appliedOffset = registry.gauge(
            "vecraft_storage_applied_offset", help: "Journal offset up to which everything is searchable.", labels: byPartition)
        self.lagEntries = registry.gauge(
            "vecraft_storage_replay_lag_entries", help: "Committed entries that are not applied yet.", labels: byPartition)
        self.lagSeconds = registry.gauge(
            "vecraft_storage_replay_lag_seconds", help: "Age of the oldest committed entry that is not applied yet.",
            labels: byPartition)
        self.lagMemoryBytes = registry.gauge(
            "vecraft_storage_replay_lag_memory_bytes",
            help: "Bytes of entries that are applied and in no checkpoint yet, by partition: what a restart replays.",
            labels: ["partition"])
        self.lagBytes = registry.gauge(
            "vecraft_storage_replay_lag_bytes", help: "Estimated bytes of committed entries that are not applied yet.",
            labels: byPartition)
        self.appliedEntries = registry.counter(
            "vecraft_storage_applied_entries_total", help: "Entries applied.", labels: byPartition)
        self.appliedBytes = registry.counter(
            "vecraft_storage_applied_bytes_total", help: "Bytes of entries applied.", labels: byPartition)
        self.applySeconds = registry.histogram(
            "vecraft_storage_apply_duration_seconds", help: "Time to apply one batch of entries.", labels: byPartition)
        self.refusedEntries = registry.counter(
            "vecraft_storage_entries_refused_total",
            help: "Entries passed over because they hold what cannot be applied; should be 0.", labels: byPartition)
        self.waiting = registry.gauge(
            "vecraft_storage_waiting_reads", help: "Reads that wait for replay.", labels: byPartition)
        self.replayFailures = registry.counter(
            "vecraft_storage_replay_failures_total", help: "Attempts to read or apply the journal that failed.",
            labels: byPartition)
        self.points = registry.gauge("vecraft_storage_points", help: "Live points.", labels: byCollection)
        self.segments = registry.gauge("vecraft_storage_segments", help: "Segments, growing and sealed.", labels: byCollection)
        self.recodingSegments = registry.gauge(
            "vecraft_storage_recoding_segments", help: "Sealed segments whose codes are not those asked for yet.",
            labels: byCollection)
        self.deletedRows = registry.gauge(
            "vecraft_storage_deleted_rows", help: "Rows deleted or replaced but not merged away.", labels: byCollection)
        self.vectors = registry.gauge("vecraft_storage_vectors", help: "Vectors stored.", labels: byCollection)
        self.indexedVectors = registry.gauge(
            "vecraft_storage_indexed_vectors", help: "Vectors linked into a graph; the others are searched exactly.",
            labels: byCollection)
        self.diskBytes = registry.gauge("vecraft_storage_disk_bytes", help: "Bytes of shard files.", labels: byCollection)
        self.memoryBytes = registry.gauge(
            "vecraft_storage_memory_bytes", help: "Memory held by shards, mapped files apart.", labels: byCollection)
        self.filterGraphs = registry.gauge(
            "vecraft_storage_filter_graphs", help: "Graphs made for filters that are asked again and again.",
            labels: byCollection)
        self.filterGraphBytes = registry.gauge(
            "vecraft_storage_filter_graph_bytes", help: "Memory of such graphs; also in vecraft_storage_memory_bytes.",
            labels: byCollection)
        self.checkpointedOffset = registry.gauge(
            "vecraft_storage_checkpointed_offset", help: "Offset from which a restart would replay.", labels: byCollection)
        self.checkpoints = registry.counter(
            "vecraft_storage_checkpoints_total", help: "Checkpoints made durable.", labels: byCollection)
        self.checkpointFailures = registry.counter(
            "vecraft_storage_checkpoint_failures_total", help: "Checkpoints that failed and will be tried again.",
            labels: byCollection)
        self.checkpointSeconds = registry.histogram(
            "vecraft_storage_checkpoint_duration_seconds", help: "Time of one checkpoint.", labels: byCollection)
        self.merges = registry.counter("vecraft_storage_merges_total", help: "Segment merges.", labels: byCollection)
        self.quarantined = registry.counter(
            "vecraft_storage_quarantined_files_total", help: "Damaged files put aside.", labels: byCollection)
        self.rebuilt = registry.counter(
            "vecraft_storage_rebuilt_files_total", help: "Derived files rebuilt because they were damaged or missing.",
            labels: byCollection)
    }
}
