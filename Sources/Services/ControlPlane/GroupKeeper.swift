package import JournalService
internal import Logging
package import Placement
internal import Primitives
package import Raft
internal import Synchronization

/// Brings the groups that this node leads to what the map says, one change at a time (``GroupStep``), and has every other node
/// follow them as a learner: so each node has the whole journal beside its shards, and whoever is to vote next has it already.
package final class GroupKeeper: Sendable {
    private static let pause: Duration = .milliseconds(100)
    /// So far behind, a member could vote at once: Raft's own bound is looser.
    private static let caughtUp: JournalOffset = 1_000
    /// Heard from within this.
    private static let silence: UInt64 = 1_000_000_000

    private let own: NodeID
    private let journal: ReplicatedJournal
    private let map: MapStore
    /// By partition: of the newest record that the group was seen to be brought to.
    private let settled: Mutex<[PartitionID: MapEpoch]> = Mutex([:])
    private let said: Mutex<[PartitionID: String]> = Mutex([:])
    private let log = Logger(label: "vecraft.control.groups")

    package init(own: NodeID, journal: ReplicatedJournal, map: MapStore) {
        self.own = own
        self.journal = journal
        self.map = map
    }

    /// Until the task is cancelled.
    package func run() async {
        while !Task.isCancelled {
            for replica in self.journal.replicas {
                let status = replica.status
                guard status.role == .leader else { continue }
                await self.tend(replica, status)
            }
            try? await Task.sleep(for: Self.pause)
        }
    }

    private func tend(_ replica: JournalService.JournalReplica, _ status: ReplicaStatus) async {
        let map = self.map.map
        guard let record = map.partitions[status.partition], record.changed > 0, !status.membership.isJoint else {
            return
        }
        guard let change = self.next(status, record, map) else { return }
        do throws(VecraftError) {
            // A leader with an old map must not undo what a newer one decided.
            try await self.map.confirm()
            let newest = self.map.map
            guard newest.partitions[status.partition] == record, newest.nodes == map.nodes else { return }
            let result = await withCheckedContinuation { continuation in
                replica.change(change) { continuation.resume(returning: $0) }
            }
            _ = try result.get()
            self.said.withLock { $0[status.partition] = nil }
            self.log.notice(
                "members change",
                metadata: ["partition": "\(status.partition)", "change": "\(change)", "epoch": "\(newest.epoch)"])
        } catch {
            // Tried again ten times a second: the same is no news.
            guard self.said.withLock({ $0.updateValue(error.message, forKey: status.partition) }) != error.message
            else { return }
            self.log.info(
                "a change of members waits",
                metadata: ["partition": "\(status.partition)", "change": "\(change)", "for": "\(error.message)"])
        }
    }

    private func next(_ status: ReplicaStatus, _ record: JournalRecord, _ map: ClusterMap) -> MembershipChange? {
        let group = Self.observation(status, record, own: self.own, changed: 0)
        func node(_ which: Incarnation) -> ReplicaID? { record.replica(which).map { ReplicaID($0.node.rawValue) } }
        switch GroupStep.next(record, group) {
        case .addLearner(let which): return node(which).flatMap { self.adding($0, status) }
        case .setVoters(let voters): return .setVoters(voters.compactMap(node))
        case .removeLearner(let which): return node(which).map { .removeLearner($0) }
        case nil: break
        }
        if group.voters == Set(record.voters.map(\.incarnation)) {
            self.settled.withLock { $0[status.partition] = record.changed }
        }
        let followers = map.nodes.values.filter { $0.state != .removed && $0.state != .joining }
            .map { ReplicaID($0.id.rawValue) }
        let members = status.membership
        if let new = followers.sorted().first(where: { members.member($0) == nil }) { return .addLearner(new) }
        // Who was drained follows until it is removed: it may come back, and its clients are answered until it is stopped.
        let gone = members.learners.first { id in map.nodes[NodeID(id.rawValue)].map { $0.state == .removed } ?? true }
        return gone.map { .removeLearner($0) }
    }

    /// Nil if it follows already.
    private func adding(_ id: ReplicaID, _ status: ReplicaStatus) -> MembershipChange? {
        status.membership.member(id) == nil ? .addLearner(id) : nil
    }

    // MARK: What is said of groups

    /// The groups that this node leads.
    package var reports: [(status: ReplicaStatus, caughtUp: [ReplicaID], changed: MapEpoch)] {
        self.journal.replicas.map(\.status).filter { $0.role == .leader }.map { status in
            (status, Self.caughtUp(status), self.settled.withLock { $0[status.partition] ?? 0 })
        }
    }

    private static func caughtUp(_ status: ReplicaStatus) -> [ReplicaID] {
        [status.replica]
            + status.peers.filter { $0.silence < Self.silence && $0.match + Self.caughtUp >= status.last }.map(\.id)
    }

    private static func observation(
        _ status: ReplicaStatus, _ record: JournalRecord, own: NodeID, changed: MapEpoch
    ) -> GroupObservation {
        GroupObservation(
            record, leader: own, voters: status.membership.voters.map { NodeID($0.rawValue) },
            learners: status.membership.learners.map { NodeID($0.rawValue) }, isJoint: status.membership.isJoint,
            caughtUp: Self.caughtUp(status).map { NodeID($0.rawValue) }, changed: changed)
    }
}

extension GroupObservation {
    /// From nodes to the map's replicas of a partition. Learners that the map does not know follow as every node does, and are no
    /// part of the group as far as its planner is concerned.
    init(
        _ record: JournalRecord, leader: NodeID, voters: [NodeID], learners: [NodeID], isJoint: Bool,
        caughtUp: [NodeID],
        changed: MapEpoch
    ) {
        /// A voter that the map knows nothing of is in the way of every plan until it is gone, so it has a name nobody else has.
        func name(_ node: NodeID) -> Incarnation { record.replica(on: node)?.incarnation ?? .max - node.rawValue }
        let wanted = learners.filter { node in record.replica(on: node).map { $0.role != .leaving } ?? false }
        self.init(
            leader: name(leader), voters: Set(voters.map(name)), learners: Set(wanted.map(name)), isJoint: isJoint,
            caughtUp: Set(caughtUp.map(name)), changed: changed)
    }
}
