internal import FileStore
internal import HLC
internal import JournalStore
internal import PeerTransport
internal import Primitives
internal import Raft

/// Appends that wait for their commitment.
struct AppendWaiters {
    private struct Waiter {
        let appended: Appended
        let arrivedAt: UInt64
        let completion: AppendCompletion
    }
    /// By offset, nearly: repeats of an entry that is not committed yet stand behind newer ones.
    private var waiting: [Waiter] = []
    private var head = 0
    mutating func add(_ appended: Appended, arrivedAt: UInt64, _ completion: @escaping AppendCompletion) {
        self.waiting.append(Waiter(appended: appended, arrivedAt: arrivedAt, completion: completion))
    }

    /// Answers those whose entries are committed.
    ///
    /// - Returns: When the oldest of them came; nil if there were none.
    mutating func commit(through index: LogIndex) -> UInt64? {
        var oldest: UInt64?
        // A repeat may stand behind entries newer than its own; it is answered with those at the latest.
        while self.head < self.waiting.count, self.waiting[self.head].appended.offset <= index {
            let waiter = self.waiting[self.head]
            self.head += 1
            oldest = min(oldest ?? .max, waiter.arrivedAt)
            waiter.completion(.success(waiter.appended))
        }
        if self.head == self.waiting.count {
            self.waiting.removeAll(keepingCapacity: true)
            self.head = 0
        } else if self.head > 4096, self.head > self.waiting.count / 2 {
            self.waiting.removeFirst(self.head)
            self.head = 0
        }
        return oldest
    }

    mutating func removeAll(_ each: (AppendCompletion) -> Void) {
        let rest = self.waiting[self.head...].map(\.completion)
        self.waiting = []
        self.head = 0
        for completion in rest { each(completion) }
    }
}

/// How far a partition's order is closed: no entry behind an offset will have an HLC below what is promised.
///
/// A leader promises what its clock said when it began the newest round that a majority has answered: each of them has moved its
/// own clock above that, an election needs one of them, and votes carry clocks. So whoever leads next stamps above it. Entries
/// that are stamped and not committed bound the promise too.
struct ClosedTimestamps {
    private var rounds: [(round: UInt64, hlc: HLCTimestamp)] = []
    /// Batches stamped and not committed: all HLCs of it are above.
    private var stamped: [(first: LogIndex, floor: HLCTimestamp)] = []
    /// From the leader, while this replica follows.
    private var heard: [ClosedTimestamp] = []

    private static let keptRounds = 64

    /// Entries from `first` on are going to be stamped above `floor`.
    mutating func stamps(after floor: HLCTimestamp, from first: LogIndex) { self.stamped.append((first, floor)) }

    mutating func committed(through index: LogIndex) {
        // A batch is committed when the next one's first is at most one beyond.
        while self.stamped.count > 1, self.stamped[1].first <= index + 1 { self.stamped.removeFirst() }
    }

    mutating func stopLeading() {
        self.rounds = []
        self.stamped = []
    }

    /// What a leader may say now.
    /// - Parameter steady: The time of the steady clock, which ``RaftReplica`` is driven by.
    mutating func promise(
        _ raft: borrowing RaftReplica, now: HLCTimestamp, wall: HLCTimestamp, steady: UInt64, isAlone: Bool
    ) -> ClosedTimestamp? {
        guard let rounds = raft.rounds else { return nil }
        if self.rounds.last?.round != rounds.current {
            // Never ahead of physical time, which the clock may be for seconds after a crash: staleness is measured by it.
            self.rounds.append((rounds.current, min(now, wall)))
            if self.rounds.count > Self.keptRounds { self.rounds.removeFirst() }
        }
        if raft.commit >= raft.last.index { self.stamped = [] }
        while self.rounds.count > 1, self.rounds[1].round <= rounds.confirmed { self.rounds.removeFirst() }
        // Before that, entries of earlier leaders stand between what is known to be committed and what this one has stamped.
        guard raft.hasBarrier else { return nil }
        var hlc: HLCTimestamp
        if isAlone {
            hlc = min(now, wall)
        } else if let first = self.rounds.first, first.round <= rounds.confirmed {
            hlc = first.hlc
        } else {
            return nil
        }
        if let floor = self.stamped.first?.floor { hlc = min(hlc, floor) }
        return ClosedTimestamp(
            offset: raft.commit, hlc: hlc, since: isAlone ? steady : raft.confirmedSince?.nanoseconds)
    }

    mutating func heard(_ closed: ClosedTimestamp) {
        self.heard.append(closed)
        if self.heard.count > Self.keptRounds { self.heard.removeFirst() }
    }

    /// What a follower that shows entries through `committed` knows.
    mutating func closed(at committed: JournalOffset) -> HLCTimestamp? {
        var best: HLCTimestamp?
        self.heard.removeAll { closed in
            guard closed.offset <= committed else { return false }
            best = max(best ?? .zero, closed.hlc)
            return true
        }
        return best
    }
}
