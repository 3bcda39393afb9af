internal import JournalService
internal import Logging
internal import Observability
package import Primitives
internal import ShardEngine

extension StorageNode {
    /// Copies positions and sizes into the gauges; for the scrape.
    package func collect() {
        self.collectBuilds()
        for replay in self.partitions {
            let name = replay.partition.description
            let lag = replay.lag
            self.gauges.appliedOffset.with(name).set(replay.waiters.applied)
            self.gauges.lagEntries.with(name).set(lag.entries)
            self.gauges.lagBytes.with(name).set(lag.bytes)
            let unsaved = self.allShards.filter { $0.replay === replay }.map(\.engine.statistics)
                .map { $0.applied - min($0.checkpointed, $0.applied) }
            self.gauges.lagMemoryBytes.with(name).set(replay.bytes(of: unsaved.max() ?? 0))
            self.gauges.lagSeconds.with(name).set(Double(lag.milliseconds) / 1000)
            self.gauges.waiting.with(name).set(replay.waiters.waiting)
        }
        for replica in self.allShards {
            let labels = [replica.schema.label, "\(replica.engine.id.shard)"]
            let statistics = replica.engine.statistics
            self.gauges.points.with(labels).set(statistics.points)
            self.gauges.segments.with(labels).set(statistics.segments)
            self.gauges.recodingSegments.with(labels).set(statistics.recodingSegments)
            self.gauges.deletedRows.with(labels).set(statistics.deletedRows)
            self.gauges.vectors.with(labels).set(statistics.totalVectors)
            self.gauges.indexedVectors.with(labels).set(statistics.indexedVectors)
            self.gauges.diskBytes.with(labels).set(statistics.diskBytes)
            self.gauges.memoryBytes.with(labels).set(statistics.memoryBytes)
            self.gauges.filterGraphs.with(labels).set(statistics.filterGraphs)
            self.gauges.filterGraphBytes.with(labels).set(statistics.filterGraphBytes)
            self.gauges.checkpointedOffset.with(labels).set(statistics.checkpointed)
            // Dropped meanwhile: the gauges made just now would stay for good. One made again under the name gets new ones.
            if self.replica(replica.schema.id)?.shard(replica.engine.id.shard) == nil { self.forgetGauges(replica) }
        }
    }

    /// An entry of a partition that this node follows, though not through a ``PartitionReplay``, was passed over.
    package func countRefused(_ partition: PartitionID) {
        self.gauges.refusedEntries.with(partition.description).increment()
    }

    /// Forgets every series of a dropped collection.
    func forgetMetrics(_ replica: ShardReplica) {
        let name = replica.schema.label
        let shard = "\(replica.engine.id.shard)"
        self.forgetGauges(replica)
        for family in [
            self.gauges.checkpoints, self.gauges.checkpointFailures, self.gauges.merges, self.gauges.quarantined,
            self.gauges.rebuilt,
        ] {
            family.remove(name, shard)
        }
        self.gauges.checkpointSeconds.remove(name, shard)
    }

    private func forgetGauges(_ replica: ShardReplica) {
        let name = replica.schema.label
        let shard = "\(replica.engine.id.shard)"
        for family in [
            self.gauges.points, self.gauges.segments, self.gauges.recodingSegments, self.gauges.deletedRows,
            self.gauges.vectors, self.gauges.indexedVectors, self.gauges.diskBytes, self.gauges.memoryBytes,
            self.gauges.filterGraphs, self.gauges.filterGraphBytes, self.gauges.checkpointedOffset,
        ] {
            family.remove(name, shard)
        }
    }
}

extension CollectionSchema {
    /// As a metric label: bounded by the number of collections; a family folds what is beyond its limit.
    var label: String { self.tenant == "default" ? self.name : "\(self.tenant)/\(self.name)" }
}

/// Turns what one shard tells into metrics and log lines.
final class ShardReporting: ShardObserver {
    private let name: String
    private let checkpoints: Counter
    private let checkpointFailures: Counter
    private let checkpointSeconds: Histogram
    private let merges: Counter
    private let quarantined: Counter
    private let rebuilt: Counter
    private let log = Logger(label: "vecraft.shard")

    init(_ schema: CollectionSchema, _ shard: UInt32, _ metrics: StorageMetrics) {
        self.name = schema.label
        let shard = "\(shard)"
        self.checkpoints = metrics.checkpoints.with(self.name, shard)
        self.checkpointFailures = metrics.checkpointFailures.with(self.name, shard)
        self.checkpointSeconds = metrics.checkpointSeconds.with(self.name, shard)
        self.merges = metrics.merges.with(self.name, shard)
        self.quarantined = metrics.quarantined.with(self.name, shard)
        self.rebuilt = metrics.rebuilt.with(self.name, shard)
    }

    func shard(_ id: ShardID, _ event: ShardEvent) {
        switch event {
        case .checkpointed(let through, let bytes, let took):
            self.checkpoints.increment()
            self.checkpointSeconds.observe(took)
            self.log.debug(
                "checkpoint", metadata: ["collection": "\(self.name)", "through": "\(through)", "bytes": "\(bytes)", "took": "\(took)"])
        case .checkpointFailed(let error):
            self.checkpointFailures.increment()
            self.log.error("checkpoint failed, will be tried again", metadata: ["collection": "\(self.name)", "error": "\(error)"])
        case .sealed(let rows, let took):
            self.log.debug("segment sealed", metadata: ["collection": "\(self.name)", "rows": "\(rows)", "took": "\(took)"])
        case .recoded(let rows, let quantisation, let took):
            self.log.info(
                "graph written again with other codes",
                metadata: [
                    "collection": "\(self.name)", "rows": "\(rows)", "quantisation": "\(quantisation.rawValue)", "took": "\(took)",
                ])
        case .merged(let segments, let rows, let took):
            self.merges.increment()
            self.log.debug(
                "segments merged",
                metadata: ["collection": "\(self.name)", "segments": "\(segments)", "rows": "\(rows)", "took": "\(took)"])
        case .backgroundFailed(let error):
            self.log.error("background work failed, will be tried again", metadata: ["collection": "\(self.name)", "error": "\(error)"])
        case .quarantined(let file, let reason):
            self.quarantined.increment()
            self.log.error("damaged file put aside", metadata: ["collection": "\(self.name)", "file": "\(file)", "reason": "\(reason)"])
        case .rebuilt(let file):
            self.rebuilt.increment()
            self.log.notice("derived file rebuilt", metadata: ["collection": "\(self.name)", "file": "\(file)"])
        case .restarted(let reason):
            self.log.error("shard begins again from the journal", metadata: ["collection": "\(self.name)", "reason": "\(reason)"])
        }
    }
}
