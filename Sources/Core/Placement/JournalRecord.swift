package import Primitives

/// One replica of a journal partition. Its Raft id is its incarnation: one that lost its data comes back as another.
package struct JournalReplica: Equatable, Sendable {
    package enum Role: String, Sendable, CaseIterable {
        case voter
        case learner
        /// Voted once, or is leaving the group. Its data is kept until the group says that it is no member.
        case leaving
    }
    package let node: NodeID
    package internal(set) var role: Role
    package let incarnation: Incarnation
    package let made: MapEpoch
    /// The voter that a learner takes the place of, when one is meant; else 0.
    package internal(set) var replaces: Incarnation

    init(node: NodeID, role: Role, incarnation: Incarnation, made: MapEpoch, replaces: Incarnation) {
        self.node = node
        self.role = role
        self.incarnation = incarnation
        self.made = made
        self.replaces = replaces
    }
}

/// The replicas that a journal partition is to have. The group's leader brings the group there (``GroupStep``).
package struct JournalRecord: Equatable, Sendable {
    package let id: PartitionID
    /// Voters wanted: 1, 3 or 5.
    package internal(set) var wanted: Int
    /// The epoch in which its replicas were last changed; 0: it was never started.
    package internal(set) var changed: MapEpoch
    package internal(set) var replicas: [JournalReplica]

    package var voters: [JournalReplica] { self.replicas.filter { $0.role == .voter } }
    package var learners: [JournalReplica] { self.replicas.filter { $0.role == .learner } }
    package func replica(_ incarnation: Incarnation) -> JournalReplica? {
        self.replicas.first { $0.incarnation == incarnation }
    }
    package func replica(on node: NodeID) -> JournalReplica? { self.replicas.first { $0.node == node } }

    package static let voterCounts = [1, 3, 5]
}
