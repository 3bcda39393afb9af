internal import GRPC
package import JournalService
internal import Logging
internal import NIOCore
internal import Observability
internal import PeerTransport
package import Primitives
package import Raft
internal import ShardEngine
internal import Wire

/// What a node says of a shard that it has.
package struct ShardPeerState: Sendable, Equatable {
    package var shard: ShardID
    /// The offset that the rest is true for.
    package var applied: JournalOffset
    package var digest: UInt64
    package var points: UInt64
    package var diskBytes: UInt64
}

/// Asks other nodes for their shards.
package struct ShardTransferClient: Sendable {
    private typealias Proto = VecraftInternalV1

    package let clients: PeerClients
    let settings: ShardTransferSettings

    package init(_ clients: PeerClients, _ settings: ShardTransferSettings) {
        self.clients = clients
        self.settings = settings
    }

    /// What a node has of these shards, or of all; those that it does not have are left out.
    /// - Parameters:
    ///   - recompute: From the points, not as kept with every write.
    ///   - timeout: Nil: that of the settings.
    package func states(
        _ ids: [ShardID], at node: ReplicaID, recompute: Bool = false, timeout: Duration? = nil
    ) async throws(VecraftError) -> [ShardPeerState] {
        let request = Proto.ShardStatesRequest(
            clusterID: self.settings.clusterID, to: node.rawValue,
            shards: ids.map { Proto.ShardName(collection: $0.collection, shard: $0.shard) }, recompute: recompute)
        let reply: Proto.ShardStatesResponse = try await self.clients.unary(
            ShardTransferService.path + "States", request.encode(), at: node,
            timeout: timeout ?? self.settings.askTimeout
        ).decoded()
        return reply.shards.map {
            ShardPeerState(
                shard: ShardID(collection: $0.shard?.collection ?? 0, shard: $0.shard?.shard ?? 0),
                applied: $0.appliedOffset,
                digest: $0.digest, points: $0.points, diskBytes: $0.diskBytes)
        }
    }

    /// Brings a node's files of a shard into the folder aside, but for those that are there already. What came whole stays
    /// there when this throws.
    func fetch(
        _ build: ShardBuild, from node: ReplicaID, into incoming: ShardIncoming, _ queue: BlockingQueue,
        _ metrics: ShardTransferMetrics
    ) async throws(VecraftError) {
        metrics.running.with("in").add(1)
        defer { metrics.running.with("in").add(-1) }
        do throws(VecraftError) {
            try await self.attempt(build, from: node, into: incoming, queue, metrics)
            metrics.transfers.with("in", "done").increment()
        } catch {
            metrics.transfers.with("in", "failed").increment()
            throw error
        }
    }

    private func attempt(
        _ build: ShardBuild, from node: ReplicaID, into incoming: ShardIncoming, _ queue: BlockingQueue,
        _ metrics: ShardTransferMetrics
    ) async throws(VecraftError) {
        let held = try await queue.run { () throws(VecraftError) in try incoming.held() }
        let request = Proto.FetchShardRequest(
            clusterID: self.settings.clusterID, to: node.rawValue, from: self.settings.own.rawValue,
            shard: Proto.ShardName(collection: build.id.collection, shard: build.id.shard),
            held: held.map { Proto.HeldFile(name: $0.name, bytes: $0.bytes, checksum: $0.checksum) })
        let connection = try self.clients.dial(node)
        let result: Result<Void, VecraftError>
        do throws(VecraftError) {
            let call = try await connection.serverStreaming(
                ShardTransferService.path + "Fetch", ByteBuffer(bytes: request.encode()))
            let reception = Reception(
                build: build, node: node, incoming: incoming, held: held, queue: queue, metrics: metrics)
            result = await self.watched(call, reception)
        } catch {
            result = .failure(error)
        }
        await connection.close()
        try result.get()
    }

    /// Ends also when the sender falls silent, or the shard is not wanted any more.
    private func watched(_ call: GRPCClientCall, _ reception: Reception) async -> Result<Void, VecraftError> {
        let watch = SilenceWatch()
        let limit = self.settings.silenceLimit
        return await withTaskGroup(of: Result<Void, VecraftError>?.self) { group in
            group.addTask {
                do throws(VecraftError) {
                    try await reception.run(call, watch)
                    return .success(())
                } catch {
                    return .failure(error)
                }
            }
            group.addTask {
                while (try? await Task.sleep(for: limit)) != nil {
                    guard watch.wasSilent() else { continue }
                    return .failure(
                        VecraftError(.unavailable, "node \(reception.node) fell silent", reason: "TRANSFER_SILENT"))
                }
                return nil
            }
            var first: Result<Void, VecraftError>?
            for await result in group where first == nil {
                guard let result else { continue }
                first = result
                group.cancelAll()
            }
            return first ?? .failure(VecraftError(.cancelled, "the transfer was cancelled"))
        }
    }

    /// Takes the parts of one transfer, one at a time: the sender waits while the disk does.
    private struct Reception: Sendable {
        let build: ShardBuild
        let node: ReplicaID
        let incoming: ShardIncoming
        let held: [ShardFileInfo]
        let queue: BlockingQueue
        let metrics: ShardTransferMetrics

        func run(_ call: GRPCClientCall, _ watch: SilenceWatch) async throws(VecraftError) {
            let bytes = self.metrics.bytes.with("in")
            var parts = call.replies.makeAsyncIterator()
            var chunks: UInt64 = 0
            var isWhole = false
            while true {
                watch.waits()
                let next = try await parts.next()
                watch.works()
                guard let message = next else { break }
                try self.build.check()
                guard !isWhole else { throw Self.broken("a part behind the end") }
                switch try await self.queue.run({ () throws(VecraftError) in try self.take(message) }) {
                case .plan(let plan): self.build.begin(plan, from: self.node)
                case .chunk(let count, let isFileWhole):
                    chunks += 1
                    bytes.increment(by: UInt64(count))
                    if isFileWhole { self.metrics.files.with("in").increment() }
                    self.build.received(bytes: count, isFileWhole: isFileWhole)
                case .end(let sent):
                    guard sent == chunks else { throw Self.broken("\(chunks) chunks of \(sent)") }
                    isWhole = true
                }
            }
            guard isWhole else { throw Self.broken("no end") }
        }

        private enum Taken: Sendable {
            case plan(ShardIncoming.Plan)
            case chunk(bytes: Int, isFileWhole: Bool)
            case end(chunks: UInt64)
        }

        private func take(_ message: ByteBuffer) throws(VecraftError) -> Taken {
            try ArenaPool.shared.withArena { (arena) throws(VecraftError) in
                let outcome = message.withUnsafeReadableBytes { raw in
                    Result { () throws(VecraftError) -> Taken in
                        switch try Proto.ShardPart.View.decode(raw, in: arena).part {
                        case .manifest(let manifest):
                            guard manifest.count <= ShardIncoming.manifestBytes else {
                                throw Self.broken("a manifest of \(manifest.count) bytes")
                            }
                            return .plan(try self.incoming.begin(manifest: manifest, held: self.held))
                        case .chunk(let chunk):
                            let isFileWhole = try self.incoming.write(
                                file: Int(chunk.file), at: chunk.offset, checksum: chunk.checksum, chunk.data)
                            return .chunk(bytes: chunk.data.count, isFileWhole: isFileWhole)
                        case .end(let end): return .end(chunks: end.chunks)
                        case nil: throw Self.broken("a part of no known kind")
                        }
                    }
                }
                return try outcome.get()
            }
        }

        private static func broken(_ what: String) -> VecraftError {
            VecraftError(.invalidArgument, "a transfer that does not hold: \(what)", reason: "PROTOCOL_BROKEN")
        }
    }
}
