package import Primitives

/// One replica of a group. A replica that lost its term or vote comes back under a new id only (Ongaro's thesis, section 3.8).
package struct ReplicaID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (a: ReplicaID, b: ReplicaID) -> Bool { a.rawValue < b.rawValue }
    package var description: String { "\(self.rawValue)" }
}

/// Raft's logical time: at most one leader each.
package typealias Term = UInt64

/// Position in the log, from 1, no gaps: the journal's offset.
package typealias LogIndex = JournalOffset

/// An entry's place and the term that made it. Two logs that share one share all before it (Raft paper, 5.3, log matching).
package struct LogPosition: Hashable, Sendable, CustomStringConvertible {
    package var index: LogIndex
    package var term: Term

    package init(index: LogIndex, term: Term) {
        self.index = index
        self.term = term
    }

    package static let zero = LogPosition(index: 0, term: 0)

    /// Whether a log that ends here has all that one ending at `other` may have committed (Raft paper, 5.4.1).
    package func isUpToDate(with other: LogPosition) -> Bool {
        (self.term, self.index) >= (other.term, other.index)
    }

    /// "7@3": index 7 of term 3.
    package var description: String { "\(self.index)@\(self.term)" }
}

/// A reading of a clock that never goes back and counts suspension too (Linux: `CLOCK_BOOTTIME`); its zero is the driver's choice.
package struct MonotonicInstant: Hashable, Comparable, Sendable {
    package var nanoseconds: UInt64
    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    package static let zero = MonotonicInstant(nanoseconds: 0)
    package static func < (a: MonotonicInstant, b: MonotonicInstant) -> Bool { a.nanoseconds < b.nanoseconds }
    package static func + (a: MonotonicInstant, b: Nanoseconds) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: a.nanoseconds &+ b)
    }
    /// Zero if `b` is later.
    package static func - (a: MonotonicInstant, b: MonotonicInstant) -> Nanoseconds {
        a.nanoseconds > b.nanoseconds ? a.nanoseconds &- b.nanoseconds : 0
    }
}

/// A span of ``MonotonicInstant``: the settings' `Duration`s, divided once.
package typealias Nanoseconds = UInt64

extension Duration {
    package var nanoseconds: Nanoseconds {
        let (seconds, attoseconds) = self.components
        return UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
    }
}
