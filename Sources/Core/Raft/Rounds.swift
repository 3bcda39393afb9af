/// A leader's calls to all, and when each began.
///
/// An answer to round `r` proves that the peer followed this leader at some time after `r` began. So a majority's answers prove that
/// it still led then (ReadIndex; thesis, 6.4), and that nobody else is elected for an election timeout after (lease; 6.4.1).
struct Rounds: Sendable {
    private static let kept: UInt64 = 64
    private(set) var current: UInt64 = 0
    /// Answered by a majority.
    private(set) var confirmed: UInt64 = 0
    /// Rounds before it began at an unknown time.
    private var firstTimed: UInt64 = 1
    private var began = [MonotonicInstant](repeating: .zero, count: Int(Self.kept))

    mutating func begin(at now: MonotonicInstant) {
        self.current += 1
        self.began[Int(self.current % Self.kept)] = now
    }

    mutating func confirm(_ round: UInt64) { self.confirmed = max(self.confirmed, round) }

    /// When the newest confirmed round began, on the raw clock.
    var confirmedSince: MonotonicInstant? {
        guard self.confirmed >= self.firstTimed, self.current - self.confirmed < Self.kept else { return nil }
        return self.began[Int(self.confirmed % Self.kept)]
    }

    /// The clock went back: what it said of earlier rounds is worth nothing now.
    mutating func forgetTimes() { self.firstTimed = self.current + 1 }
}

/// Strong reads that wait for a round to be confirmed, in order.
struct PendingReads: Sendable {
    struct Read: Sendable {
        let id: UInt64
        /// Committed when it came; or the leader's barrier, if that was not committed yet (thesis, 6.4, step 1).
        let index: LogIndex
        /// Began after the read came.
        let round: UInt64
    }
    private(set) var waiting = Ring<Read>()

    var count: Int { self.waiting.count }
    /// The round that the last one waits for.
    var lastRound: UInt64 { self.waiting.last?.round ?? 0 }

    mutating func add(id: UInt64, index: LogIndex, round: UInt64) {
        self.waiting.append(Read(id: id, index: index, round: round))
    }

    /// The next one that may be answered.
    mutating func next(confirmed: UInt64, commit: LogIndex) -> Read? {
        guard let first = self.waiting.first, first.round <= confirmed, first.index <= commit else { return nil }
        self.waiting.removeFirst()
        return first
    }

    /// The next one, whatever it waits for.
    mutating func removeFirst() -> Read? {
        guard let first = self.waiting.first else { return nil }
        self.waiting.removeFirst()
        return first
    }
}
