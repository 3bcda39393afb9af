package import Observability
package import Raft

/// How shards go from node to node.
package struct ShardTransferSettings: Sendable {
    /// Must be the same on both sides.
    package var clusterID: String
    package var own: ReplicaID
    /// What a node sends of all shards together; 0: no limit. The default lets a gigabyte over in two minutes from each node: where all nodes
    /// share two cores, searches beside a faster move had a p99 of three to four times that without (`make bench-cluster PART=join`).
    package var bytesPerSecond = 8 << 20
    /// Shards sent at a time; each takes a descriptor a file and a few chunks of memory. Further ones are refused.
    package var sending = 4
    /// A sender that falls silent for this long is given up. It writes a checkpoint before it begins.
    package var silenceLimit: Duration = .seconds(60)
    /// For questions about peers' shards.
    package var askTimeout: Duration = .seconds(5)

    package init(clusterID: String, own: ReplicaID) {
        self.clusterID = clusterID
        self.own = own
    }
}

/// The metrics of shards that are sent and built. Direction: "out" or "in".
package struct ShardTransferMetrics: Sendable {
    package let bytes: CounterFamily
    package let files: CounterFamily
    /// By direction and outcome ("done", "failed").
    package let transfers: CounterFamily
    package let running: GaugeFamily
    /// By collection and shard, while it is built.
    package let progress: GaugeFamily
    package let remaining: GaugeFamily

    init(_ registry: MetricsRegistry) {
        let byShard = ["collection", "shard"]
        self.bytes = registry.counter(
            "vecraft_storage_transfer_bytes_total", help: "Bytes of shard files sent to and taken from other nodes.",
            labels: ["direction"])
        self.files = registry.counter(
            "vecraft_storage_transfer_files_total", help: "Shard files sent to and taken from other nodes, whole.",
            labels: ["direction"])
        self.transfers = registry.counter(
            "vecraft_storage_transfers_total", help: "Shards sent to and taken from other nodes, by outcome.",
            labels: ["direction", "outcome"])
        self.running = registry.gauge(
            "vecraft_storage_transfers_running", help: "Shards being sent to and taken from other nodes.",
            labels: ["direction"])
        self.progress = registry.gauge(
            "vecraft_storage_transfer_progress_ratio",
            help: "Share of a shard's bytes that is here, while it is built.",
            labels: byShard)
        self.remaining = registry.gauge(
            "vecraft_storage_transfer_remaining_seconds",
            help: "Estimated time until a shard's bytes are here; 0: not known.",
            labels: byShard)
    }
}
