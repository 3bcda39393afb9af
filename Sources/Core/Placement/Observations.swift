package import Primitives

/// What a node says about one of its shard replicas.
package struct ReplicaObservation: Equatable, Sendable {
    package enum State: String, Sendable {
        /// Copying, or replaying for the first time.
        case building
        /// The copying failed; it goes on only under another incarnation.
        case failed
        /// Complete, but behind since a restart.
        case catchingUp
        /// Complete, and within its lag bound.
        case ready
        /// The data is gone, or damaged beyond what the replica can mend.
        case lost
    }
    package var state: State
    package var applied: JournalOffset
    /// On disk; 0 if not known.
    package var bytes: UInt64
    /// A part of 1,000, while building.
    package var progress: Int
    /// Of a leaving replica.
    package var readsInFlight: Int

    package init(
        _ state: State, applied: JournalOffset = 0, bytes: UInt64 = 0, progress: Int = 0, readsInFlight: Int = 0
    ) {
        self.state = state
        self.applied = applied
        self.bytes = bytes
        self.progress = progress
        self.readsInFlight = readsInFlight
    }
}

/// The last report of a node. Complete: it reports once it has opened all it has, and what it does not name it does not have.
package struct NodeObservation: Equatable, Sendable {
    package enum JournalState: String, Sendable {
        case running
        /// Its log is there, and it does nothing more: its disk failed, or damage was found. A restart may mend it.
        case halted
        /// Halted for so long that another is to take its place (``HaltPatience``).
        case stuck
        case lost
    }
    /// Of the map it had acted on when it reported.
    package var epoch: MapEpoch
    /// It hears of changes of the map: else it would not begin what it is given.
    package var watchesMap: Bool
    package var replicas: [Incarnation: ReplicaObservation]
    package var journals: [Incarnation: JournalState]
    /// Whose replicas here have halted, those too that the map does not know: the node cannot take them.
    package var haltedPartitions: Set<PartitionID>
    package var diskFree: UInt64?
    package var diskTotal: UInt64?
    /// A part of 1,000 of its processors, averaged over minutes; decides between nodes that hold alike.
    package var busy: Int
    /// Builds that failed here lately.
    package var failedBuilds: Int

    package init(
        epoch: MapEpoch, watchesMap: Bool = true, replicas: [Incarnation: ReplicaObservation] = [:],
        journals: [Incarnation: JournalState] = [:], haltedPartitions: Set<PartitionID> = [],
        diskFree: UInt64? = nil, diskTotal: UInt64? = nil, busy: Int = 0, failedBuilds: Int = 0
    ) {
        self.epoch = epoch
        self.watchesMap = watchesMap
        self.replicas = replicas
        self.journals = journals
        self.haltedPartitions = haltedPartitions
        self.diskFree = diskFree
        self.diskTotal = diskTotal
        self.busy = busy
        self.failedBuilds = failedBuilds
    }
}

/// What the leader of a partition's group says of it.
package struct GroupObservation: Equatable, Sendable {
    package var leader: Incarnation
    package var voters: Set<Incarnation>
    package var learners: Set<Incarnation>
    package var isJoint: Bool
    /// Members that could vote at once.
    package var caughtUp: Set<Incarnation>
    /// ``JournalRecord/changed`` of the newest record that the group has acted on.
    package var changed: MapEpoch

    package init(
        leader: Incarnation, voters: Set<Incarnation>, learners: Set<Incarnation> = [], isJoint: Bool = false,
        caughtUp: Set<Incarnation> = [], changed: MapEpoch
    ) {
        self.leader = leader
        self.voters = voters
        self.learners = learners
        self.isJoint = isJoint
        self.caughtUp = caughtUp
        self.changed = changed
    }
}

/// All that is known beside the map.
package struct Observations: Equatable, Sendable {
    package var health: [NodeID: NodeHealth]
    package var nodes: [NodeID: NodeObservation]
    package var groups: [PartitionID: GroupObservation]

    package init(
        health: [NodeID: NodeHealth] = [:], nodes: [NodeID: NodeObservation] = [:],
        groups: [PartitionID: GroupObservation] = [:]
    ) {
        self.health = health
        self.nodes = nodes
        self.groups = groups
    }
}
