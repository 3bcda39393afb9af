package import Primitives
package import Raft

/// Where a replica of a partition stands, for those who route, watch and decide.
package struct ReplicaStatus: Sendable, Equatable {
    package var partition: PartitionID
    package var replica: ReplicaID
    package var role = RaftRole.follower
    package var term: Term = 0
    package var leader: ReplicaID?
    /// Since when none is known, by the monotonic clock; nil while one is.
    package var leaderlessSince: Nanoseconds?
    /// Committed, as far as this replica knows.
    package var committed: JournalOffset = 0
    /// Written here, committed or not.
    package var last: JournalOffset = 0
    package var first: JournalOffset = 1
    package var durable: JournalOffset = 0
    package var membership = Membership.none
    /// Its group has removed it, see ``RaftReplica/isLeftOut``.
    package var isLeftOut = false
    package var isRecovering = false
    /// What it keeps of how far the others are; a leader's alone.
    package var peers: [PeerProgress] = []
    /// How far they are behind; a leader's alone.
    package var lags: [PeerLag] = []
    package var inFlightBytes = 0
    /// Why this replica should not lead, if so: it gives leadership up to one that can.
    package var whyUnfit: String?
    /// Messages of replicas whose clocks are too far ahead, that were not taken or whose clocks were not.
    package var refusedClocks: UInt64 = 0
    package var counters = RaftCounters()
    /// Why it does nothing more.
    package var failure: String?

    package init(partition: PartitionID, replica: ReplicaID) {
        self.partition = partition
        self.replica = replica
    }

    /// Knows a leader, so that it can do its job.
    package var isReady: Bool { self.failure == nil && self.leader != nil }
}

/// How far a peer is behind its leader's log.
package struct PeerLag: Sendable, Equatable {
    package var id: ReplicaID
    package var entries: UInt64
    /// Of entries, as they stand in the log; estimated for those from before this leader.
    package var bytes: UInt64
    /// Since the first entry that it lacks was proposed; at least this, if another leader did.
    package var nanoseconds: Nanoseconds
}

extension VecraftError {
    /// Nothing was written: another replica leads, or none does at the moment.
    package static func notLeader(_ partition: PartitionID, hint: ReplicaID?) -> VecraftError {
        VecraftError(
            .unavailable, hint.map { "\(partition) is led by node \($0)" } ?? "\(partition) has no leader at the moment",
            reason: Self.notLeaderReason, retryAfter: .milliseconds(20), leader: hint?.rawValue)
    }
    package static let notLeaderReason = "NOT_LEADER"

    /// It may be in the log, and may yet be committed: the same idempotency key finds out.
    static func leadershipLost(_ partition: PartitionID) -> VecraftError {
        VecraftError(
            .unavailable,
            "\(partition) changed its leader before the entry was known to be committed; repeat under the same idempotency key",
            reason: Self.leadershipLostReason, retryAfter: .milliseconds(20))
    }
    package static let leadershipLostReason = "LEADERSHIP_LOST"

    static let learnerSilentReason = "LEARNER_SILENT"

    /// This node is no member of the partition's group any more, so it is told nothing and can ask nobody for it. Unavailable: the
    /// same request is right at another node.
    static func notAMember(_ partition: PartitionID, _ node: ReplicaID) -> VecraftError {
        VecraftError(
            .unavailable, "\(partition): node \(node) was removed from its group; ask one that is in it",
            reason: Self.notAMemberReason)
    }
    package static let notAMemberReason = "NOT_A_MEMBER"

    static func refusal(_ partition: PartitionID, _ refusal: RaftRefusal) -> VecraftError {
        switch refusal {
        case .notLeader(let hint): .notLeader(partition, hint: hint)
        case .handingOver(let to): .notLeader(partition, hint: to)
        case .limit(let name, let value):
            VecraftError(
                .resourceExhausted, "\(partition): \(name) is \(value)", field: name, reason: "JOURNAL_QUEUE_FULL",
                retryAfter: .milliseconds(100))
        case .changePending:
            VecraftError(
                .failedPrecondition, "\(partition): an earlier change of members is not through", reason: "CHANGE_PENDING",
                retryAfter: .milliseconds(100))
        case .learnerBehind(let id, let entries, let limit):
            VecraftError(
                .failedPrecondition, "\(partition): replica \(id) is \(entries) entries behind; at most \(limit) for a voter",
                reason: "LEARNER_BEHIND", retryAfter: .milliseconds(200))
        case .learnerSilent(let id):
            VecraftError(
                .failedPrecondition, "\(partition): node \(id) does not answer", reason: Self.learnerSilentReason,
                retryAfter: .seconds(1))
        case .wouldLoseQuorum:
            VecraftError(
                .failedPrecondition, "\(partition): too few of the voters wanted are heard from", reason: "WOULD_LOSE_QUORUM",
                retryAfter: .seconds(1))
        case .invalid(let what): VecraftError(.invalidArgument, "\(partition): \(what)")
        case .halted(let why): VecraftError(.internalError, "\(partition) has halted: \(why)", reason: "REPLICA_HALTED")
        }
    }
}
