package import FileStore
import HNSW
package import Primitives
import Synchronization

/// One replica of one shard: points, their vectors, payloads and indexes, under one applied offset.
///
/// One thread applies; any number read. A read sees whole entries only. What is applied is in memory at once and on disk
/// at the next checkpoint; the journal is the durability between two.
///
/// `@unchecked Sendable`: what changes is guarded by `lock` ("Published"), by `structure` ("Stored"), or belongs to the
/// one applying thread. Locks are taken in the order structure, swap, lock.
package final class ShardEngine: @unchecked Sendable {
    package let id: ShardID
    /// As it was when the engine was opened; its codes may have changed since.
    package let schema: CollectionSchema
    /// What opening found; `opening.applied` is where replay begins.
    package let opening: ShardOpening

    let directory: String
    let settings: ShardSettings
    let shape: SegmentShape
    let files: any FileStore
    let observer: (any ShardObserver)?
    let workers: ShardWorkers
    private let ownsWorkers: Bool
    let numbers: ShardNumbers
    let counters = ShardCounters()
    let contexts: SearchContextPool
    let snapshots: ShardSnapshots
    let filterGraphs = FilterGraphs()

    // MARK: Published

    let lock = ShardLock()
    var segments: [Segment]
    let table: SegmentTable
    let ids: IDMap
    var pointsDigest: UInt64
    /// Grows when a segment is added, replaced or dropped.
    var layout: UInt64 = 0

    /// What each vector's graphs shall be walked on, now.
    private let asked: Mutex<[Quantisation]>

    /// Entry bytes applied since the last checkpoint began.
    let bytesSinceCheckpoint = Atomic<Int>(0)
    let appliedOffset: Atomic<UInt64>
    let appliedTime: Atomic<UInt64>
    /// 0 open, 1 closing, 2 closed.
    let phase = Atomic<Int>(0)
    /// What is being written is not wanted any more.
    let isAbandoned = Atomic<Bool>(false)

    // MARK: The applying thread's

    let staging: Staging
    /// The segment that takes rows; nil while the last one is full.
    var growing: Segment?
    private let isApplying = Atomic<Bool>(false)
    /// For the rows that the applying thread links.
    let linkScratch = SearchScratch()

    // MARK: Stored

    /// Held while files of segments are written or segments exchanged.
    let structure: Mutex<ShardStore>
    /// Held while rows move from one segment to another: whoever remembers rows outside `lock` holds it too.
    let swap = Mutex<Void>(())
    let maintenance = Maintenance()
    /// Held while a segment is given an empty graph.
    let linkerDoor = Mutex<Void>(())
    /// Of the last manifest, for those who will not wait for a checkpoint to end.
    let durable: Mutex<Durable>

    /// Opens the shard, or makes an empty one. Reads and verifies every file: about the time to read them once.
    ///
    /// - Parameters:
    ///   - directory: The shard's own; made if missing.
    ///   - workers: Background threads, shared by many shards; nil: `settings.indexThreads` of the engine's own.
    /// - Throws: FAILED_PRECONDITION if the files belong to another shard or to a newer release (never guessed at);
    ///   INVALID_ARGUMENT for settings; UNAVAILABLE or RESOURCE_EXHAUSTED if the disk refuses.
    package init(
        directory: String, schema: CollectionSchema, shard: UInt32, settings: ShardSettings, files: any FileStore,
        observer: (any ShardObserver)?, workers: ShardWorkers? = nil
    ) throws(VecraftError) {
        try settings.validate()
        let id = ShardID(collection: schema.id, shard: shard)
        let shape = SegmentShape(schema, settings)
        var loader = ShardLoader(
            id: id, schema: schema, shape: shape, settings: settings, directory: directory, files: files)
        try loader.load()
        for event in loader.events { observer?.shard(id, event) }

        self.id = id
        self.schema = schema
        self.opening = loader.opening
        self.directory = directory
        self.settings = settings
        self.shape = shape
        self.files = files
        self.observer = observer
        self.numbers = ShardNumbers(nextSegment: loader.manifest.nextSegment, nextFile: loader.manifest.nextFile)
        self.asked = Mutex(schema.vectors.map(\.quantisation))
        self.contexts = SearchContextPool(limit: settings.pooledSearches)
        self.snapshots = ShardSnapshots(limit: settings.snapshots, patience: settings.snapshotPatience)
        self.segments = loader.segments
        self.table = loader.table
        self.ids = loader.ids
        self.growing = loader.segments.last { $0.state == .growing }
        self.pointsDigest = loader.manifest.digest
        self.appliedOffset = Atomic(loader.manifest.applied)
        self.appliedTime = Atomic(loader.manifest.appliedHLC.rawValue)
        self.structure = Mutex(ShardStore(manifest: loader.manifest, layout: 0))
        self.durable = Mutex(Durable(loader.manifest))
        let numbers = self.numbers
        self.staging = Staging(shape: shape) { () throws(VecraftError) in
            Segment(
                number: numbers.segment(), shape: shape,
                storage: try SegmentStorage(reserving: shape), state: .growing)
        }
        self.ownsWorkers = workers == nil
        self.workers = workers ?? ShardWorkers(threads: settings.indexThreads)
        self.counters.quarantined.store(UInt64(loader.opening.quarantined.count), ordering: .relaxed)
        self.workers.add(self)
    }

    /// Everything up to here is visible. An atomic load.
    package var applied: JournalOffset { self.appliedOffset.load(ordering: .acquiring) }
    /// HLC of the last entry applied.
    package var appliedHLC: HLCTimestamp { HLCTimestamp(rawValue: self.appliedTime.load(ordering: .acquiring)) }

    /// XOR over points of a hash of id, version, vectors and payload; independent of segments.
    package var digest: UInt64 { self.lock.reading { self.pointsDigest } }

    /// Applied offset, digest and live points of one moment: what replicas compare.
    package var state: (applied: JournalOffset, digest: UInt64, points: Int) {
        self.lock.reading { (self.applied, self.pointsDigest, self.ids.count) }
    }

    // MARK: Codes

    /// Changes the codes that graphs are walked on, vector by vector: those sealed from now on have them, and sealed ones are
    /// written again in the background (``ShardStatistics/recodingSegments``). At the next start the schema says it.
    package func requantise(_ quantisations: [Quantisation]) {
        precondition(
            quantisations.count == self.shape.columns.count,
            "codes for \(quantisations.count) of \(self.shape.columns.count) vectors")
        self.asked.withLock { $0 = quantisations }
        self.workers.wake(self)
    }

    func quantisation(_ column: Int) -> Quantisation { self.asked.withLock { $0[column] } }

    // MARK: End

    /// Stops background work, takes a last checkpoint. Reads and writes after it are refused with UNAVAILABLE.
    ///
    /// The applying thread must have stopped before.
    /// - Throws: What the checkpoint met; the engine is closed all the same, and the journal still holds the rest.
    package func close() throws(VecraftError) {
        guard self.stopBackground() else { return }
        defer { self.phase.store(2, ordering: .releasing) }
        self.sealForClose()
        try self.checkpointIfChanged()
    }

    /// Stops without a checkpoint: of a dropped collection, whose directory goes next. A graph
    /// that is being written is given up; what takes less is waited for.
    package func abandon() {
        self.isAbandoned.store(true, ordering: .relaxed)
        if self.stopBackground() { self.phase.store(2, ordering: .releasing) }
    }

    private func stopBackground() -> Bool {
        guard self.phase.compareExchange(expected: 0, desired: 1, ordering: .acquiringAndReleasing).exchanged else {
            return false
        }
        precondition(!self.isApplying.load(ordering: .acquiring), "shard \(self.id) closed while entries are applied")
        self.workers.remove(self)
        if self.ownsWorkers { self.workers.stop() }
        self.abandonMerge()
        return true
    }

    var isStopping: Bool { self.phase.load(ordering: .relaxed) != 0 }

    func checkOpen() throws(VecraftError) {
        guard self.phase.load(ordering: .acquiring) == 0 else {
            throw VecraftError(.unavailable, "shard \(self.id) is closed", reason: "SHARD_CLOSED")
        }
    }

    /// - Throws: What `body` does. Traps when a second thread applies at the same time.
    func applying<R>(_ body: () throws(VecraftError) -> R) throws(VecraftError) -> R {
        let (free, _) = self.isApplying.compareExchange(
            expected: false, desired: true, ordering: .acquiringAndReleasing)
        precondition(free, "two threads apply entries to shard \(self.id)")
        defer { self.isApplying.store(false, ordering: .releasing) }
        return try body()
    }
}

/// Numbers never given twice in a shard's life.
final class ShardNumbers: Sendable {
    private let nextSegment: Atomic<UInt64>
    private let nextFile: Atomic<UInt64>

    init(nextSegment: UInt64, nextFile: UInt64) {
        self.nextSegment = Atomic(nextSegment)
        self.nextFile = Atomic(nextFile)
    }

    func segment() -> UInt64 { self.nextSegment.wrappingAdd(1, ordering: .relaxed).oldValue }
    func file() -> UInt64 { self.nextFile.wrappingAdd(1, ordering: .relaxed).oldValue }
    var upcoming: (segment: UInt64, file: UInt64) {
        (self.nextSegment.load(ordering: .relaxed), self.nextFile.load(ordering: .relaxed))
    }
}

/// Counts since the engine was opened.
final class ShardCounters: Sendable {
    let checkpoints = Atomic<UInt64>(0)
    let checkpointFailures = Atomic<UInt64>(0)
    let seals = Atomic<UInt64>(0)
    let merges = Atomic<UInt64>(0)
    let recodings = Atomic<UInt64>(0)
    let adopted = Atomic<UInt64>(0)
    let backgroundFailures = Atomic<UInt64>(0)
    let quarantined = Atomic<UInt64>(0)
    let rebuilt = Atomic<UInt64>(0)
}

/// How far a checkpoint has come.
struct Durable {
    var applied: JournalOffset
    var bytes: UInt64

    init(_ manifest: ShardManifest) {
        self.applied = manifest.applied
        self.bytes = manifest.segments.reduce(0) { sum, segment in sum + segment.files.reduce(0) { $0 + $1.bytes } }
    }
}

/// What is known of the disk. Guarded by the structure mutex.
struct ShardStore {
    /// The last durable one.
    var manifest: ShardManifest
    /// ``ShardEngine/layout`` it describes.
    var layout: UInt64
    /// Files no segment has any more: to be removed once no manifest lists them.
    var obsolete: [String] = []
}
