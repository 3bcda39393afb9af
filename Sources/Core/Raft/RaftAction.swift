/// What the driver is to do, in this order. `docs/RAFT.md` says what it may do at the same time and what it must not.
package enum RaftAction: Equatable, Sendable {
    /// Loss is no error. The entries of an append are read from the log's store, where they may not be durable yet.
    case send(RaftMessage)
    /// Make this durable, then call ``RaftReplica/saved(_:now:)``. A later one replaces it.
    case save(HardState, SaveTicket)
    /// Put entries into the log, make them durable, then call ``RaftReplica/written(_:now:)``. Strictly in order.
    case write(WriteOrder)
    /// Committed through here: final, on a majority's disks, though perhaps not yet on this one.
    case commit(LogIndex)
    case lead(Term)
    /// Follows `leader` in a term, or nobody known yet. What was proposed here and is not committed may still be, or be lost.
    case follow(Term, leader: ReplicaID?)
    /// A strong read may be answered from what is committed through `index`.
    case readReady(id: UInt64, index: LogIndex)
    /// It was not confirmed that this replica leads: ask again, elsewhere.
    case readRefused(id: UInt64)
    /// Keep the start durably, then remove the entries at or before it.
    case trim(LogStart)
    /// Send the log's segments to a peer that is behind its start; report progress and end.
    case sendLog(LogTransfer)
    /// A staged transfer is of no use: remove it.
    case discardLog(LogTransfer)
    /// The committed configuration is without this replica.
    case retire
    /// A rule that may never break is broken. The replica does nothing more; its data must be looked at by a person.
    case halt(String)
}

package typealias SaveTicket = UInt64
package typealias WriteTicket = UInt64

package struct WriteOrder: Equatable, Sendable {
    package enum Content: Equatable, Sendable {
        /// The batch of the ``RaftReplica/propose(count:bytes:now:)`` that is being answered.
        case proposed
        /// An entry of the leader's own with no effect: it commits what older terms left (Raft paper, 8).
        case barrier
        case configuration
        /// Entries that came with the append message being answered; those before `entries.first` are there already.
        case received
        /// A staged transfer takes the place of the whole log, atomically.
        case transfer(LogTransfer)
    }

    package var ticket: WriteTicket
    package var content: Content
    package var entries: EntryRange
    /// Remove the log from here on first, and make that durable before anything is written in its place: else a crash could leave
    /// new entries with old ones behind them.
    package var truncateFrom: LogIndex?
}

/// A log on its way to a peer that is behind the leader's log start.
package struct LogTransfer: Equatable, Sendable {
    package var from: ReplicaID
    package var to: ReplicaID
    package var term: Term
    /// One above the leader's last, so that a late report is told apart.
    package var number: UInt64
    package var start: LogStart
    /// The last entry of it; committed.
    package var through: LogPosition

    package init(from: ReplicaID, to: ReplicaID, term: Term, number: UInt64, start: LogStart, through: LogPosition) {
        self.from = from
        self.to = to
        self.term = term
        self.number = number
        self.start = start
        self.through = through
    }
}

/// Why a request was not taken. Nothing has changed.
package enum RaftRefusal: Error, Equatable, Sendable {
    case notLeader(hint: ReplicaID?)
    /// Leadership is being handed over.
    case handingOver(to: ReplicaID)
    /// A limit of ``RaftSettings``, by its name.
    case limit(String, Int)
    /// An earlier change is not through, or the leader has committed nothing in its term yet.
    case changePending
    /// `entries` behind; at most `limit`.
    case learnerBehind(ReplicaID, entries: UInt64, limit: UInt64)
    /// It has not answered this leader since it was added, or for the longest election timeout: what it has is not known.
    case learnerSilent(ReplicaID)
    /// Of the voters wanted, too few have been heard from.
    case wouldLoseQuorum
    case invalid(String)
    case halted(String)
}
