package import Primitives

/// One copy of a shard.
package struct ShardReplica: Equatable, Sendable {
    package enum State: String, Sendable, CaseIterable {
        /// Not complete yet: it is counted as no copy, and answers nothing.
        case building
        /// Complete, follows the journal, answers.
        case live
        /// Complete, follows the journal, is asked nothing any more; may be made live again until it is forgotten.
        case leaving
    }
    package let node: NodeID
    package internal(set) var state: State
    package let incarnation: Incarnation
    /// The epoch that made it: a node that has seen it and does not report the replica has lost it.
    package let made: MapEpoch
    /// The replica of the same shard that it takes over from when the shard is moved; 0: none, or gone.
    package internal(set) var movesFrom: Incarnation

    init(node: NodeID, state: State, incarnation: Incarnation, made: MapEpoch, movesFrom: Incarnation) {
        self.node = node
        self.state = state
        self.incarnation = incarnation
        self.made = made
        self.movesFrom = movesFrom
    }
}

/// Where the copies of one shard are.
package struct ShardRecord: Equatable, Sendable {
    /// Orders its writes.
    package let partition: PartitionID
    /// The epoch in which it first had a live replica; 0: never, so that there is nothing to copy and nothing to lose.
    package internal(set) var firstLive: MapEpoch
    package internal(set) var replicas: [ShardReplica]

    package func replica(_ incarnation: Incarnation) -> ShardReplica? {
        self.replicas.first { $0.incarnation == incarnation }
    }
    package func replica(on node: NodeID) -> ShardReplica? { self.replicas.first { $0.node == node } }
    package var liveCount: Int { self.replicas.reduce(0) { $0 + ($1.state == .live ? 1 : 0) } }
}

/// A collection's shards.
package struct CollectionRecord: Equatable, Sendable {
    package let id: UInt64
    /// Live copies wanted of each shard.
    package internal(set) var replication: Int
    package let slots: SlotMap
    /// By shard index, as many as `slots` has ranges.
    package internal(set) var shards: [ShardRecord]

    /// Seven: three zones with two each and one to spare. More copies than that are a cache's work.
    package static let replications = 1...7
}
