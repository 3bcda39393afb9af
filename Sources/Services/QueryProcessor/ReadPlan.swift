package import Primitives
package import StorageNode

/// What a read asks of freshness.
package struct ReadRequirement: Sendable {
    package var level: ConsistencyLevel
    /// For ``ConsistencyLevel/bounded``.
    package var maxStalenessMilliseconds: UInt64
    /// The session's token.
    package var session: SessionToken
    /// What the gateway remembers of this caller's writes to the partition.
    package var remembered: JournalOffset

    package static let defaultMaxStalenessMilliseconds: UInt64 = 1000

    package init(
        level: ConsistencyLevel = .readYourWrites,
        maxStalenessMilliseconds: UInt64 = Self.defaultMaxStalenessMilliseconds, session: SessionToken = SessionToken(),
        remembered: JournalOffset = 0
    ) {
        self.level = level
        self.maxStalenessMilliseconds = maxStalenessMilliseconds
        self.session = session
        self.remembered = remembered
    }
}

/// Which offset a replica must have applied before a read may be answered from it, and what the answer then is worth.
///
/// Decided once, when the read arrives (design section 8); later writes of others do not move the goal.
package struct ReadPlan: Sendable {
    package let partition: PartitionID
    package let requirement: ReadRequirement
    /// The offset to wait for.
    package private(set) var needed: JournalOffset
    /// Committed offset when the read arrived.
    package private(set) var committedAtStart: JournalOffset
    /// What is committed must first be asked of the partition's leader (ReadIndex).
    package private(set) var needsConfirmation = false
    /// True once the read had to wait.
    package var waited = false

    /// - Parameter isReplicated: This process may not have heard yet of all that is committed.
    package init(
        _ requirement: ReadRequirement, partition: PartitionID, replica: ReplicaState, isReplicated: Bool = false
    ) {
        self.partition = partition
        self.requirement = requirement
        self.committedAtStart = replica.committed
        switch requirement.level {
        case .eventual:
            self.needed = 0
        case .bounded:
            let isStale = replica.stalenessMilliseconds > requirement.maxStalenessMilliseconds
            self.needed = isStale ? replica.committed : 0
            self.needsConfirmation = isStale && isReplicated
        case .readYourWrites:
            self.needed = max(requirement.session.offset(of: partition), requirement.remembered, replica.floor)
        case .strong:
            self.needed = replica.committed
            self.needsConfirmation = isReplicated
        }
        // Of a replicated partition this process knows no more than its leader last told.
        if isReplicated { self.committedAtStart = .max }
    }

    /// The leader says what is committed.
    package mutating func confirm(_ committed: JournalOffset) {
        self.needsConfirmation = false
        self.needed = max(self.needed, committed)
        self.committedAtStart = committed
    }

    /// Of a bounded read from several nodes: each part is judged where it is.
    package mutating func leaveToParts() {
        self.needsConfirmation = false
        self.needed = 0
    }

    package func isSatisfied(by applied: JournalOffset) -> Bool { !self.needsConfirmation && applied >= self.needed }

    /// The strongest level that an answer from `applied` is known to satisfy. Never weaker than asked for.
    package func achieved(applied: JournalOffset, stalenessMilliseconds: UInt64) -> ConsistencyLevel {
        precondition(self.isSatisfied(by: applied), "answered at \(applied), needed \(self.needed)")
        if applied >= self.committedAtStart { return .strong }
        if self.requirement.level == .readYourWrites { return .readYourWrites }
        if stalenessMilliseconds <= self.requirement.maxStalenessMilliseconds, self.requirement.level == .bounded {
            return .bounded
        }
        return self.requirement.level
    }

    /// A token that this session can never see journal beyond the end of is a mistake (another cluster's, or restored data).
    package func tokenIsFromTheFuture(committed: JournalOffset) -> Bool {
        self.requirement.level == .readYourWrites && self.requirement.session.offset(of: self.partition) > committed
    }
}
