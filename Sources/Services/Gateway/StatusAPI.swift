internal import JournalService
internal import MetaManager
internal import Observability
internal import Primitives
internal import StorageNode
internal import Wire

extension Gateway {
    func currentStatus() -> VecraftV1.StatusResponse {
        let replay = self.status.source.replay
        var made = VecraftV1.StatusResponse(
            node: self.status.node, version: self.status.version, revision: self.status.revision,
            state: self.status.source.state,
            uptimeMs: SystemTime.steadyNanoseconds / 1_000_000 - self.status.startedMilliseconds,
            roles: self.status.roles)
        made.checks = self.status.source.checks.map { VecraftV1.Check(name: $0.name, ok: $0.ok, detail: $0.detail) }
        made.replayProgress = replay.progress
        made.replayEtaMs = replay.etaMilliseconds
        made.grpcAddress = self.status.grpcAddress()
        made.httpAddress = self.status.httpAddress()
        for id in self.journal.partitions {
            guard let status = try? self.journal.status(id) else { continue }
            var partition = VecraftV1.PartitionStatus(
                partition: id.description, term: status.term, firstOffset: status.first,
                committedOffset: status.committed, appliedOffset: status.committed, lastHLC: status.lastHLC.rawValue,
                diskBytes: UInt64(status.diskBytes), segments: UInt64(status.segments))
            if id == .sys { partition.appliedOffset = self.meta.catalog.applied }
            if let replay = self.storage.replay(id) {
                let lag = replay.lag
                partition.appliedOffset = replay.waiters.applied
                partition.lagEntries = lag.entries
                partition.lagBytes = lag.bytes
                partition.lagMs = lag.milliseconds
            }
            made.partitions.append(partition)
        }
        return made
    }
}
