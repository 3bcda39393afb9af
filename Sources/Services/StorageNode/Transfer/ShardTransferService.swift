package import GRPC
internal import Logging
internal import NIOCore
internal import Observability
internal import PeerTransport
internal import Primitives
internal import Raft
internal import ShardEngine
internal import Synchronization
internal import Wire

/// `vecraft.internal.v1.Shards` on the wire: this node's shards, for nodes that build theirs from them.
///
/// The listener for peers begins before there is a storage node; until ``serve(_:)`` callers are told to come again.
package final class ShardTransferService: Sendable {
    static let path = "/vecraft.internal.v1.Shards/"
    /// Shards that may be asked for by name.
    private static let maxNames = 1_000

    private struct State {
        var storage: StorageNode?
        var sending = 0
    }
    private let settings: ShardTransferSettings
    private let state = Mutex(State())
    private let pace: Mutex<TransferPace>
    private let log = Logger(label: "vecraft.storage.transfer")

    package init(_ settings: ShardTransferSettings) {
        self.settings = settings
        self.pace = Mutex(TransferPace(bytesPerSecond: settings.bytesPerSecond))
    }

    /// Nil: no longer.
    package func serve(_ storage: StorageNode?) { self.state.withLock { $0.storage = storage } }

    package var methods: [String: GRPCMethod] {
        [
            Self.path + "States": .clientStreaming { [self] (call) throws(VecraftError) in try await self.states(call)
            },
            Self.path + "Fetch": .serverStreaming { [self] (call) throws(VecraftError) in try await self.fetch(call) },
        ]
    }

    private func storage(for clusterID: String, _ to: UInt64) throws(VecraftError) -> StorageNode {
        guard clusterID == self.settings.clusterID else {
            throw VecraftError(
                .failedPrecondition,
                "cluster \"\(clusterID.prefix(64))\"; this node belongs to \"\(self.settings.clusterID)\"",
                reason: "OTHER_CLUSTER")
        }
        guard to == self.settings.own.rawValue else {
            throw VecraftError(
                .failedPrecondition, "node \(to) is meant; this is node \(self.settings.own)", reason: "OTHER_NODE")
        }
        guard let storage = self.state.withLock({ $0.storage }) else {
            throw VecraftError(
                .unavailable, "the node is starting or ending", reason: "NOT_READY", retryAfter: .seconds(1))
        }
        return storage
    }

    // MARK: States

    private func states(_ call: GRPCStreamCall) async throws(VecraftError) {
        let request: VecraftInternalV1.ShardStatesRequest = try await call.request().decoded()
        let storage = try self.storage(for: request.clusterID, request.to)
        guard request.shards.count <= Self.maxNames else {
            throw .invalid("shards", "\(request.shards.count) names; at most \(Self.maxNames)")
        }
        let wanted = request.shards.map { ShardID(collection: $0.collection, shard: $0.shard) }
        let replicas = request.shards.isEmpty ? storage.allShards : wanted.compactMap { storage.replica(of: $0) }
        let queue = BlockingQueue()
        var response = VecraftInternalV1.ShardStatesResponse()
        for replica in replicas {
            let recompute = request.recompute
            let state = try await queue.run { () throws(VecraftError) in
                try recompute
                    ? replica.engine.recomputedState { call.isCancelled }
                    : replica.engine.state
            }
            response.shards.append(
                VecraftInternalV1.ShardState(
                    shard: VecraftInternalV1.ShardName(
                        collection: replica.engine.id.collection, shard: replica.engine.id.shard),
                    partition: replica.replay.partition.description, appliedOffset: state.applied, digest: state.digest,
                    points: UInt64(state.points), diskBytes: replica.engine.durableBytes))
        }
        try await call.send(response.encode())
    }

    // MARK: Fetch

    private func fetch(_ call: GRPCStreamCall) async throws(VecraftError) {
        let request: VecraftInternalV1.FetchShardRequest = try await call.request().decoded()
        let storage = try self.storage(for: request.clusterID, request.to)
        let id = ShardID(collection: request.shard?.collection ?? 0, shard: request.shard?.shard ?? 0)
        guard let replica = storage.replica(of: id) else {
            throw VecraftError(.notFound, "shard \(id) is not on node \(self.settings.own)", reason: "SHARD_NOT_HERE")
        }
        try self.claim()
        let metrics = storage.gauges.transfer
        metrics.running.with("out").add(1)
        defer {
            self.state.withLock { $0.sending -= 1 }
            metrics.running.with("out").add(-1)
        }
        let about: Logger.Metadata = [
            "collection": "\(replica.schema.label)", "shard": "\(id.shard)", "to": "\(request.from)",
        ]
        do throws(VecraftError) {
            try await self.send(replica, request, call, metrics, about)
            metrics.transfers.with("out", "done").increment()
        } catch {
            metrics.transfers.with("out", "failed").increment()
            self.log.warning(
                "a shard was not sent whole", metadata: about.merging(["error": "\(error)"]) { own, _ in own })
            throw error
        }
    }

    private func claim() throws(VecraftError) {
        let isClaimed = self.state.withLock { state in
            guard state.sending < self.settings.sending else { return false }
            state.sending += 1
            return true
        }
        guard isClaimed else {
            throw VecraftError(
                .resourceExhausted, "\(self.settings.sending) shards are being sent already", reason: "TRANSFER_BUSY",
                retryAfter: .seconds(1))
        }
    }

    private func send(
        _ replica: ShardReplica, _ request: VecraftInternalV1.FetchShardRequest, _ call: GRPCStreamCall,
        _ metrics: ShardTransferMetrics, _ about: Logger.Metadata
    ) async throws(VecraftError) {
        let queue = BlockingQueue()
        let held = Set(request.held.map { ShardFileInfo(name: $0.name, bytes: $0.bytes, checksum: $0.checksum) })
        // Its first step may be a checkpoint: the caller hears at once that somebody works for it.
        call.sendInitialMetadata()
        let snapshot = try await queue.run { () throws(VecraftError) in try replica.engine.openSnapshot() }
        defer { snapshot.release() }
        let wanted = snapshot.files.indices.filter { !held.contains(snapshot.files[$0]) }
        self.log.notice(
            "sending a shard",
            metadata: about.merging([
                "applied": "\(snapshot.applied)", "files": "\(wanted.count) of \(snapshot.files.count)",
                "bytes": "\(wanted.reduce(0) { $0 + snapshot.files[$1].bytes })",
            ]) { own, _ in own })
        try await call.send(VecraftInternalV1.ShardPart(part: .manifest(snapshot.manifest)).encode())
        let bytes = metrics.bytes.with("out")
        var chunks: UInt64 = 0
        for index in wanted {
            var position = 0
            var checksum: UInt32 = 0
            let size = Int(snapshot.files[index].bytes)
            while position < size {
                let count = min(ShardIncoming.chunkBytes, size - position)
                let (message, running) = try await queue.run { [position, checksum] () throws(VecraftError) in
                    try Self.chunk(snapshot, index, position, count, checksum)
                }
                try await self.wait(for: count)
                try await call.send(message)
                checksum = running
                position += count
                chunks += 1
                bytes.increment(by: UInt64(count))
            }
            guard checksum == snapshot.files[index].checksum else {
                throw VecraftError(
                    .dataLoss,
                    "\(snapshot.files[index].name) of shard \(replica.engine.id) is damaged on node \(self.settings.own)",
                    reason: "SOURCE_DAMAGED")
            }
            metrics.files.with("out").increment()
        }
        try await call.send(VecraftInternalV1.ShardPart(part: .end(.init(chunks: chunks))).encode())
    }

    /// - Returns: The message, and the checksum of the file up to its end.
    private static func chunk(
        _ snapshot: ShardSnapshot, _ index: Int, _ position: Int, _ count: Int, _ before: UInt32
    ) throws(VecraftError) -> ([UInt8], UInt32) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
        defer { buffer.deallocate() }
        try snapshot.read(file: index, at: position, into: buffer)
        let raw = UnsafeRawBufferPointer(buffer)
        let message = ArenaPool.shared.withArena { arena in
            let part = VecraftInternalV1.ShardPart.Builder(in: arena)
            let chunk = part.chunk.make()
            chunk.file = UInt32(index)
            chunk.offset = UInt64(position)
            chunk.checksum = shardChecksum(raw)
            chunk.data.set(borrowing: raw)
            return part.encode()
        }
        return (message, shardChecksum(raw, continuing: before))
    }

    private func wait(for bytes: Int) async throws(VecraftError) {
        let nanoseconds = self.pace.withLock { $0.take(bytes, now: SystemTime.monotonicNanoseconds) }
        guard nanoseconds > 0 else { return }
        do { try await Task.sleep(for: .nanoseconds(nanoseconds)) } catch {
            throw VecraftError(.cancelled, "the transfer was cancelled")
        }
    }
}
