internal import Foundation
internal import Gateway
internal import JournalService
internal import JournalStore
internal import MetaManager
internal import Observability
internal import Primitives
internal import Raft
internal import ServiceHost
internal import ShardEngine
internal import StorageNode
internal import Synchronization

/// How far the replay at start has come: each partition from its checkpoint to what was committed when the process began.
struct ReplayGoals: Sendable, CustomStringConvertible {
    private let replays: [PartitionReplay]
    private let begun = SystemTime.monotonicNanoseconds

    init(_ storage: StorageNode) { self.replays = storage.partitions }

    var isReached: Bool { self.replays.allSatisfy { $0.waiters.applied >= $0.floor } }

    var progress: Double {
        let total = self.replays.reduce(0) { $0 + ($1.floor - min($1.start, $1.floor)) }
        let left = self.replays.reduce(0) { $0 + ($1.floor - min($1.waiters.applied, $1.floor)) }
        return total == 0 ? 1 : Double(total - left) / Double(total)
    }

    /// 0 when unknown or done.
    var etaMilliseconds: UInt64 {
        let done = self.progress
        guard done > 0, done < 1 else { return 0 }
        let spent = Double(SystemTime.monotonicNanoseconds &- self.begun) / 1e6
        return UInt64(spent / done * (1 - done))
    }

    var description: String {
        let parts = self.replays.filter { $0.floor > $0.start }.map {
            "\($0.partition) at \(min($0.waiters.applied, $0.floor)) of \($0.floor)"
        }
        let eta = self.etaMilliseconds
        return parts.joined(separator: ", ") + (eta > 0 ? ", about \((eta + 999) / 1000) s left" : "")
    }
}

/// The gateway's view of the host.
struct NodeState: NodeStatusSource {
    private let readiness: Readiness
    private let goals: ReplayGoals

    init(_ readiness: Readiness, _ goals: ReplayGoals) {
        self.readiness = readiness
        self.goals = goals
    }
    var state: String { self.readiness.state.rawValue }
    var checks: [(name: String, ok: Bool, detail: String)] { self.readiness.results }
    var replay: (progress: Double, etaMilliseconds: UInt64) { (self.goals.progress, self.goals.etaMilliseconds) }
}

/// Addresses this process listens on, once it does.
final class Addresses: Sendable {
    private struct State {
        var grpc = ""
        var http = ""
    }
    private let state = Mutex(State())
    private let (bounds, bound): (AsyncStream<String>, AsyncStream<String>.Continuation) = AsyncStream.makeStream(
        bufferingPolicy: .bufferingNewest(1))

    var grpc: String { self.state.withLock { $0.grpc } }
    var http: String { self.state.withLock { $0.http } }
    func bound(grpc: String) { self.state.withLock { $0.grpc = grpc } }
    func bound(http: String) {
        self.state.withLock { $0.http = http }
        self.bound.yield(http)
    }

    /// Waits for the HTTP server; nil if the task is cancelled before. For one caller.
    func httpBound() async -> String? {
        for await address in self.bounds { return address }
        return nil
    }
}

/// Schema changes reach the storage node in the order of `sys-0`.
struct CatalogToStorage: CatalogObserver {
    private let storage: StorageNode
    init(_ storage: StorageNode) { self.storage = storage }
    func create(_ schema: CollectionSchema) throws(VecraftError) { try self.storage.create(schema) }
    func update(_ schema: CollectionSchema) { self.storage.update(schema) }
    func drop(_ schema: CollectionSchema) { self.storage.drop(schema) }
    func refused(at offset: JournalOffset) { self.storage.countRefused(.sys) }
}

extension Settings.Journal {
    var store: JournalSettings {
        var settings = JournalSettings()
        settings.segmentBytes = self.segmentBytes
        settings.maxBatchBytes = self.maxBatchBytes
        settings.queueBytes = self.queueBytes
        settings.idempotencyWindow = .seconds(self.idempotencyWindowSeconds)
        settings.idempotencyEntries = self.idempotencyEntries
        settings.reserveBytes = self.reserveBytes
        settings.indexesLineage = self.lineageIndex
        return settings
    }
}

extension Settings {
    /// - Parameter own: The node's id, if it is not the settings that say it.
    func shardTransfer(own: UInt64?) -> ShardTransferSettings {
        var settings = ShardTransferSettings(clusterID: self.cluster.id, own: ReplicaID(own ?? UInt64(self.cluster.nodeID)))
        settings.bytesPerSecond = self.storage.transferBytesPerSecond
        return settings
    }
}

extension Settings.Storage {
    var node: StorageSettings {
        var settings = StorageSettings()
        settings.shard.segmentPoints = self.segmentPoints
        settings.shard.graphFrom = max(1, self.graphFrom)
        settings.shard.unlinkedPoints = self.unlinkedPoints
        settings.shard.filterGraphShare = Double(self.filterGraphPercent) / 100
        settings.shard.checkpointJournalBytes = self.checkpointBytes
        settings.indexThreads =
            self.indexThreads == 0 ? ProcessInfo.processInfo.activeProcessorCount : self.indexThreads
        settings.shard.indexThreads = settings.indexThreads
        settings.applyDelayMilliseconds = UInt64(self.applyDelayMilliseconds)
        return settings
    }
}
