/// What a replica must never forget, beside its log: a small file, replaced atomically (Raft paper, figure 2, persistent state).
package struct HardState: Equatable, Sendable, CustomStringConvertible {
    package var term: Term = 0
    package var votedFor: ReplicaID?
    /// How often this replica has come back without entries it had promised. Its peers tell by it answers from before a loss.
    package var incarnation: UInt32 = 0
    /// It has lost entries and not yet caught up past all it may have promised: it neither votes nor campaigns.
    package var isRecovering = false

    package init(term: Term = 0, votedFor: ReplicaID? = nil, incarnation: UInt32 = 0, isRecovering: Bool = false) {
        self.term = term
        self.votedFor = votedFor
        self.incarnation = incarnation
        self.isRecovering = isRecovering
    }

    package var description: String {
        let vote = self.votedFor.map { " voted \($0)" } ?? ""
        let recovering = self.isRecovering ? " recovering \(self.incarnation)" : ""
        return "term \(self.term)\(vote)\(recovering)"
    }
}

/// Where a log begins. Kept durably with ``HardState``, before what it leaves behind is removed.
package struct LogStart: Equatable, Sendable {
    /// Before the first entry; its entry is gone, and was committed.
    package var position: LogPosition
    /// What held there.
    package var membership: Membership

    package init(position: LogPosition = .zero, membership: Membership) {
        self.position = position
        self.membership = membership
    }
}

/// What is known of a log without its entries' content: found by the driver at start, or with a transferred log.
package struct LogSummary: Equatable, Sendable {
    package private(set) var start: LogStart
    private(set) var runs: TermRuns
    private(set) var memberships: MembershipHistory

    package init(start: LogStart) {
        self.start = start
        self.runs = TermRuns(start: start.position)
        self.memberships = MembershipHistory(base: start.membership, at: start.position.index)
    }

    package var last: LogPosition { self.runs.last }

    /// The next entries up to `index`, all of one term.
    package mutating func append(through index: LogIndex, term: Term) { self.runs.append(through: index, term: term) }

    /// The next entry, a configuration.
    package mutating func append(_ membership: Membership, term: Term) {
        let index = self.runs.lastIndex + 1
        self.runs.append(through: index, term: term)
        self.memberships.append(membership, at: index)
    }
}

/// What a replica starts with.
package struct RaftStart: Sendable {
    package var hardState: HardState
    package var log: LogSummary
    /// The log lacks entries that were durable once, or may have been: damage, not a tail torn before its sync.
    package var hasLostEntries: Bool

    package init(hardState: HardState = HardState(), log: LogSummary, hasLostEntries: Bool = false) {
        self.hardState = hardState
        self.log = log
        self.hasLostEntries = hasLostEntries
    }
}
