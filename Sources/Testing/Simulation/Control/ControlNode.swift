internal import Placement
internal import Primitives

/// A node as it truly is. Its driver is the simplest that keeps to what `docs/CONTROL.md` asks of one.
final class ControlNode {
    struct HeldShard {
        let id: ShardID
        var isComplete = false
        var isFailed = false
        var progress = 0
        var applied: JournalOffset = 0
    }
    let id: NodeID
    let zone: String
    let weight: UInt32
    var isUp = true
    /// The machine is gone, its disk with it.
    var isGoneForGood = false
    var isCutFromStore = false
    /// No controller hears it.
    var isCutFromControl = false
    /// The newest map it has seen; kept on its disk.
    var view = ClusterMap()
    var shards: [Incarnation: HeldShard] = [:]
    var journals: [Incarnation: PartitionID] = [:]
    /// Partitions whose replicas here do nothing more until the node is started anew, and since when.
    var halted: [PartitionID: Int] = [:]
    /// It started on an empty disk: what the first map that it reads gives it, it had and has lost.
    var isEmpty = true
    var lost: Set<Incarnation> = []
    /// Nobody could hear it since.
    var silentSince: Int?
    var nextLook = 0
    var catchUpUntil = 0
    var returnAt: Int?
    /// When it dies for a moment.
    var flaps: [Int] = []
    /// When it was last heard of again.
    var lastReturn = -1000
    private var wipedAt = -1000
    var failedBuilds = 0

    init(id: NodeID, zone: String, weight: UInt32) {
        self.id = id
        self.zone = zone
        self.weight = weight
    }

    var isHeard: Bool { self.isUp && !self.isCutFromControl }

    /// Whether it is known to be away for so many steps; for less, nobody can know.
    func isAway(at step: Int, for steps: Int) -> Bool { self.silentSince.map { step - $0 > steps } ?? false }

    /// Whether it was then that it lost its disk.
    func isEmptySince(_ step: Int) -> Bool { self.wipedAt == step }

    func wipe(at step: Int) {
        self.wipedAt = step
        self.shards = [:]
        self.journals = [:]
        self.halted = [:]
        self.view = ClusterMap()
        self.lost = []
        self.isEmpty = true
    }

    /// Takes over a newer map: makes what it is given, deletes what it is not given any more.
    func see(_ map: ClusterMap) {
        guard map.epoch > self.view.epoch else { return }
        self.view = map
        var assigned: Set<Incarnation> = []
        for collection in map.collections.values {
            for (i, shard) in collection.shards.enumerated() {
                guard let replica = shard.replica(on: self.id) else { continue }
                let which = replica.incarnation
                assigned.insert(which)
                if self.isEmpty { self.lost.insert(which) }
                if replica.state == .building, self.shards[which] == nil, !self.lost.contains(which) {
                    self.shards[which] = HeldShard(id: ShardID(collection: collection.id, shard: UInt32(i)))
                }
            }
        }
        for record in map.partitions.values {
            for replica in record.replicas where replica.node == self.id {
                assigned.insert(replica.incarnation)
                if self.isEmpty { self.lost.insert(replica.incarnation) }
                if replica.role != .leaving, self.journals[replica.incarnation] == nil,
                    !self.lost.contains(replica.incarnation)
                {
                    self.journals[replica.incarnation] = record.id
                }
            }
        }
        self.isEmpty = false
        self.shards = self.shards.filter { assigned.contains($0.key) }
        self.journals = self.journals.filter { assigned.contains($0.key) }
        self.lost.formIntersection(assigned)
    }

    /// - Parameter end: Of the shards' journals: a replica is ready when it is within 1,000 entries.
    func report(at step: Int, end: JournalOffset, using rng: inout SeededRNG) -> NodeObservation {
        var report = NodeObservation(
            epoch: self.view.epoch, watchesMap: !self.isCutFromStore, failedBuilds: self.failedBuilds)
        for (which, held) in self.shards.sorted(by: { $0.key < $1.key }) {
            let state: ReplicaObservation.State =
                held.isFailed
                ? .failed
                : !held.isComplete || held.applied + 1000 < end
                    ? .building : step < self.catchUpUntil ? .catchingUp : .ready
            report.replicas[which] = ReplicaObservation(
                state, applied: held.applied, bytes: Self.bytes(held.id), progress: held.progress,
                readsInFlight: UInt8.random(in: 0..<4, using: &rng) == 0 ? 1 : 0)
        }
        for (which, id) in self.journals { report.journals[which] = self.halted[id] == nil ? .running : .halted }
        report.haltedPartitions = Set(self.halted.keys)
        for which in self.lost {
            report.replicas[which] = ReplicaObservation(.lost)
            report.journals[which] = .lost
        }
        return report
    }

    /// A shard's size, none to three units.
    static func bytes(_ id: ShardID) -> UInt64 {
        let hash = StableHash.of("\(id)")
        return hash % 4 == 0 ? (hash >> 8) % (3 << 30) : 1 << 20
    }
}

/// A partition's group as it truly is: what Raft would have agreed on, with its majorities but without its messages.
final class ControlGroup {
    let id: PartitionID
    var voters: [Incarnation]
    var learners: [Incarnation] = []
    /// Voters being entered, and of which record.
    var joint: [Incarnation]?
    var changed: MapEpoch
    var leader: Incarnation?
    var electionAt = 0
    /// Steps until a learner has the log.
    var behind: [Incarnation: Int] = [:]
    /// It began: its voters have their logs.
    var wasLed = false

    init(id: PartitionID, voters: [Incarnation], changed: MapEpoch) {
        self.id = id
        self.voters = voters
        self.changed = changed
    }

    func isMember(_ which: Incarnation) -> Bool {
        self.voters.contains(which) || self.learners.contains(which) || self.joint?.contains(which) == true
    }

    func observation(leader: Incarnation, isAlive: (Incarnation) -> Bool) -> GroupObservation {
        let caughtUp = (self.voters + self.learners).filter { isAlive($0) && self.behind[$0, default: 0] == 0 }
        return GroupObservation(
            leader: leader, voters: Set(self.voters), learners: Set(self.learners), isJoint: self.joint != nil,
            caughtUp: Set(caughtUp), changed: self.changed)
    }
}

func isMajority(_ voters: [Incarnation], _ counts: (Incarnation) -> Bool) -> Bool {
    voters.reduce(0) { $0 + (counts($1) ? 1 : 0) } > voters.count / 2
}
