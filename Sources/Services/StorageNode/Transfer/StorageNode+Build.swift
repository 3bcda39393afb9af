internal import CPlatform
internal import FileStore
internal import Foundation
internal import JournalService
internal import Logging
internal import Observability
internal import PeerTransport
package import Primitives
package import Raft
internal import ShardEngine
internal import Synchronization

extension StorageNode {
    /// A replica by its shard's id.
    package func replica(of id: ShardID) -> ShardReplica? {
        self.replica(id.collection)?.shard(id.shard)
    }

    /// What this node has of a shard: the digest of its points, and the offset that it is true for. Replicas of a shard at one
    /// offset have one digest.
    package func state(of id: ShardID) -> (applied: JournalOffset, digest: UInt64, points: Int)? {
        self.replica(of: id)?.engine.state
    }

    /// The same, computed from the points as they lie there, on a thread of its own.
    package func recomputedState(
        of id: ShardID
    ) async throws(VecraftError) -> (applied: JournalOffset, digest: UInt64, points: Int)? {
        guard let replica = self.replica(of: id) else { return nil }
        let isCancelled = Atomic(false)
        let found = await withTaskCancellationHandler {
            await BackgroundThread.run("digest") { () throws(VecraftError) in
                try replica.engine.recomputedState { isCancelled.load(ordering: .relaxed) }
            }
        } onCancel: {
            isCancelled.store(true, ordering: .relaxed)
        }
        return try found.get()
    }

    // MARK: Building

    /// Makes this node's replica of a shard from another node's: its files first, then what the journal has behind them, then
    /// replay takes over. Its folder is there whole when this returns, or not at all.
    ///
    /// - Throws: ALREADY_EXISTS if it is here, ABORTED if it is being built; CANCELLED when its collection is dropped or
    ///   ``cancelBuilds()`` is called; OUT_OF_RANGE, reason TRIMMED, if this node's journal begins behind what the other had;
    ///   what wire and disks say. What came whole is not sent again by the next attempt, from whatever node.
    package func build(
        _ schema: CollectionSchema, shard: UInt32 = 0, from node: ReplicaID, over client: ShardTransferClient
    ) async throws(VecraftError) {
        let id = ShardID(collection: schema.id, shard: shard)
        guard self.replica(of: id) == nil else {
            throw VecraftError(.alreadyExists, "shard \(id) is here", reason: "SHARD_HERE")
        }
        let build = try self.builds.begin(id, schema)
        // Who cancelled before there was something to cancel.
        if Task.isCancelled { build.cancel(isDropped: false) }
        do throws(VecraftError) {
            try build.check()
            try await self.attempt(build, from: node, over: client)
        } catch {
            self.builds.end(build, isHere: false)
            throw error
        }
        self.builds.end(build, isHere: true)
    }

    /// Makes this node's replica of a shard that no node has yet, from the collection's entries in the journal alone.
    ///
    /// - Throws: As ``build(_:shard:from:over:)``; DATA_LOSS, reason TRIMMED, if the journal has forgotten some of them.
    package func begin(_ schema: CollectionSchema, shard: UInt32) async throws(VecraftError) {
        let id = ShardID(collection: schema.id, shard: shard)
        guard let collection = self.replica(schema.id) else { throw self.absence(of: schema.id) }
        guard collection.shard(shard) == nil else { throw VecraftError(.alreadyExists, "shard \(id) is here", reason: "SHARD_HERE") }
        let build = try self.builds.begin(id, schema)
        if Task.isCancelled { build.cancel(isDropped: false) }
        do throws(VecraftError) {
            try await BackgroundThread.run("begin \(schema.label)") { () throws(VecraftError) in
                try build.check()
                let start = try self.beginning(of: collection)
                let (engine, directory) = try self.open(build.schema, shard)
                do throws(VecraftError) {
                    if engine.applied < start {
                        try engine.apply([], through: start)
                        try engine.checkpoint()
                    }
                    try self.join(engine, directory, build, collection.replay)
                } catch {
                    engine.abandon()
                    if build.isDropped { try? self.files.removeTree(directory) }
                    throw error
                }
            }.get()
        } catch {
            self.builds.end(build, isHere: false)
            throw error
        }
        self.builds.end(build, isHere: true)
    }

    /// An offset that all entries of a collection lie behind.
    private func beginning(of collection: CollectionReplica) throws(VecraftError) -> JournalOffset {
        let partition = collection.schema.partition
        let first = try self.firstOffset(of: partition)
        // Entries of the collection are younger than the collection: what this node believes to lie before it must be older. A node that
        // starts while a collection is made may have begun its replay behind the collection's first entries.
        if collection.begins > 0, collection.begins + 1 >= first,
            try self.hlc(of: partition, at: collection.begins).map({ $0 <= collection.schema.created }) ?? false
        {
            return collection.begins
        }
        // Known before this process, or trimmed: what is gone must be older than the collection.
        let oldest = try self.oldestHLC(of: partition)
        guard first == 1 || oldest.map({ $0 <= collection.schema.created }) ?? false else {
            throw VecraftError(
                .dataLoss, "\(partition) begins at \(first), behind the first entries of collection \"\(collection.schema.label)\"",
                reason: "TRIMMED")
        }
        return first - 1
    }

    /// Shards that are being built, and how far they are.
    package var buildProgress: [ShardBuildProgress] { self.builds.progress }

    /// Those under way end soon; what has come stays aside.
    package func cancelBuilds() { self.builds.cancelAll() }

    func attempt(
        _ build: ShardBuild, from node: ReplicaID, over client: ShardTransferClient
    ) async throws(VecraftError) {
        let schema = build.schema
        guard let replay = self.replay(schema.partition) else {
            throw VecraftError(.unavailable, "no replay of \(schema.partition)", reason: "NOT_READY")
        }
        let directory = self.directory(of: build.id)
        let queue = BlockingQueue()
        let incoming = try await queue.run { [files] () throws(VecraftError) in
            try ShardIncoming(directory: directory, schema: schema, shard: build.id, files: files)
        }
        do throws(VecraftError) {
            try await client.fetch(build, from: node, into: incoming, queue, self.gauges.transfer)
            try await BackgroundThread.run("build \(schema.label)") { () throws(VecraftError) in
                build.enter(.opening)
                try build.check()
                try incoming.finish()
                try self.open(build, replay, directory)
            }.get()
        } catch {
            // A dropped collection's files go at once; all others are a start for the next attempt.
            if build.isDropped { try? incoming.abandon() }
            throw error
        }
        self.log.notice(
            "a shard was built from another node",
            metadata: [
                "collection": "\(schema.label)", "shard": "\(build.id.shard)", "from": "\(node)",
                "bytes": "\(build.progress.bytes)", "applied": "\(build.progress.applied)",
            ])
    }

    /// From files to a replica that replay feeds. On a thread that may block.
    private func open(_ build: ShardBuild, _ replay: PartitionReplay, _ directory: String) throws(VecraftError) {
        let (engine, _) = try self.open(build.schema, build.id.shard)
        do throws(VecraftError) {
            if let reason = engine.opening.restarted {
                throw VecraftError(.dataLoss, "shard \(build.id) came damaged: \(reason)", reason: "SHARD_DAMAGED")
            }
            // Checksums say that files are what the sender had; this says that its points are what its digest says.
            let found = try engine.recomputedState { build.isCancelled }
            guard found.digest == engine.digest else {
                throw VecraftError(
                    .dataLoss, "shard \(build.id) came with points that its digest is not of", reason: "SHARD_DAMAGED")
            }
            try self.join(engine, directory, build, replay)
        } catch {
            engine.abandon()
            if error.reason == "SHARD_DAMAGED" || build.isDropped { try? self.files.removeTree(directory) }
            throw error
        }
    }

    /// What the journal has behind the files, then replay takes over.
    private func join(
        _ engine: ShardEngine, _ directory: String, _ build: ShardBuild, _ replay: PartitionReplay
    ) throws(VecraftError) {
        build.enter(.catchingUp)
        let replica = ShardReplica(schema: build.schema, engine: engine, replay: replay, directory: directory)
        try replay.join(replica, isCancelled: { build.isCancelled }, reached: { build.reached($0, of: $1) }) {
            () throws(VecraftError) in
            try build.conclude { schema in
                engine.requantise(schema.vectors.map(\.quantisation))
                return self.register(ShardReplica(schema: schema, engine: engine, replay: replay, directory: directory))
            }
        }
    }

    // MARK: At the start

    /// Those of a partition's shards that the journal can bring up to date. The others are closed again and remembered as
    /// missing: their files stay until those of another node take their place.
    func setAside<T>(
        _ shards: [T], below first: JournalOffset, _ parts: (T) -> (schema: CollectionSchema, engine: ShardEngine)
    ) -> [T] {
        guard self.settings.buildsFromPeers else { return shards }
        return shards.filter { shard in
            let (schema, engine) = parts(shard)
            guard engine.applied + 1 < first else { return true }
            self.log.warning(
                "the journal begins behind what a shard has; it will be built from another node",
                metadata: [
                    "collection": "\(schema.label)", "shard": "\(engine.id.shard)", "applied": "\(engine.applied)",
                    "journal": "\(first)",
                ])
            engine.abandon()
            self.builds.miss(engine.id, schema)
            return false
        }
    }

    /// Shards that are of the catalog and must be built before this node is complete.
    package var missingShards: [ShardID] {
        self.builds.missing.keys.sorted { ($0.collection, $0.shard) < ($1.collection, $1.shard) }
    }

    /// Removes what is left of transfers of shards that are here.
    func removeTransfers() throws(VecraftError) {
        let kept = Set(self.builds.missing.keys.map { "\($0.collection)-\($0.shard)" })
        try ShardIncoming.removeAll(in: Paths.join(self.directory, "shards"), except: kept, self.files)
    }

    /// What a reader is told who finds no replica of a collection here: UNAVAILABLE, reason SHARD_BUILDING, while it is being
    /// built, so that another node is asked; else NOT_FOUND.
    package func absence(of collection: UInt64) -> VecraftError {
        guard self.builds.isBuilding({ $0.id == collection }) else {
            return VecraftError(.notFound, "the collection was dropped", reason: "COLLECTION_DROPPED")
        }
        return VecraftError(
            .unavailable, "this node's replica is being built from another node's", reason: "SHARD_BUILDING",
            retryAfter: .seconds(1))
    }

    // MARK: Trimming

    /// The last offset of a partition that no shard of this node needs any more: up to it all are durable, after a checkpoint
    /// now. 0 while one is being built, for what it comes with is not known; all, of a partition without shards.
    package func trimLimit(of partition: PartitionID) async throws(VecraftError) -> JournalOffset {
        guard partition.kind == .data, let replay = self.replay(partition) else { return .max }
        let isBuilding = self.builds.isBuilding { $0.partition == partition }
        if isBuilding { return 0 }
        let applied = replay.waiters.applied
        let engines = self.allShards.filter { $0.replay === replay }.map(\.engine)
        // Of a collection that no node has a copy of yet, the journal is the only one.
        let unplaced = self.beginnings(of: replay)
        return try await BackgroundThread.run("checkpoint") { () throws(VecraftError) in
            var limit = min(applied, unplaced ?? .max)
            for engine in engines {
                try engine.checkpoint()
                limit = min(limit, engine.statistics.checkpointed)
            }
            return limit
        }.get()
    }

    // MARK: Metrics

    func collectBuilds() {
        var shown: Set<[String]> = []
        for progress in self.buildProgress {
            let labels = [progress.collection, "\(progress.shard.shard)"]
            shown.insert(labels)
            self.gauges.transfer.progress.with(labels).set(progress.share)
            self.gauges.transfer.remaining.with(labels).set(progress.remainingSeconds ?? 0)
        }
        for gone in self.builds.show(shown) {
            self.gauges.transfer.progress.remove(gone[0], gone[1])
            self.gauges.transfer.remaining.remove(gone[0], gone[1])
        }
    }
}

/// A thread for work that computes or waits for a disk for long, and yields to those that answer requests.
enum BackgroundThread {
    private static let nice: Int32 = 10
    private static let turnMicroseconds: UInt32 = 100

    static func run<T: Sendable>(
        _ name: String, _ body: @escaping @Sendable () throws(VecraftError) -> T
    ) async -> Result<T, VecraftError> {
        await withCheckedContinuation { (done: CheckedContinuation<Result<T, VecraftError>, Never>) in
            let thread = Thread {
                vc_thread_name(name)
                _ = vc_thread_background(Self.nice, Self.turnMicroseconds)
                done.resume(returning: Result { () throws(VecraftError) in try body() })
            }
            thread.stackSize = 4 << 20
            thread.start()
        }
    }
}
