internal import Logging
package import Metadata
internal import Observability
package import Placement
package import Primitives
internal import Synchronization
package import Wire

/// What the control plane must know of the collections.
package struct CatalogView: Sendable {
    package var collections: [CollectionSchema]
    /// No schema change at or below this HLC is missing.
    package var reached: UInt64
    package init(collections: [CollectionSchema], reached: UInt64) {
        self.collections = collections
        self.reached = reached
    }
}

/// Decides for the cluster while this node is elected: hears the nodes, plans, writes each decision (`docs/CONTROL.md`).
///
/// Several may think that they lead; the map's epoch lets one of them write.
package final class FailoverManager: Sendable {
    package static let electionKey = "control"
    /// Another takes over so long after the last sign of life; what waits for it is repair, not reads or writes.
    private static let electionTTL: Duration = .seconds(3)
    /// A plan tells nothing of nodes that died since.
    private static let planAge: Duration = .seconds(5)
    /// A node that has opened so little for so long is as good as silent.
    private static let startingLimit: Duration = .seconds(300)
    private static let leaseInterval: Duration = .seconds(1)

    /// Asks all nodes for their reports; those of nodes that answer in time.
    package typealias Observe = @Sendable () async -> [NodeID: VecraftInternalV1.NodeReport]

    private let own: NodeID
    private let document: ClusterDocument
    private let map: MapStore
    private let store: any MetadataStore
    private let observe: Observe
    private let catalog: @Sendable () -> CatalogView?
    private let record: @Sendable (Decision) -> Void
    private let metrics: ControlMetrics
    private let planner: Planner
    private let settings: LivenessSettings
    private let isLeading = Atomic(false)
    /// What the last plan needed and could not have.
    private let lastBlocked: Mutex<[String]> = Mutex([])
    private let log = Logger(label: "vecraft.control")

    /// - Parameters:
    ///   - catalog: Nil while this node does not know the collections yet.
    ///   - record: Told of each decision that was written; at once.
    package init(
        own: NodeID, document: ClusterDocument, map: MapStore, store: any MetadataStore, settings: LivenessSettings,
        planner: PlannerSettings, metrics: ControlMetrics, observe: @escaping Observe,
        catalog: @escaping @Sendable () -> CatalogView?, record: @escaping @Sendable (Decision) -> Void
    ) {
        self.own = own
        self.document = document
        self.map = map
        self.store = store
        self.settings = settings
        self.planner = Planner(settings: planner)
        self.metrics = metrics
        self.observe = observe
        self.catalog = catalog
        self.record = record
    }

    private func mayDecide(_ map: ClusterMap) -> Bool {
        [.joining, .active, .draining].contains(map.nodes[self.own]?.state)
    }

    package var leads: Bool { self.isLeading.load(ordering: .relaxed) }

    /// Nothing where another node decides.
    package var blocked: [String] { self.leads ? self.lastBlocked.withLock { $0 } : [] }

    /// Until the task is cancelled.
    package func run() async {
        while !Task.isCancelled {
            // Who is drained or removed does not hear of what it would decide on.
            await self.map.wait { self.mayDecide($0) }
            if Task.isCancelled { return }
            do throws(VecraftError) {
                let election = try Election(self.store, key: Self.electionKey, ttl: Self.electionTTL)
                let leadership = try await election.campaign(Array("\(self.own.rawValue)".utf8))
                self.isLeading.store(true, ordering: .relaxed)
                self.metrics.isController.set(1)
                self.log.notice(
                    "decides for the cluster",
                    metadata: ["node": "\(self.own.rawValue)", "epoch": "\(self.map.map.epoch)"])
                await self.lead(leadership)
                self.isLeading.store(false, ordering: .relaxed)
                self.metrics.isController.set(0)
                self.log.notice("decides no longer", metadata: ["node": "\(self.own.rawValue)"])
                // Another need not wait for the lease to run out; if this fails, it must. Done also when this task is cancelled.
                await Task { try? await leadership.resign() }.value
            } catch {
                if Task.isCancelled { return }
                self.log.error(
                    "the election of a controller failed and is tried again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    /// Who decides now; nil: nobody.
    package static func controller(_ store: any MetadataStore) async throws(VecraftError) -> NodeID? {
        let election = try Election(store, key: Self.electionKey, ttl: Self.electionTTL)
        return try await election.leader().flatMap { UInt64(String(decoding: $0.value, as: UTF8.self)) }.map {
            NodeID($0)
        }
    }

    // MARK: Leading

    /// What one controller knows, for as long as it leads.
    private struct View {
        var liveness: Liveness
        var halts: HaltPatience
        var reports: [NodeID: NodeObservation] = [:]
        var groups: [NodeID: [VecraftInternalV1.GroupReport]] = [:]
        var startingSince: [NodeID: Duration] = [:]
        var leasesAsked: Duration?
        var blocked: [String] = []
    }

    private func lead(_ leadership: Leadership) async {
        let began = ContinuousClock.now
        func now() -> Duration { began.duration(to: .now) }
        var view = View(
            liveness: Liveness(settings: self.settings, now: .zero),
            halts: HaltPatience(patience: self.settings.downAfter))
        do throws(VecraftError) { try await self.map.refresh() } catch {
            self.log.error("nothing can be decided without the cluster map", metadata: ["error": "\(error.message)"])
            // Another may fare better, and is not to be outrun.
            try? await Task.sleep(for: .seconds(2))
            return
        }
        while leadership.isHeld, !Task.isCancelled, self.mayDecide(self.map.map) {
            let round = now()
            await self.hear(&view, now)
            let planned = now()
            var isBusy = false
            do throws(VecraftError) {
                let plan = try await self.plan(&view)
                isBusy = !plan.decisions.isEmpty
                for decision in plan.decisions {
                    guard leadership.isHeld, now() - planned < Self.planAge else { break }
                    try await self.write(decision)
                }
            } catch {
                if error.reason == "STALE_EPOCH" { self.metrics.refused.increment() }
                self.log.info("a plan ends early", metadata: ["why": "\(error.message)"])
            }
            // What is decided is soon done where it is small, and more is to follow then.
            let pause = isBusy ? self.settings.heartbeat / 5 : self.settings.heartbeat
            let rest = pause - (now() - round)
            if rest > .zero { try? await Task.sleep(for: rest) }
        }
    }

    private func hear(_ view: inout View, _ now: () -> Duration) async {
        let nodes = self.map.map.presentNodes.map(\.id)
        view.liveness.watch(nodes, now: now())
        let answers = await self.observe()
        for node in nodes {
            guard let report = answers[node] else { continue }
            if report.complete {
                view.startingSince[node] = nil
                view.reports[node] = view.halts.heard(node, NodeObservation(report), now: now())
                view.groups[node] = report.groups
            } else {
                // It lives, and what it has is not known yet.
                view.reports[node] = nil
                view.groups[node] = nil
                let since = view.startingSince[node] ?? now()
                view.startingSince[node] = since
                guard now() - since < Self.startingLimit else { continue }
            }
            if let change = view.liveness.heard(node, now: now()) { self.tell(change) }
        }
        if view.leasesAsked.map({ now() - $0 >= Self.leaseInterval }) ?? true {
            view.leasesAsked = now()
            // Without them everybody counts as without a lease: the shorter patience, as if there were none.
            let alive = (try? await NodeRegistration.alive(self.store)) ?? []
            for node in nodes { view.liveness.lease(node, isHeld: alive.contains(node)) }
        }
        for change in view.liveness.tick(now: now()) { self.tell(change) }
        let health = view.liveness.healths
        for kind in NodeHealth.allCases {
            self.metrics.nodes.with(kind.rawValue).set(health.values.reduce(0) { $0 + ($1 == kind ? 1 : 0) })
        }
    }

    private func tell(_ change: Liveness.Transition) {
        self.metrics.transitions.with(change.to.rawValue).increment()
        self.log.notice(
            "a node's health changed",
            metadata: [
                "node": "\(change.node.rawValue)", "from": "\(change.from.rawValue)", "to": "\(change.to.rawValue)",
                "why": "\(change.reason)",
            ])
    }

    // MARK: Planning

    private func plan(_ view: inout View) async throws(VecraftError) -> Plan {
        try await self.addWhatIsNew(view)
        let map = self.map.map
        var observations = Observations(health: view.liveness.healths, nodes: view.reports)
        for (id, record) in map.partitions { observations.groups[id] = self.group(record, view) }
        let began = ContinuousClock.now
        let plan = self.planner.plan(map, observations)
        self.metrics.planSeconds.observe(nanoseconds: UInt64(began.duration(to: .now) / .nanoseconds(1)))
        self.show(map, plan, &view)
        return plan
    }

    /// What the leader says; of two, the one of the later term.
    private func group(_ record: JournalRecord, _ view: View) -> GroupObservation? {
        var best: (term: UInt64, group: GroupObservation)?
        for (node, groups) in view.groups where view.liveness.health(of: node).isReachable {
            guard let group = groups.first(where: { $0.partition == record.id.description }) else { continue }
            if let best, best.term >= group.term { continue }
            func ids(_ values: [UInt64]) -> [NodeID] { values.map { NodeID($0) } }
            best = (
                group.term,
                GroupObservation(
                    record, leader: node, voters: ids(group.voters), learners: ids(group.learners),
                    isJoint: group.joint,
                    caughtUp: ids(group.caughtUp), changed: group.changed)
            )
        }
        return best?.group
    }

    /// Partitions of a new cluster; collections that were made and dropped.
    private func addWhatIsNew(_ view: View) async throws(VecraftError) {
        let map = self.map.map
        let missing = self.document.partitions.filter { map.partitions[$0] == nil }
        if !missing.isEmpty {
            let active = map.presentNodes.filter { $0.state == .active && view.liveness.health(of: $0.id) == .up }
            // With fewer the groups would begin smaller than is wanted, and have to grow.
            guard active.count >= self.document.voters else { return }
            for id in missing {
                try await self.write(
                    .addPartition(id, wanted: self.document.voters), "a new cluster: \(active.count) nodes are here")
            }
        }
        guard let catalog = self.catalog(), missing.isEmpty else { return }
        for schema in catalog.collections where self.map.map.collections[schema.id] == nil {
            try await self.write(
                .addCollection(
                    schema.id, shards: Int(schema.shards), replication: self.document.replicas,
                    partition: schema.partition),
                "collection \"\(schema.name)\" of tenant \"\(schema.tenant)\" was made")
        }
        let known = Set(catalog.collections.map(\.id))
        for id in self.map.map.collections.keys.sorted() where !known.contains(id) && id <= catalog.reached {
            try await self.write(.dropCollection(id), "the collection was dropped")
        }
    }

    private func write(_ change: MapChange, _ reason: String) async throws(VecraftError) {
        try await self.write(Decision(epoch: self.map.map.epoch, change: change, reason: reason))
    }

    private func write(_ decision: Decision) async throws(VecraftError) {
        try await self.map.commit(decision.change, expecting: decision.epoch)
        self.metrics.decisions.with(decision.change.kind).increment()
        self.log.notice(
            "decided",
            metadata: ["change": "\(decision.change)", "why": "\(decision.reason)", "epoch": "\(decision.epoch + 1)"])
        self.record(decision)
    }

    private func show(_ map: ClusterMap, _ plan: Plan, _ view: inout View) {
        self.metrics.blocked.set(plan.blocked.count)
        var states: [Placement.ShardReplica.State: Int] = [:]
        var missing = 0
        for collection in map.collections.values {
            for shard in collection.shards {
                missing += max(0, collection.replication - shard.liveCount)
                for replica in shard.replicas { states[replica.state, default: 0] += 1 }
            }
        }
        for state in Placement.ShardReplica.State.allCases {
            self.metrics.replicas.with(state.rawValue).set(states[state] ?? 0)
        }
        self.metrics.missing.set(missing)
        for mistake in plan.mistakes {
            self.log.critical("the planner was refused by its own map", metadata: ["what": "\(mistake)"])
        }
        self.lastBlocked.withLock { $0 = plan.blocked }
        guard plan.blocked != view.blocked else { return }
        view.blocked = plan.blocked
        for what in plan.blocked { self.log.warning("needed and not possible now", metadata: ["what": "\(what)"]) }
    }
}

extension NodeObservation {
    init(_ report: VecraftInternalV1.NodeReport) {
        self.init(
            epoch: report.mapEpoch, watchesMap: report.watchesMap,
            diskFree: report.diskFree == 0 ? nil : report.diskFree,
            diskTotal: report.diskTotal == 0 ? nil : report.diskTotal, busy: Int(report.busy),
            failedBuilds: Int(report.failedBuilds))
        for replica in report.replicas {
            guard let state = ReplicaObservation.State(rawValue: replica.state) else { continue }
            self.replicas[replica.incarnation] = ReplicaObservation(
                state, applied: replica.appliedOffset, bytes: replica.bytes, progress: Int(replica.progress),
                readsInFlight: Int(replica.readsInFlight))
        }
        for journal in report.journals {
            self.journals[journal.incarnation] = !journal.running ? .lost : journal.halted.isEmpty ? .running : .halted
        }
        self.haltedPartitions = Set(report.haltedPartitions.compactMap { PartitionID($0) })
    }
}

extension MapChange {
    /// As a metric's label.
    var kind: String {
        switch self {
        case .describeNode: "describe_node"
        case .drainNode: "drain_node"
        case .cancelDrain: "cancel_drain"
        case .removeNode: "remove_node"
        case .addCollection: "add_collection"
        case .setReplication: "set_replication"
        case .dropCollection: "drop_collection"
        case .addPartition: "add_partition"
        case .setWantedVoters: "set_wanted_voters"
        case .activateNode: "activate_node"
        case .finishDrain: "finish_drain"
        case .placeReplicas: "place_replicas"
        case .promoteReplicas: "promote_replicas"
        case .retireReplica: "retire_replica"
        case .reinstateReplica: "reinstate_replica"
        case .cancelReplica: "cancel_replica"
        case .discardReplica: "discard_replica"
        case .forgetReplica: "forget_replica"
        case .startPartition: "start_partition"
        case .addLearner: "add_learner"
        case .removeLearner: "remove_learner"
        case .setVoters: "set_voters"
        case .forgetJournalReplica: "forget_journal_replica"
        }
    }
}
