package import FileStore
internal import HLC
internal import JournalFormat
package import JournalService
internal import Logging
package import MetaManager
package import Metadata
internal import NIOCore
internal import Observability
package import Placement
package import Primitives
package import Raft
package import StorageNode
internal import Synchronization
package import Wire

/// What a node says of itself that nobody in this module knows.
package struct NodeCondition: Sendable {
    /// "starting", "replaying", "ready", "draining".
    package var state: String
    package var version: String
    package var uptimeMilliseconds: UInt64
    package var diskFree: UInt64
    package var diskTotal: UInt64
    /// A part of 1,000 of its processors.
    package var busy: Int
    /// Why it does not serve, if so.
    package var problem: String

    package init(
        state: String, version: String, uptimeMilliseconds: UInt64, diskFree: UInt64, diskTotal: UInt64, busy: Int,
        problem: String
    ) {
        self.state = state
        self.version = version
        self.uptimeMilliseconds = uptimeMilliseconds
        self.diskFree = diskFree
        self.diskTotal = diskTotal
        self.busy = busy
        self.problem = problem
    }
}

/// A node of a cluster that runs itself: its place in the map, and what it does because of the map.
///
/// ```swift
/// let member = try await ClusterMember.join(...)          // knows its id
/// member.start(clients: ...)                              // heard of, may decide
/// try await member.awaitPartitions(...)                   // journals can be opened
/// member.lead(journal)                                    // groups follow the map
/// member.hold(storage, meta, client: ...)                 // shards follow the map
/// await member.close()
/// ```
package final class ClusterMember: Sendable {
    package let clusterID: String
    package let document: ClusterDocument
    package let map: MapStore
    package let store: any MetadataStore
    private let notes: ReplicaNotes
    private let metrics: ControlMetrics
    private let registration: NodeRegistration
    private let directory: String
    private let files: any FileStore
    private let condition: @Sendable () -> NodeCondition

    private struct State {
        var clients: PeerClients?
        var journal: ReplicatedJournal?
        var groups: GroupKeeper?
        var shards: ShardKeeper?
        var storage: StorageNode?
        var meta: MetaManager?
        var failover: FailoverManager?
        var tasks: [Task<Void, Never>] = []
        var isClosed = false
    }
    private let state = Mutex(State())
    /// Decisions on their way into `sys-0`: whoever decides does not wait for the journal, which may be what is to be repaired.
    private let (decisions, deciding): (AsyncStream<Decision>, AsyncStream<Decision>.Continuation) =
        AsyncStream.makeStream(
            bufferingPolicy: .bufferingOldest(4_096))
    private let log = Logger(label: "vecraft.control")

    /// A node's answer is waited for so long: less than the quiet after which it is suspected.
    private static let observeTimeout: Duration = .milliseconds(400)
    private static let observePath = "/vecraft.internal.v1.Control/Observe"

    private init(
        _ clusterID: String, _ document: ClusterDocument, _ map: MapStore, _ notes: ReplicaNotes,
        _ store: any MetadataStore,
        _ registration: NodeRegistration, _ directory: String, _ files: any FileStore, _ metrics: ControlMetrics,
        _ condition: @escaping @Sendable () -> NodeCondition
    ) {
        self.clusterID = clusterID
        self.document = document
        self.map = map
        self.notes = notes
        self.store = store
        self.registration = registration
        self.directory = directory
        self.files = files
        self.metrics = metrics
        self.condition = condition
    }

    package var id: NodeID { self.registration.id }
    /// The metadata store was heard of lately.
    package var isStoreReachable: Bool { self.registration.isHeld }

    // MARK: Joining

    /// Waits until there is a cluster of the name, and takes a place in it.
    /// - Parameters:
    ///   - description: Of the node; id and state are not looked at.
    ///   - waiting: Told what is waited for.
    package static func join(
        cluster: String, description: NodeRecord, directory: String, store: any MetadataStore, files: any FileStore,
        metrics: ControlMetrics, condition: @escaping @Sendable () -> NodeCondition, waiting: @Sendable (String) -> Void
    ) async throws(VecraftError) -> ClusterMember {
        // Whose the data are comes before anything is written there.
        let known = try NodeRegistration.known(directory, cluster, files)
        let map = MapStore(store, path: Paths.join(directory, "cluster-map"), files: files)
        let document = try await Self.document(cluster, known?.identity, directory, store, files, waiting)
        var registration: NodeRegistration?
        while registration == nil {
            do throws(VecraftError) {
                registration = try await NodeRegistration.enroll(
                    description, cluster: cluster, identity: document.identity, directory: directory, map: map,
                    store: store, files: files)
            } catch {
                guard error.code == .unavailable || error.reason == "STALE_EPOCH" else { throw error }
                waiting("the metadata store: \(error.message)")
                try await Self.rest()
            }
        }
        let notes = try ReplicaNotes(path: Paths.join(directory, "replicas"), files: files)
        return ClusterMember(
            cluster, document, map, notes, store, registration!, directory, files, metrics, condition)
    }

    /// From the store; from a file if it does not answer and this node was in the cluster before.
    private static func document(
        _ cluster: String, _ identity: UInt64?, _ directory: String, _ store: any MetadataStore, _ files: any FileStore,
        _ waiting: @Sendable (String) -> Void
    ) async throws(VecraftError) -> ClusterDocument {
        let path = Paths.join(directory, "cluster")
        while true {
            do throws(VecraftError) {
                if let document = try await ClusterDocument.read(store) {
                    guard identity == nil || document.identity == identity else {
                        throw VecraftError(
                            .failedPrecondition,
                            "the metadata store has another cluster \"\(cluster)\" than the one of this data: it was made again. Nothing here is touched; remove the new one's keys from etcd and put the old one back (vecraft cluster init --from), or give the node an empty folder",
                            reason: "OTHER_CLUSTER")
                    }
                    do throws(FileFault) { try AtomicFile.replace(path, with: document.encoded(), in: files) } catch {
                        throw VecraftError(.resourceExhausted, "\(path) cannot be written: \(error)")
                    }
                    return document
                }
                waiting(
                    identity == nil
                        ? "the cluster \"\(cluster)\" to be made (vecraft cluster init)"
                        : "the cluster \"\(cluster)\", which the metadata store has lost, to be put back (vecraft cluster init --from)"
                )
            } catch {
                guard error.code == .unavailable else { throw error }
                if identity != nil, let bytes = try? files.readWhole(path) {
                    return try ClusterDocument(parsing: bytes)
                }
                waiting("the metadata store: \(error.message)")
            }
            try await Self.rest()
        }
    }

    private static func rest() async throws(VecraftError) {
        do { try await Task.sleep(for: .milliseconds(300)) } catch {
            throw VecraftError(.cancelled, "the start was ended")
        }
    }

    // MARK: Life

    /// From now on the node is heard of, and may be elected to decide for the cluster if it `decides`. Addresses of the others go to
    /// `peers`.
    package func start(
        clients: PeerClients, peers: PeerDirectory, decides: Bool, liveness: LivenessSettings, planner: PlannerSettings
    ) {
        let failover = FailoverManager(
            own: self.id, document: self.document, map: self.map, store: self.store, settings: liveness,
            planner: planner,
            metrics: self.metrics, observe: { await self.reports() }, catalog: { self.catalog },
            record: { self.deciding.yield($0) })
        self.state.withLock { state in
            state.clients = clients
            state.failover = failover
        }
        self.run { for await decision in self.decisions { await self.record(decision) } }
        self.run { await self.map.run() }
        self.run { await self.registration.run() }
        if decides { self.run { await failover.run() } }
        self.run { for await _ in self.map.updates() { peers.give(self.addresses) } }
    }

    private var addresses: [ReplicaID: String] {
        var found: [ReplicaID: String] = [:]
        for node in self.map.map.nodes.values where node.state != .removed {
            if let address = node.addresses["peer"] { found[ReplicaID(node.id.rawValue)] = address }
        }
        return found
    }

    private func run(_ body: @escaping @Sendable () async -> Void) {
        self.state.withLock { state in
            guard !state.isClosed else { return }
            state.tasks.append(Task { await body() })
        }
    }

    /// Returns when every partition of the cluster has its first replicas.
    package func awaitPartitions(_ waiting: @Sendable (String) -> Void) async throws {
        let wanted = self.document.partitions
        func isStarted(_ map: ClusterMap) -> Bool {
            wanted.allSatisfy { map.partitions[$0].map { $0.changed > 0 } ?? false }
        }
        for await _ in self.map.updates() {
            let map = self.map.map
            if isStarted(map) { return }
            let here = map.presentNodes.filter { $0.state == .active }.count
            waiting("the cluster's first \(self.document.voters) nodes; \(here) of them are here")
        }
        throw CancellationError()
    }

    /// Of a group that begins with this node's start; none for one that has begun without it.
    package func membership(of partition: PartitionID) -> Membership {
        guard let record = self.map.map.partitions[partition], let own = record.replica(on: self.id),
            record.replicas.allSatisfy({ $0.made == record.changed && $0.role == .voter }), own.made == record.changed
        else { return .none }
        return Membership(voters: record.replicas.map { ReplicaID($0.node.rawValue) })
    }

    /// The journal is open: groups that this node leads follow the map.
    package func lead(_ journal: ReplicatedJournal) {
        let keeper = GroupKeeper(own: self.id, journal: journal, map: self.map)
        self.state.withLock { state in
            state.journal = journal
            state.groups = keeper
        }
        self.run { await keeper.run() }
    }

    /// Where shards are; before ``hold(_:_:client:)``.
    package func placement() -> MapPlacement {
        MapPlacement(own: self.id, map: self.map) { [notes, files, directory] (shard, incarnation) in
            notes[shard]?.incarnation == incarnation
                && files.exists(Paths.join(directory, "shards/\(shard.collection)-\(shard.shard)"))
        }
    }

    /// Shards are open: those of this node follow the map.
    package func hold(_ storage: StorageNode, _ meta: MetaManager, client: ShardTransferClient) {
        let keeper = ShardKeeper(own: self.id, map: self.map, notes: self.notes, storage: storage, client: client)
        self.state.withLock { state in
            state.storage = storage
            state.meta = meta
            state.shards = keeper
        }
        self.run { await keeper.run() }
    }

    /// Ends all of this; the lease is given back, so that others need not wait for it to run out.
    package func close() async {
        let tasks = self.state.withLock { state in
            state.isClosed = true
            return state.tasks
        }
        for task in tasks { task.cancel() }
        // An etcd that is away, or a journal without a leader, must not hold up the end: leases run out by themselves.
        let (ended, end) = AsyncStream<Void>.makeStream()
        Task {
            for task in tasks { await task.value }
            end.finish()
        }
        Task {
            try? await Task.sleep(for: Self.closeTimeout)
            end.finish()
        }
        for await _ in ended {}
    }

    private static let closeTimeout: Duration = .milliseconds(1_500)

    // MARK: For the controller

    private var catalog: CatalogView? {
        guard let meta = self.state.withLock({ $0.meta }) else { return nil }
        let reached = meta.reachedHLC
        return CatalogView(collections: meta.catalog.byID.values.sorted { $0.id < $1.id }, reached: reached)
    }

    /// All that this node knows.
    var collections: [CollectionSchema] {
        self.state.withLock { $0.meta }?.catalog.byID.values.sorted { $0.id < $1.id } ?? []
    }

    /// As this node knows it.
    func schema(_ collection: UInt64) -> CollectionSchema? { self.state.withLock { $0.meta }?.catalog.byID[collection] }

    private func observe(_ node: NodeID) async -> VecraftInternalV1.NodeReport? {
        if node == self.id { return self.report }
        guard let clients = self.state.withLock({ $0.clients }) else { return nil }
        let request = VecraftInternalV1.ObserveRequest(clusterID: self.clusterID, to: node.rawValue)
        // Who does not answer is judged by the silence, not by what went wrong.
        guard
            let reply = try? await clients.unary(
                Self.observePath, request.encode(), at: ReplicaID(node.rawValue), timeout: Self.observeTimeout)
        else { return nil }
        return try? reply.withUnsafeReadableBytes { raw in try VecraftInternalV1.NodeReport.decode(raw) }
    }

    /// All nodes' reports, those of nodes that answer.
    package func reports() async -> [NodeID: VecraftInternalV1.NodeReport] {
        await withTaskGroup(of: (NodeID, VecraftInternalV1.NodeReport?).self) { group in
            for node in self.map.map.presentNodes.map(\.id) { group.addTask { (node, await self.observe(node)) } }
            var found: [NodeID: VecraftInternalV1.NodeReport] = [:]
            for await (node, report) in group { found[node] = report }
            return found
        }
    }

    /// Puts a decision into `sys-0`, for those who ask later why something lies where it does. One that is made before there is a journal,
    /// or while nobody leads it, waits; under its key it is there once.
    private func record(_ decision: Decision) async {
        var random = SystemRandomNumberGenerator()
        let header = EntryHeader(
            partition: .sys, tier: .critical, operation: .decision, tenant: "default",
            requestID: "epoch-\(decision.epoch + 1)",
            idempotencyKey: "decision-\(decision.epoch + 1)", principal: "node-\(self.id.rawValue)",
            trace: .root(using: &random))
        let body = JSONValue.object([
            JSONMember("change", .string("\(decision.change)")), JSONMember("reason", .string(decision.reason)),
            JSONMember("epoch", .integer(Int64(decision.epoch + 1))),
            JSONMember("controller", .integer(Int64(self.id.rawValue))),
        ]).encoded()
        let entry = body.withUnsafeBytes { EncodedEntry.raw(header: header, body: $0) }
        var isSaid = false
        while !Task.isCancelled {
            if let journal = self.state.withLock({ $0.journal }) {
                do throws(VecraftError) {
                    _ = try await journal.append(entry, to: .sys)
                    return
                } catch {
                    if !isSaid {
                        self.log.warning(
                            "a decision waits for its place in the journal",
                            metadata: ["change": "\(decision.change)", "error": "\(error.message)"])
                    }
                    isSaid = true
                    guard error.code == .unavailable else { return }
                }
            }
            try? await Task.sleep(for: Self.recordPause)
        }
    }

    private static let recordPause: Duration = .milliseconds(200)

    // MARK: What this node says

    package var report: VecraftInternalV1.NodeReport {
        let parts = self.state.withLock { $0 }
        let map = self.map.map
        let condition = self.condition()
        var report = VecraftInternalV1.NodeReport(
            node: self.id.rawValue, state: condition.state, watchesMap: self.isStoreReachable,
            diskFree: condition.diskFree,
            diskTotal: condition.diskTotal, busy: UInt32(condition.busy), version: condition.version,
            uptimeMs: condition.uptimeMilliseconds, problem: condition.problem)
        let own = map.partitions.values.compactMap { record in record.replica(on: self.id).map { (record, $0) } }
        // A node that has nothing yet has nothing to open.
        let isEmpty = own.isEmpty && !map.holdsSomething(self.id)
        report.complete = isEmpty || (parts.shards != nil && condition.state != "draining")
        // Before its journals are open, it has acted on no map that gives it one.
        report.mapEpoch = parts.journal == nil ? (isEmpty ? map.epoch : 0) : map.epoch
        if let shards = parts.shards {
            report.mapEpoch = shards.actedEpoch
            report.failedBuilds = UInt32(shards.failedBuilds)
            report.replicas = shards.reports.map {
                VecraftInternalV1.ReplicaReport(
                    incarnation: $0.incarnation, state: $0.observation.state.rawValue,
                    appliedOffset: $0.observation.applied,
                    bytes: $0.observation.bytes, progress: UInt32(max(0, $0.observation.progress)),
                    points: UInt64($0.points),
                    remainingMs: $0.remainingMilliseconds)
            }
        }
        report.blocked = parts.failover?.blocked ?? []
        if let journal = parts.journal {
            var halted: [PartitionID: String] = [:]
            for status in journal.replicas.map(\.status) { halted[status.partition] = status.failure }
            report.haltedPartitions = halted.keys.sorted().map(\.description)
            report.journals = own.map { record, replica in
                VecraftInternalV1.JournalReport(
                    incarnation: replica.incarnation, running: true, halted: halted[record.id] ?? "")
            }
        }
        for group in parts.groups?.reports ?? [] {
            func ids(_ values: [ReplicaID]) -> [UInt64] { values.map(\.rawValue) }
            report.groups.append(
                VecraftInternalV1.GroupReport(
                    partition: group.status.partition.description, term: group.status.term,
                    voters: ids(group.status.membership.voters),
                    learners: ids(group.status.membership.learners), joint: group.status.membership.isJoint,
                    caughtUp: ids(group.caughtUp), changed: group.changed, committedOffset: group.status.committed))
        }
        for replay in parts.storage?.partitions ?? [] {
            let lag = replay.lag
            report.lagEntries = max(report.lagEntries, lag.entries)
            report.lagBytes = max(report.lagBytes, lag.bytes)
            report.lagMs = max(report.lagMs, lag.milliseconds)
        }
        return report
    }
}
