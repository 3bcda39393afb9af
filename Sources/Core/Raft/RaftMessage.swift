/// Entries of one term that stand behind each other. Their content travels beside the message and never enters the machine.
package struct EntryRange: Equatable, Sendable {
    package var first: LogIndex
    package var last: LogIndex
    package var term: Term
    /// Of the entries' frames; what limits are counted in.
    package var bytes: Int
    /// Set for a configuration entry, which is always alone in its range.
    package var membership: Membership?

    package init(first: LogIndex, last: LogIndex, term: Term, bytes: Int, membership: Membership? = nil) {
        self.first = first
        self.last = last
        self.term = term
        self.bytes = bytes
        self.membership = membership
    }

    package var count: UInt64 { self.last - self.first + 1 }
}

/// What replicas of one group say to each other. Any may be lost, late, doubled or overtaken.
package struct RaftMessage: Equatable, Sendable {
    package var from: ReplicaID
    package var to: ReplicaID
    /// The sender's, except for pre-votes: the term it would campaign in, and the same again in a granting answer.
    package var term: Term
    package var body: Body

    package init(from: ReplicaID, to: ReplicaID, term: Term, body: Body) {
        self.from = from
        self.to = to
        self.term = term
        self.body = body
    }

    package enum Body: Equatable, Sendable {
        /// Would you vote for me? Changes nothing (thesis, 9.6).
        case preVote(last: LogPosition)
        case preVoteReply(isGranted: Bool)
        /// - isTransfer: The leader asked for this campaign, so nobody need hold to it (thesis, 3.10 and 4.2.3).
        case vote(last: LogPosition, isTransfer: Bool)
        case voteReply(isGranted: Bool)
        case append(Append)
        case heartbeat(Heartbeat)
        case acknowledge(Acknowledge)
        case reject(Reject)
        /// How far entries are committed; not answered.
        case commit(LogIndex)
        /// Campaign at once (thesis, 3.10).
        case timeoutNow
        /// An answer to a leader of an older term: it leads no more.
        case outdated
    }

    package struct Append: Equatable, Sendable {
        package var previous: LogPosition
        /// Nil asks only whether `previous` is there.
        package var entries: EntryRange?
        package var commit: LogIndex
        package var round: UInt64

        package init(previous: LogPosition, entries: EntryRange? = nil, commit: LogIndex, round: UInt64) {
            self.previous = previous
            self.entries = entries
            self.commit = commit
            self.round = round
        }
    }

    package struct Heartbeat: Equatable, Sendable {
        package var commit: LogIndex
        /// Counts the leader's calls to all; an answer proves that it led when it began that round (thesis, 6.4).
        package var round: UInt64
        /// To a replica that lost entries: how far it must have caught up before it votes again.
        package var recovery: RecoveryPoint?

        package init(commit: LogIndex, round: UInt64, recovery: RecoveryPoint? = nil) {
            self.commit = commit
            self.round = round
            self.recovery = recovery
        }
    }

    package struct RecoveryPoint: Equatable, Sendable {
        package var incarnation: UInt32
        package var through: LogIndex

        package init(incarnation: UInt32, through: LogIndex) {
            self.incarnation = incarnation
            self.through = through
        }
    }

    package struct Acknowledge: Equatable, Sendable {
        /// As far as the log is the same as the leader's.
        package var matched: LogIndex
        /// As far as that is durable. At most `matched`.
        package var durable: LogIndex
        /// The newest heard from this leader.
        package var round: UInt64
        package var incarnation: UInt32
        package var isRecovering: Bool

        package init(matched: LogIndex, durable: LogIndex, round: UInt64, incarnation: UInt32, isRecovering: Bool) {
            self.matched = matched
            self.durable = durable
            self.round = round
            self.incarnation = incarnation
            self.isRecovering = isRecovering
        }
    }

    /// `previous` of an append is not in the log.
    package struct Reject: Equatable, Sendable {
        package var previous: LogIndex
        /// The last that may match: nothing between it and `previous` does (Raft paper, end of 5.3).
        package var hint: LogPosition
        package var incarnation: UInt32
        package var isRecovering: Bool

        package init(previous: LogIndex, hint: LogPosition, incarnation: UInt32, isRecovering: Bool) {
            self.previous = previous
            self.hint = hint
            self.incarnation = incarnation
            self.isRecovering = isRecovering
        }
    }
}

extension RaftMessage: CustomStringConvertible {
    /// "1 -> 2 append term 3: 4...6@3 after 3@2, commit 2".
    package var description: String {
        "\(self.from) -> \(self.to) \(self.body.name) term \(self.term)\(self.body.details)"
    }
}

extension RaftMessage.Body {
    package var name: String {
        switch self {
        case .preVote: "pre-vote"
        case .preVoteReply: "pre-vote reply"
        case .vote: "vote"
        case .voteReply: "vote reply"
        case .append: "append"
        case .heartbeat: "heartbeat"
        case .acknowledge: "acknowledge"
        case .reject: "reject"
        case .commit: "commit"
        case .timeoutNow: "timeout now"
        case .outdated: "outdated"
        }
    }

    fileprivate var details: String {
        switch self {
        case .preVote(let last): ": log ends \(last)"
        case .vote(let last, let isTransfer): ": log ends \(last)\(isTransfer ? ", by transfer" : "")"
        case .preVoteReply(let isGranted), .voteReply(let isGranted): isGranted ? ": granted" : ": refused"
        case .append(let append):
            ": \(append.entries.map(\.description) ?? "nothing") after \(append.previous), commit \(append.commit), round \(append.round)"
        case .heartbeat(let beat):
            ": commit \(beat.commit), round \(beat.round)\(beat.recovery.map { ", recover through \($0.through)" } ?? "")"
        case .acknowledge(let reply):
            ": matched \(reply.matched), durable \(reply.durable), round \(reply.round)\(reply.isRecovering ? ", recovering" : "")"
        case .reject(let reject):
            ": not after \(reject.previous), perhaps after \(reject.hint)\(reject.isRecovering ? ", recovering" : "")"
        case .commit(let index): ": \(index)"
        case .timeoutNow, .outdated: ""
        }
    }
}

extension EntryRange: CustomStringConvertible {
    package var description: String {
        let range = self.first == self.last ? "\(self.first)" : "\(self.first)...\(self.last)"
        return "\(range)@\(self.term)\(self.membership.map { " \($0)" } ?? "")"
    }
}
