package import FileStore
package import HLC
package import JournalService
internal import JournalFormat
internal import JournalStore
internal import Logging
package import Observability
package import Primitives
package import ShardEngine
internal import Synchronization

/// Settings of a storage node.
package struct StorageSettings: Sendable {
    package var shard = ShardSettings()
    /// Background threads that link, seal and merge, for all shards together.
    package var indexThreads = 2
    /// Fault injection for tests: an entry is applied no sooner than this after it was written.
    package var applyDelayMilliseconds: UInt64 = 0
    /// Whether a shard that lies behind the journal's beginning waits to be built from another node; else it is data loss.
    package var buildsFromPeers = false
    package init() {}
}

/// Holds shard replicas and keeps them caught up with the journal.
///
///     directory/shards/<collection id>-<shard>/   one engine each
///     directory/shards/<...>.incoming             one on its way in from another node, aside
///     directory/receipts/<partition>              when what was made searchable
package final class StorageNode: Sendable {
    let directory: String
    let settings: StorageSettings
    private let journal: any JournalClient
    private let clock: HLCClock
    private let tracer: SpanTracer?
    let files: any FileStore
    let gauges: StorageMetrics
    private let workers: ShardWorkers
    private let catalogReached: (@Sendable () -> UInt64)?
    private let directoryOfShards: any ShardDirectory
    private let replicas: Mutex<[UInt64: CollectionReplica]> = Mutex([:])
    private let replays: Mutex<[PartitionID: PartitionReplay]> = Mutex([:])
    let builds = ShardBuilds()
    let log = Logger(label: "vecraft.storage")

    /// - Parameters:
    ///   - catalogReached: HLC up to which this node has applied `sys-0`, where other nodes make collections too.
    ///   - shards: Says which are to be held here.
    package init(
        directory: String, settings: StorageSettings, journal: any JournalClient, clock: HLCClock, files: any FileStore,
        metrics: StorageMetrics, catalogReached: (@Sendable () -> UInt64)? = nil,
        shards directoryOfShards: any ShardDirectory = EverythingHere(), tracer: SpanTracer? = nil
    ) throws(VecraftError) {
        self.tracer = tracer
        try settings.shard.validate()
        self.directoryOfShards = directoryOfShards
        self.catalogReached = catalogReached
        self.directory = directory
        self.settings = settings
        self.journal = journal
        self.clock = clock
        self.files = files
        self.gauges = metrics
        self.workers = ShardWorkers(threads: settings.indexThreads)
        do throws(FileFault) {
            try files.createDirectory(Paths.join(directory, "shards"))
        } catch {
            throw VecraftError(.unavailable, "the data directory cannot be used: \(error)")
        }
    }

    // MARK: Start and stop

    /// Opens every shard of the catalog and begins to replay, each partition from the oldest shard's checkpoint.
    /// - Parameter dropped: Those of the ids whose collections the journal says were dropped; asked about folders that are of
    ///   no collection of the catalog.
    package func start(
        _ schemas: [CollectionSchema], dropped: (Set<UInt64>) throws(VecraftError) -> Set<UInt64>
    ) throws(VecraftError) {
        try ShardIncoming.mend(Paths.join(self.directory, "shards"), self.files)
        try self.removeOrphans(schemas, dropped)
        var opened: [PartitionID: [(CollectionSchema, ShardEngine, String)]] = [:]
        for schema in schemas {
            for shard in self.held(of: schema) {
                let (engine, directory) = try self.open(schema, shard)
                opened[schema.partition, default: []].append((schema, engine, directory))
            }
        }
        for partition in self.journal.partitions where partition.kind == .data {
            let position = try self.journal.position(partition)
            let shards = self.setAside(opened[partition] ?? [], below: position.first) { ($0.0, $0.1) }
            // Without shards there is nothing to bring up to date.
            let start = shards.map { $0.1.applied }.min() ?? position.committed
            guard start + 1 >= position.first else {
                throw VecraftError(
                    .dataLoss,
                    "\(partition) begins at \(position.first), but a shard must replay from \(start + 1): restore it from a snapshot"
                )
            }
            let replay = try self.makeReplay(partition, start: min(start, position.committed))
            let byCollection = Dictionary(grouping: shards) { $0.0.id }
            for schema in schemas where schema.partition == partition {
                self.register(
                    schema, replay,
                    (byCollection[schema.id] ?? []).map { _, engine, directory in
                        ShardReplica(schema: schema, engine: engine, replay: replay, directory: directory)
                    })
            }
            self.replays.withLock { $0[partition] = replay }
            if position.committed > start {
                self.log.notice(
                    "replaying",
                    metadata: [
                        "partition": "\(partition)", "from": "\(start + 1)", "through": "\(position.committed)",
                        "entries": "\(position.committed - start)",
                    ])
            }
            try replay.begin()
        }
        try self.removeTransfers()
    }

    /// Stops replay, then makes shards durable for as long as `budget` allows; what is not checkpointed is replayed at the next
    /// start. Reads are refused afterwards.
    /// - Returns: False if a checkpoint did not end in time; the process must end without waiting for it.
    package func stop(within budget: Duration) -> Bool {
        for replay in self.replays.withLock({ Array($0.values) }) { replay.stop() }
        guard ShardClosing(self.allShards, within: budget).run() else { return false }
        self.workers.stop()
        return true
    }

    // MARK: Collections

    package func replica(_ collection: UInt64) -> CollectionReplica? { self.replicas.withLock { $0[collection] } }

    var allShards: [ShardReplica] { self.replicas.withLock { $0.values.flatMap(\.shards) } }

    package func replay(_ partition: PartitionID) -> PartitionReplay? { self.replays.withLock { $0[partition] } }

    package var partitions: [PartitionReplay] {
        self.replays.withLock { $0.values.sorted { $0.partition < $1.partition } }
    }

    /// A collection was created: its shards exist, empty and durable, when this returns.
    package func create(_ schema: CollectionSchema) throws(VecraftError) {
        guard self.replica(schema.id) == nil else { return }
        guard let replay = self.replay(schema.partition) else {
            throw VecraftError(.internalError, "no replay of \(schema.partition)")
        }
        var opened: [(ShardEngine, String)] = []
        for shard in self.held(of: schema) { opened.append(try self.open(schema, shard)) }
        let engines = opened
        try replay.betweenBatches { (applied) throws(VecraftError) in
            for (engine, _) in engines {
                // Every entry of the collection comes after this moment: a restart need not replay what lies before.
                if engine.applied < applied {
                    try engine.apply([], through: applied)
                    try engine.checkpoint()
                }
            }
            self.register(
                schema, replay,
                engines.map { engine, directory in
                    ShardReplica(schema: schema, engine: engine, replay: replay, directory: directory)
                }, begins: applied)
        }
    }

    /// A collection's codes changed: its shards take them from now on, and their sealed segments behind.
    package func update(_ schema: CollectionSchema) {
        self.builds.update(schema)
        for shard in self.replica(schema.id)?.shards ?? [] {
            shard.engine.requantise(schema.vectors.map(\.quantisation))
        }
    }

    package func drop(_ schema: CollectionSchema) {
        self.builds.cancel(schema.id)
        guard let replica = self.replicas.withLock({ $0.removeValue(forKey: schema.id) }) else { return }
        for shard in replica.shards {
            _ = replica.replay.remove(shard.engine.id)
            shard.engine.abandon()
            self.forgetMetrics(shard)
            do throws(FileFault) { try self.files.removeTree(shard.directory) } catch {
                // An orphan; the next start removes it.
                self.log.warning(
                    "files of a dropped shard remain", metadata: ["path": "\(shard.directory)", "error": "\(error)"])
            }
        }
    }

    /// This node is to hold a shard no longer: its files are gone when this returns. Reads that have begun go on in memory.
    package func remove(_ id: ShardID) {
        self.builds.cancel(id)
        let replica = self.replicas.withLock { replicas -> ShardReplica? in
            guard let known = replicas[id.collection], let replica = known.shard(id.shard) else { return nil }
            replicas[id.collection] = known.without(id.shard)
            return replica
        }
        if let replica {
            _ = replica.replay.remove(id)
            replica.engine.abandon()
            self.forgetMetrics(replica)
        }
        let directory = self.directory(of: id)
        for path in [directory, ShardIncoming.aside(of: directory)] {
            do throws(FileFault) { try self.files.removeTree(path) } catch {
                self.log.warning("files of a removed shard remain", metadata: ["path": "\(path)", "error": "\(error)"])
            }
        }
    }

    // MARK: Inside

    private func held(of schema: CollectionSchema) -> [UInt32] {
        (0..<schema.shards).filter { self.directoryOfShards.holdsHere($0, of: schema) }
    }

    /// Every collection is known here, whether or not one of its shards is; with all that are, or a reader would miss some.
    private func register(
        _ schema: CollectionSchema, _ replay: PartitionReplay, _ shards: [ShardReplica], begins: JournalOffset = 0
    ) {
        self.replicas.withLock {
            $0[schema.id] = CollectionReplica(schema: schema, replay: replay, shards: shards, begins: begins)
        }
        for shard in shards { replay.add(shard) }
    }

    /// - Returns: False if its collection was dropped.
    func register(_ replica: ShardReplica) -> Bool {
        let isKnown = self.replicas.withLock { replicas in
            guard let known = replicas[replica.schema.id] else { return false }
            replicas[replica.schema.id] = known.with(replica)
            return true
        }
        if isKnown { replica.replay.add(replica) }
        return isKnown
    }

    /// The least offset behind which entries of a collection begin that has no copy anywhere, of those that a replay feeds; nil if there
    /// is none, 0 if it is not known.
    func beginnings(of replay: PartitionReplay) -> JournalOffset? {
        let all = self.replicas.withLock { Array($0.values) }.filter { $0.replay === replay }
        return all.filter { !self.directoryOfShards.isPlaced($0.schema) }.map(\.begins).min()
    }

    func directory(of id: ShardID) -> String { Paths.join(self.directory, "shards/\(id.collection)-\(id.shard)") }

    /// The oldest entry that this node's journal holds.
    func firstOffset(of partition: PartitionID) throws(VecraftError) -> JournalOffset {
        try self.journal.position(partition).first
    }

    /// Of the oldest entry that this node's journal holds; nil if there is none.
    func oldestHLC(of partition: PartitionID) throws(VecraftError) -> HLCTimestamp? {
        try self.hlc(of: partition, at: try self.firstOffset(of: partition))
    }

    /// Nil if it is not there.
    func hlc(of partition: PartitionID, at offset: JournalOffset) throws(VecraftError) -> HLCTimestamp? {
        let batch = try self.journal.read(partition, from: offset, maxBytes: 1)
        return batch.isEmpty ? nil : withExtendedLifetime(batch) { batch.view(0).hlc }
    }

    func open(_ schema: CollectionSchema, _ shard: UInt32) throws(VecraftError) -> (ShardEngine, String) {
        let directory = self.directory(of: ShardID(collection: schema.id, shard: shard))
        let engine = try ShardEngine(
            directory: directory, schema: schema, shard: shard, settings: self.settings.shard, files: self.files,
            observer: ShardReporting(schema, shard, self.gauges), workers: self.workers)
        if let reason = engine.opening.restarted {
            self.log.error(
                "a shard's files were damaged; it is rebuilt from the journal",
                metadata: ["collection": "\(schema.name)", "reason": "\(reason)"])
        }
        for file in engine.opening.quarantined {
            self.log.error("damaged file put aside", metadata: ["collection": "\(schema.name)", "file": "\(file)"])
        }
        return (engine, directory)
    }

    private func makeReplay(_ partition: PartitionID, start: JournalOffset) throws(VecraftError) -> PartitionReplay {
        let replay = try self.replay(partition, from: start)
        replay.awaitCatalogs(self.catalogReached)
        return replay
    }

    /// Receipts are notes: where none can be kept the node serves all the same, and has those since its start.
    private func receipts(of partition: PartitionID) -> ReceiptLog {
        let folder = Paths.join(self.directory, "receipts")
        do throws(VecraftError) {
            return try ReceiptLog(path: Paths.join(folder, "\(partition)"), in: folder, files: self.files)
        } catch {
            self.log.error(
                "receipts do not outlive this start",
                metadata: ["partition": "\(partition)", "error": "\(error.message)"])
            return ReceiptLog()
        }
    }

    private func replay(_ partition: PartitionID, from start: JournalOffset) throws(VecraftError) -> PartitionReplay {
        let receipts = self.receipts(of: partition)
        return try PartitionReplay(
            partition: partition, start: start, journal: self.journal, clock: self.clock, receipts: receipts,
            applyDelayMilliseconds: self.settings.applyDelayMilliseconds, metrics: self.gauges, tracer: self.tracer)
    }

    /// Removes the folders of dropped collections. A folder that the journal says nothing of is left alone: points are never
    /// deleted on the word of a catalog that may be wrong.
    private func removeOrphans(
        _ schemas: [CollectionSchema], _ dropped: (Set<UInt64>) throws(VecraftError) -> Set<UInt64>
    ) throws(VecraftError) {
        let known = Set(schemas.flatMap { schema in (0..<schema.shards).map { "\(schema.id)-\($0)" } })
        let root = Paths.join(self.directory, "shards")
        let orphans = try self.onDisk { () throws(FileFault) in
            try self.files.list(root).filter { !known.contains($0) && !ShardIncoming.isAside($0) }
        }
        guard !orphans.isEmpty else { return }
        var ids: [String: UInt64] = [:]
        for name in orphans { ids[name] = name.split(separator: "-").first.flatMap { UInt64($0) } }
        let gone = try dropped(Set(ids.values))
        for name in orphans {
            guard let id = ids[name], gone.contains(id), Self.isShardFolder(name) else {
                self.log.warning(
                    "a shard's folder is of no collection that the journal knows; left alone",
                    metadata: ["name": "\(name)"])
                continue
            }
            try self.onDisk { () throws(FileFault) in try self.files.removeTree(Paths.join(root, name)) }
            self.log.notice("files of a dropped collection removed", metadata: ["name": "\(name)"])
        }
    }

    /// "<collection>-<shard>", and nothing else.
    private static func isShardFolder(_ name: String) -> Bool {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let id = UInt64(parts[0]), let shard = UInt32(parts[1]) else { return false }
        return name == "\(id)-\(shard)"
    }

    private func onDisk<R>(_ body: () throws(FileFault) -> R) throws(VecraftError) -> R {
        do throws(FileFault) { return try body() } catch {
            throw VecraftError(.unavailable, "the data directory cannot be used: \(error)")
        }
    }
}
