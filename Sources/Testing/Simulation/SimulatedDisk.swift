internal import Primitives
internal import Raft

/// One replica's disk: operations are done in order, all that wait by one sync (group commit).
struct SimulatedDisk {
    private(set) var syncing: [DiskOperation] = []
    private var waiting: [DiskOperation] = []
    /// It answers nothing before; a full disk is one that does not answer.
    var stalledUntil: UInt64 = 0
    /// Of a sync.
    var latency: ClosedRange<UInt64> = 100_000...3_000_000

    mutating func add(_ operation: DiskOperation) { self.waiting.append(operation) }

    /// Begins a sync of all that waits, if there is none.
    ///
    /// - Returns: When it will be done.
    mutating func begin(now: UInt64, using rng: inout SeededRNG) -> UInt64? {
        guard self.syncing.isEmpty, !self.waiting.isEmpty else { return nil }
        swap(&self.syncing, &self.waiting)
        return max(now, self.stalledUntil) + UInt64.random(in: self.latency, using: &rng)
    }

    mutating func finish() -> [DiskOperation] {
        defer { self.syncing.removeAll(keepingCapacity: true) }
        return self.syncing
    }

    /// The process or the machine dies: of what was not synced any first part may be on disk, the last entry torn. The two files,
    /// log and state, go their own ways.
    mutating func crash(into store: SimulatedStore, using rng: inout SeededRNG) {
        let all = self.syncing + self.waiting
        self.syncing = []
        self.waiting = []
        let saves = all.filter(\.isSave)
        for save in saves.prefix(Int.random(in: 0...saves.count, using: &rng)) { store.persist(save) }
        let writes = all.filter { !$0.isSave }
        let whole = Int.random(in: 0...writes.count, using: &rng)
        for write in writes.prefix(whole) { store.persist(write) }
        if whole < writes.count, case .write(_, _, let entries) = writes[whole], Bool.random(using: &rng) {
            store.persist(writes[whole], part: Int.random(in: 0...entries.count, using: &rng))
        }
    }
}

/// One replica's clock, some nanoseconds of which pass for each of the simulation's.
struct SimulatedClock {
    private var simulated: UInt64
    private var shown: UInt64
    private let rate: Double

    init(now: UInt64, shown: UInt64, rate: Double) {
        self.simulated = now
        self.shown = shown
        self.rate = rate
    }

    func read(at now: UInt64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: self.shown + UInt64(Double(now - self.simulated) * self.rate))
    }

    mutating func leap(by nanoseconds: Int64, at now: UInt64) {
        let shown = Int64(self.read(at: now).nanoseconds) + nanoseconds
        self.shown = UInt64(max(0, shown))
        self.simulated = now
    }
}

/// How messages travel.
struct SimulatedNetwork {
    var loss = 0.0
    var doubling = 0.0
    var delay: ClosedRange<UInt64> = 50_000...1_000_000
    /// Now and then a message takes this long.
    var lateDelay: ClosedRange<UInt64> = 1_000_000...200_000_000
    var lateness = 0.0
    /// One way each.
    private var cuts: Set<Pair> = []

    private struct Pair: Hashable {
        let from: UInt64
        let to: UInt64
    }

    mutating func cut(_ from: ReplicaID, _ to: ReplicaID) {
        self.cuts.insert(Pair(from: from.rawValue, to: to.rawValue))
    }
    mutating func heal() { self.cuts = [] }
    mutating func heal(_ from: ReplicaID, _ to: ReplicaID) {
        self.cuts.remove(Pair(from: from.rawValue, to: to.rawValue))
    }
    func isCut(_ from: ReplicaID, _ to: ReplicaID) -> Bool {
        !self.cuts.isEmpty && self.cuts.contains(Pair(from: from.rawValue, to: to.rawValue))
    }

    /// When copies of a message arrive; none if it is lost.
    func delays(using rng: inout SeededRNG) -> (UInt64?, UInt64?) {
        func delay() -> UInt64 {
            self.lateness > 0 && Double.random(in: 0..<1, using: &rng) < self.lateness
                ? UInt64.random(in: self.lateDelay, using: &rng) : UInt64.random(in: self.delay, using: &rng)
        }
        if self.loss > 0, Double.random(in: 0..<1, using: &rng) < self.loss { return (nil, nil) }
        let first = delay()
        guard self.doubling > 0, Double.random(in: 0..<1, using: &rng) < self.doubling else { return (first, nil) }
        return (first, delay())
    }
}
