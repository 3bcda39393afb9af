internal import FileStore
internal import Logging
package import Placement
internal import Primitives
internal import Raft
internal import ShardEngine
package import StorageNode
internal import Synchronization

/// Makes, keeps and removes this node's shard replicas as the map says (`docs/CONTROL.md`, "Who does what").
package final class ShardKeeper: Sendable {
    /// Also looked at without a change of the map: what failed is tried again.
    private static let pause: Duration = .milliseconds(250)
    /// Sources are tried so many times over before a build counts as failed and is placed elsewhere.
    private static let rounds = 3
    /// A replica within this many entries of the committed offset is ready (design 13's warning).
    private static let readyLag: UInt64 = 1_000

    private struct State {
        var builds: [ShardID: (incarnation: Incarnation, task: Task<Void, Never>)] = [:]
        var failed: Set<Incarnation> = []
        /// When builds failed, for the planner.
        var failures: [ContinuousClock.Instant] = []
        /// In a row, by shard: each is told later than the one before, lest the shard wander from node to node without end.
        var inARow: [ShardID: Int] = [:]
        /// Of the map that has been acted on.
        var acted: MapEpoch = 0
        var isStopped = false
    }
    private let own: NodeID
    private let map: MapStore
    private let notes: ReplicaNotes
    private let storage: StorageNode
    private let client: ShardTransferClient
    private let state = Mutex(State())
    /// One pass at a time.
    private let acting = Mutex(())
    private let log = Logger(label: "vecraft.control.shards")

    package init(
        own: NodeID, map: MapStore, notes: ReplicaNotes, storage: StorageNode, client: ShardTransferClient
    ) {
        self.own = own
        self.map = map
        self.notes = notes
        self.storage = storage
        self.client = client
    }

    package var actedEpoch: MapEpoch { self.state.withLock { $0.acted } }

    /// Until the task is cancelled; builds under way end with it.
    package func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in self.map.updates() { self.act() } }
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: Self.pause)
                    if !Task.isCancelled { self.act() }
                }
            }
        }
        self.stop()
    }

    private func stop() {
        let tasks = self.state.withLock { state in
            state.isStopped = true
            return state.builds.values.map(\.task)
        }
        for task in tasks { task.cancel() }
        self.storage.cancelBuilds()
    }

    /// The replicas that the map gives this node.
    private func given(_ map: ClusterMap) -> [ShardID: (replica: Placement.ShardReplica, record: ShardRecord)] {
        var given: [ShardID: (replica: Placement.ShardReplica, record: ShardRecord)] = [:]
        for (id, collection) in map.collections {
            for (i, record) in collection.shards.enumerated() {
                if let replica = record.replica(on: self.own) {
                    given[ShardID(collection: id, shard: UInt32(i))] = (replica, record)
                }
            }
        }
        return given
    }

    private func act() { self.acting.withLock { _ in self.reconcile() } }

    private func reconcile() {
        let map = self.map.map
        let given = self.given(map)
        for (id, note) in self.notes.all where given[id]?.replica.incarnation != note.incarnation {
            // Only a map newer than the one that made it can know better.
            guard map.epoch >= note.made else { continue }
            guard let record = map.shard(id) else {
                // That a collection was dropped is for sys-0 to say; storage then removes what there is.
                if self.storage.replica(id.collection) == nil { self.forget(id) }
                continue
            }
            // Whatever the map says, points go only where others have them.
            guard record.replicas.contains(where: { $0.state == .live && $0.node != self.own }) else {
                // Nobody ever had a copy: what is here is a part of the journal, and the new replica goes on with it.
                if record.firstLive == 0, let replica = given[id]?.replica, replica.state == .building {
                    self.adopt(id, replica)
                }
                continue
            }
            self.remove(id)
        }
        for (id, (replica, record)) in given where replica.state == .building {
            let note = self.notes[id]
            if note == nil || note?.incarnation == replica.incarnation { self.begin(id, replica, record) }
        }
        self.state.withLock { $0.acted = max($0.acted, map.epoch) }
    }

    // MARK: Removing

    private func remove(_ id: ShardID) {
        // First: else it would go on with the next source.
        self.state.withLock { $0.builds[id]?.task }?.cancel()
        self.storage.remove(id)
        self.forget(id)
        self.log.notice("a shard's replica was removed", metadata: ["shard": "\(id)"])
    }

    private func adopt(_ id: ShardID, _ replica: Placement.ShardReplica) {
        let build = self.state.withLock { $0.builds.removeValue(forKey: id) }
        build?.task.cancel()
        do throws(VecraftError) {
            try self.notes.set(id, ReplicaNotes.Note(incarnation: replica.incarnation, made: replica.made))
        } catch {
            self.log.error("a shard's replica cannot be begun", metadata: ["shard": "\(id)", "error": "\(error)"])
        }
    }

    private func forget(_ id: ShardID) {
        let build = self.state.withLock { $0.builds.removeValue(forKey: id) }
        build?.task.cancel()
        do throws(VecraftError) { try self.notes.set(id, nil) } catch {
            self.log.error(
                "the note of a shard that is not here remains", metadata: ["shard": "\(id)", "error": "\(error)"])
        }
    }

    // MARK: Building

    private func begin(_ id: ShardID, _ replica: Placement.ShardReplica, _ record: ShardRecord) {
        // Its collection may be younger than what this node has heard of sys-0.
        guard self.storage.replica(of: id) == nil, let schema = self.storage.replica(id.collection)?.schema else {
            return
        }
        let isFree = self.state.withLock { state in
            state.builds[id] == nil && !state.failed.contains(replica.incarnation) && !state.isStopped
        }
        guard isFree else { return }
        do throws(VecraftError) {
            try self.notes.set(id, ReplicaNotes.Note(incarnation: replica.incarnation, made: replica.made))
        } catch {
            return self.log.error(
                "a shard's replica cannot be begun", metadata: ["shard": "\(id)", "error": "\(error)"])
        }
        let isFirst = record.firstLive == 0
        self.state.withLock { state in
            guard !state.isStopped, state.builds[id] == nil else { return }
            let task = Task {
                await self.build(id, replica.incarnation, schema, isFirst: isFirst)
                self.state.withLock { if $0.builds[id]?.incarnation == replica.incarnation { $0.builds[id] = nil } }
            }
            state.builds[id] = (replica.incarnation, task)
        }
    }

    private func build(_ id: ShardID, _ incarnation: Incarnation, _ schema: CollectionSchema, isFirst: Bool) async {
        var last = "no copy answers in the map"
        defer { self.state.withLock { if self.storage.replica(of: id) != nil { $0.inARow[id] = nil } } }
        var round = 0
        while round < Self.rounds {
            if Task.isCancelled { return }
            // What only has to wait for others is no failure.
            var mustWait = false
            let sources =
                self.map.map.shard(id)?.replicas.filter { $0.state != .building && $0.node != self.own } ?? []
            // Live ones first; each build begins with another, so that one source does not feed all.
            func rank(_ source: Placement.ShardReplica) -> (Int, Incarnation) {
                (source.state == .live ? 0 : 1, source.incarnation &* 0x9E37 ^ incarnation)
            }
            for source in isFirst ? [nil] : sources.sorted(by: { rank($0) < rank($1) }).map(Optional.some) {
                if Task.isCancelled { return }
                do throws(VecraftError) {
                    guard let source else { return try await self.storage.begin(schema, shard: id.shard) }
                    return try await self.storage.build(
                        schema, shard: id.shard, from: ReplicaID(source.node.rawValue), over: self.client)
                } catch {
                    if error.reason == "SHARD_HERE" { return }
                    if error.reason == "TRANSFER_BUSY" || error.reason == "BUILD_RUNNING" {
                        mustWait = true
                        continue
                    }
                    last = source.map { "from node \($0.node.rawValue): \(error.message)" } ?? error.message
                    self.log.warning("a shard could not be built yet", metadata: ["shard": "\(id)", "why": "\(last)"])
                }
            }
            if !mustWait { round += 1 }
            try? await Task.sleep(for: .milliseconds(500))
        }
        let inARow = self.state.withLock { state in
            state.inARow[id, default: 0] += 1
            return state.inARow[id]!
        }
        try? await Task.sleep(for: min(.seconds(1) * (1 << min(inARow - 1, 8)), .seconds(60)))
        if Task.isCancelled { return }
        self.log.error(
            "a shard could not be built here; it goes elsewhere", metadata: ["shard": "\(id)", "why": "\(last)"])
        self.state.withLock { state in
            state.failed.insert(incarnation)
            state.failures.append(.now)
        }
    }

    // MARK: What is said of replicas

    /// Builds that failed here within ten minutes.
    package var failedBuilds: Int {
        self.state.withLock { state in
            state.failures.removeAll { $0.duration(to: .now) > .seconds(600) }
            return state.failures.count
        }
    }

    package struct Report: Sendable {
        package var incarnation: Incarnation
        package var observation: ReplicaObservation
        package var points: Int
        package var remainingMilliseconds: UInt64
    }

    package var reports: [Report] {
        let given = self.given(self.map.map)
        let missing = Set(self.storage.missingShards)
        let progress = Dictionary(self.storage.buildProgress.map { ($0.shard, $0) }) { first, _ in first }
        let (failed, building) = self.state.withLock { ($0.failed, Set($0.builds.keys)) }
        return given.map { id, pair in
            let which = pair.replica.incarnation
            var report = Report(
                incarnation: which, observation: ReplicaObservation(.lost), points: 0, remainingMilliseconds: 0)
            if self.notes[id]?.incarnation == which, let here = self.storage.replica(of: id) {
                let (applied, _, points) = here.engine.state
                report.observation = ReplicaObservation(
                    here.replay.lag.entries <= Self.readyLag ? .ready : .catchingUp, applied: applied,
                    bytes: UInt64(here.engine.durableBytes))
                report.points = points
            } else if failed.contains(which) {
                report.observation = ReplicaObservation(.failed)
            } else if missing.contains(id), pair.replica.state != .building {
                report.observation = ReplicaObservation(.catchingUp)
            } else if pair.replica.state == .building || building.contains(id) {
                report.observation = ReplicaObservation(.building)
                if let progress = progress[id] {
                    report.observation.progress = Int(progress.share * 1000)
                    report.observation.applied = progress.applied
                    report.remainingMilliseconds = UInt64((progress.remainingSeconds ?? 0) * 1000)
                }
            }
            return report
        }
    }
}
