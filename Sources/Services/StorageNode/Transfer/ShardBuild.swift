package import Primitives
package import Raft
internal import ShardEngine
internal import Synchronization

/// How far the building of one shard has come.
package struct ShardBuildProgress: Sendable, Equatable, CustomStringConvertible {
    package enum Phase: String, Sendable {
        /// For a node that has it.
        case seeking
        case receiving
        /// Files are here; they are read and compared.
        case opening
        /// Entries of the journal behind what came.
        case catchingUp
    }

    package var shard: ShardID
    /// Name of the collection.
    package var collection: String
    package var phase = Phase.seeking
    package var node: ReplicaID?
    /// Of the transfer: all, and what is here, that of an earlier attempt included.
    package var bytes: UInt64 = 0
    package var files = 0
    package var bytesHere: UInt64 = 0
    package var filesHere = 0
    /// Here when the transfer began.
    package var bytesHeld: UInt64 = 0
    /// Since the transfer began.
    package var elapsed: Duration = .zero
    package var applied: JournalOffset = 0
    /// What replay has applied meanwhile.
    package var goal: JournalOffset = 0
    /// Of the last attempt.
    package var failure: String?

    package init(shard: ShardID, collection: String) {
        self.shard = shard
        self.collection = collection
    }

    package var share: Double { self.bytes == 0 ? 0 : Double(self.bytesHere) / Double(self.bytes) }

    /// Bytes a second.
    package var rate: Double {
        let seconds = Double(self.elapsed.components.seconds) + Double(self.elapsed.components.attoseconds) / 1e18
        return seconds > 0 ? Double(self.bytesHere - self.bytesHeld) / seconds : 0
    }

    /// Seconds until all bytes are here; nil while nothing can be said.
    package var remainingSeconds: Double? {
        self.phase == .receiving && self.rate > 0 ? Double(self.bytes - self.bytesHere) / self.rate : nil
    }

    /// "building shard docs/0 from node 2: 43 %, 12 s left".
    package var description: String {
        var text = "building shard \(self.collection)/\(self.shard.shard)"
        if let node { text += " from node \(node)" }
        switch self.phase {
        case .seeking:
            text += ": \(self.failure ?? "looking for a node that has it")"
        case .receiving:
            text += ": \(Int(self.share * 100)) %"
            if let left = self.remainingSeconds { text += ", \(Int(left.rounded(.up))) s left" }
        case .opening: text += ": all here, being opened"
        case .catchingUp: text += ": replaying, at \(self.applied) of \(self.goal)"
        }
        return text
    }
}

/// One shard being built: where it stands, and whether it is still wanted.
final class ShardBuild: Sendable {
    private struct State {
        var progress: ShardBuildProgress
        var schema: CollectionSchema
        var isCancelled = false
        var isDropped = false
        var began: ContinuousClock.Instant?
    }
    let id: ShardID
    private let state: Mutex<State>

    init(_ id: ShardID, _ schema: CollectionSchema) {
        self.id = id
        self.state = Mutex(State(progress: ShardBuildProgress(shard: id, collection: schema.label), schema: schema))
    }

    /// As it is now; its codes may change while the shard is built.
    var schema: CollectionSchema { self.state.withLock { $0.schema } }
    func update(_ schema: CollectionSchema) { self.state.withLock { $0.schema = schema } }

    /// The collection was dropped, or the node ends.
    func cancel(isDropped: Bool) {
        self.state.withLock { state in
            state.isCancelled = true
            state.isDropped = state.isDropped || isDropped
        }
    }
    var isDropped: Bool { self.state.withLock { $0.isDropped } }
    var isCancelled: Bool { self.state.withLock { $0.isCancelled } }

    func check() throws(VecraftError) {
        if self.isCancelled { throw self.cancelled }
    }

    private var cancelled: VecraftError {
        VecraftError(.cancelled, "shard \(self.id) is not wanted any more", reason: "BUILD_CANCELLED")
    }

    /// Runs `body`, unless it was cancelled; what is cancelled later finds what `body` did.
    /// - Parameter body: False if the collection is not known any more.
    func conclude(_ body: (CollectionSchema) -> Bool) throws(VecraftError) {
        let isDone = self.state.withLock { state in
            if state.isCancelled { return false }
            return body(state.schema)
        }
        if !isDone { throw self.cancelled }
    }

    // MARK: Progress

    var progress: ShardBuildProgress {
        self.state.withLock { state in
            var progress = state.progress
            if let began = state.began { progress.elapsed = began.duration(to: .now) }
            return progress
        }
    }

    func enter(_ phase: ShardBuildProgress.Phase, from node: ReplicaID? = nil) {
        self.state.withLock { state in
            state.progress.phase = phase
            if let node { state.progress.node = node }
        }
    }

    func failed(_ what: String) {
        self.state.withLock { state in
            let fresh = ShardBuildProgress(shard: state.progress.shard, collection: state.progress.collection)
            state.progress = fresh
            state.progress.failure = what
            state.began = nil
        }
    }

    func begin(_ plan: ShardIncoming.Plan, from node: ReplicaID) {
        self.state.withLock { state in
            state.progress.phase = .receiving
            state.progress.node = node
            state.progress.bytes = plan.bytes
            state.progress.files = plan.files
            state.progress.bytesHeld = plan.heldBytes
            state.progress.bytesHere = plan.heldBytes
            state.progress.filesHere = plan.heldFiles
            state.progress.applied = plan.applied
            state.began = .now
        }
    }

    func received(bytes: Int, isFileWhole: Bool) {
        self.state.withLock { state in
            state.progress.bytesHere += UInt64(bytes)
            if isFileWhole { state.progress.filesHere += 1 }
        }
    }

    func reached(_ applied: JournalOffset, of goal: JournalOffset) {
        self.state.withLock { state in
            state.progress.applied = applied
            state.progress.goal = goal
        }
    }
}

/// The shards that a node is building, and those that it must.
final class ShardBuilds: Sendable {
    private struct State {
        var running: [ShardID: ShardBuild] = [:]
        var missing: [ShardID: CollectionSchema] = [:]
        /// Whose gauges there are.
        var shown: Set<[String]> = []
    }
    private let state = Mutex(State())

    /// Found to be too far behind the journal's beginning.
    func miss(_ id: ShardID, _ schema: CollectionSchema) { self.state.withLock { $0.missing[id] = schema } }
    var missing: [ShardID: CollectionSchema] { self.state.withLock { $0.missing } }

    /// Whether one of these is missing or being built.
    func isBuilding(_ isMeant: (CollectionSchema) -> Bool) -> Bool {
        self.state.withLock { state in
            state.missing.values.contains(where: isMeant) || state.running.values.contains { isMeant($0.schema) }
        }
    }

    /// - Throws: ABORTED if it is being built.
    func begin(_ id: ShardID, _ schema: CollectionSchema) throws(VecraftError) -> ShardBuild {
        let made = self.state.withLock { state -> ShardBuild? in
            guard state.running[id] == nil else { return nil }
            let build = ShardBuild(id, state.missing[id] ?? schema)
            state.running[id] = build
            return build
        }
        guard let made else {
            throw VecraftError(.aborted, "shard \(id) is being built already", reason: "BUILD_RUNNING")
        }
        return made
    }

    /// Nil: it is being built, or not missing any more.
    func beginMissing(_ id: ShardID) -> ShardBuild? {
        self.state.withLock { state in
            guard state.running[id] == nil, let schema = state.missing[id] else { return nil }
            let build = ShardBuild(id, schema)
            state.running[id] = build
            return build
        }
    }

    func end(_ build: ShardBuild, isHere: Bool) {
        self.state.withLock { state in
            state.running[build.id] = nil
            if isHere { state.missing[build.id] = nil }
        }
    }

    /// A collection was dropped.
    func cancel(_ collection: UInt64) {
        self.state.withLock { state in
            for (id, build) in state.running where id.collection == collection { build.cancel(isDropped: true) }
            state.missing = state.missing.filter { $0.key.collection != collection }
        }
    }

    /// One shard is not wanted here any more.
    func cancel(_ shard: ShardID) {
        self.state.withLock { state in
            state.running[shard]?.cancel(isDropped: true)
            state.missing[shard] = nil
        }
    }

    func update(_ schema: CollectionSchema) {
        self.state.withLock { state in
            for (id, build) in state.running where id.collection == schema.id { build.update(schema) }
            for id in state.missing.keys where id.collection == schema.id { state.missing[id] = schema }
        }
    }

    func cancelAll() {
        self.state.withLock { state in for build in state.running.values { build.cancel(isDropped: false) } }
    }

    /// - Returns: Labels that were shown before and are not any more.
    func show(_ labels: Set<[String]>) -> Set<[String]> {
        self.state.withLock { state in
            defer { state.shown = labels }
            return state.shown.subtracting(labels)
        }
    }

    var progress: [ShardBuildProgress] {
        self.state.withLock { Array($0.running.values) }.map(\.progress).sorted {
            ($0.collection, $0.shard.shard) < ($1.collection, $1.shard.shard)
        }
    }
}
