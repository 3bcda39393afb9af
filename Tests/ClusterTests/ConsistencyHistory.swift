import Linearizability
import Wire

/// What clients of several consistency levels were told, and whether each level kept its promise.
///
/// A group is some points, always written together under one value that is used once. A point's version is the HLC of the entry that
/// wrote it, so whether an answer lacks a write is a comparison; nothing is searched for but an order of the strong reads.
/// All times are nanoseconds of one clock.
struct ConsistencyHistory: Sendable {
    struct Write: Sendable {
        var group: Int
        var value: UInt64
        var client: Int
        var invoked: UInt64
        /// Nil: the outcome is unknown.
        var acknowledged: Acknowledgement?
    }
    struct Acknowledgement: Sendable {
        var returned: UInt64
        var hlc: UInt64
        var offset: UInt64
    }
    struct Seen: Sendable, Equatable {
        /// 0: there is no such point.
        var version: UInt64 = 0
        var value: UInt64 = 0
    }
    struct Read: Sendable {
        var client: Int
        var node: Int
        var invoked: UInt64
        var returned: UInt64
        var requested: VecraftV1.ConsistencyLevel
        var achieved: VecraftV1.ConsistencyLevel
        /// Milliseconds: asked for (bounded), and what the answer says.
        var maxStaleness: UInt32 = 0
        var staleness: UInt32
        var waited = false
        /// The answer's index version, and what its session token has of the partition.
        var index: UInt64
        var session: UInt64
        /// By point; each that was asked for.
        var points: [Int: Seen]
    }

    /// Points of a group, and the shard of each by point.
    let pointsPerGroup: Int
    let shards: [UInt32]
    var writes: [Write] = []
    var reads: [Read] = []

    init(pointsPerGroup: Int, shards: [UInt32]) {
        self.pointsPerGroup = pointsPerGroup
        self.shards = shards
    }

    mutating func merge(_ other: ConsistencyHistory) {
        self.writes += other.writes
        self.reads += other.reads
    }

    /// All that contradicts a promise; at most a few of a kind.
    func findings() -> [String] {
        var check = ConsistencyCheck(self)
        check.run()
        return check.findings
    }
}

private struct ConsistencyCheck {
    /// The newest acknowledged write of a group, as a function of time or of offset.
    private struct Newest {
        private var keys: [UInt64] = []
        private var versions: [UInt64] = []

        init(_ pairs: [(key: UInt64, version: UInt64)]) {
            for (key, version) in pairs.sorted(by: { $0.key < $1.key }) {
                self.keys.append(key)
                self.versions.append(max(self.versions.last ?? 0, version))
            }
        }

        /// Of those at or before `key`; 0: none.
        func version(through key: UInt64) -> UInt64 {
            var (low, high) = (0, self.keys.count)
            while low < high {
                let middle = (low + high) / 2
                if self.keys[middle] <= key { low = middle + 1 } else { high = middle }
            }
            return low == 0 ? 0 : self.versions[low - 1]
        }
    }

    private let history: ConsistencyHistory
    private let byTime: [Newest]
    private let byOffset: [Newest]
    private let written: [UInt64: ConsistencyHistory.Write]
    private var counts: [String: Int] = [:]
    private(set) var findings: [String] = []

    init(_ history: ConsistencyHistory) {
        self.history = history
        let groups = history.shards.count / history.pointsPerGroup
        let byGroup = Dictionary(grouping: history.writes, by: \.group)
        func newest(_ key: (ConsistencyHistory.Acknowledgement) -> UInt64) -> [Newest] {
            (0..<groups).map { group in
                Newest((byGroup[group] ?? []).compactMap(\.acknowledged).map { (key($0), $0.hlc) })
            }
        }
        self.byTime = newest(\.returned)
        self.byOffset = newest(\.offset)
        self.written = Dictionary(uniqueKeysWithValues: history.writes.map { ($0.value, $0) })
    }

    mutating func run() {
        for read in self.history.reads {
            self.levels(read)
            self.origins(read)
            self.freshness(read)
            self.wholeness(read)
        }
        self.sessions()
        self.order()
    }

    private mutating func find(_ kind: String, _ read: ConsistencyHistory.Read, _ what: String) {
        self.counts[kind, default: 0] += 1
        guard self.counts[kind]! <= 3 else { return }
        self.findings.append(
            "\(kind): \(what); client \(read.client) at node \(read.node), \(read.requested), achieved \(read.achieved), staleness \(read.staleness) ms, index \(read.index), session \(read.session), \(read.invoked) to \(read.returned) ns"
        )
    }

    private func group(_ point: Int) -> Int { point / self.history.pointsPerGroup }

    private mutating func levels(_ read: ConsistencyHistory.Read) {
        if read.achieved.rawValue < read.requested.rawValue { self.find("less than was asked for", read, "achieved") }
        if read.session < read.index { self.find("a token behind its answer", read, "session") }
    }

    /// Everything seen was written, not later than it was seen; and the session knows that it has seen it.
    private mutating func origins(_ read: ConsistencyHistory.Read) {
        for (point, seen) in read.points where seen.version > 0 {
            guard let write = self.written[seen.value], write.group == self.group(point) else {
                self.find("never written", read, "point \(point) has \(seen)")
                continue
            }
            if write.invoked > read.returned { self.find("from the future", read, "point \(point) has \(seen)") }
            guard let known = write.acknowledged else { continue }
            if known.hlc != seen.version {
                self.find("another version", read, "point \(point) has \(seen), acknowledged as \(known)")
            }
            if known.offset > read.session {
                self.find("beyond the session", read, "point \(point) has what is at offset \(known.offset)")
            }
        }
    }

    private mutating func freshness(_ read: ConsistencyHistory.Read) {
        func before(_ milliseconds: UInt32) -> UInt64 {
            read.invoked - min(read.invoked, UInt64(milliseconds) * 1_000_000)
        }
        for (point, seen) in read.points {
            let group = self.group(point)
            func require(_ version: UInt64, _ kind: String) {
                if seen.version < version {
                    self.find(kind, read, "point \(point) has \(seen), needed version \(version)")
                }
            }
            require(self.byOffset[group].version(through: read.index), "older than its index version")
            require(self.byTime[group].version(through: before(read.staleness)), "staler than it says")
            if read.achieved == .strong { require(self.byTime[group].version(through: read.invoked), "not strong") }
            if read.requested == .bounded {
                require(self.byTime[group].version(through: before(read.maxStaleness)), "staler than was asked for")
            }
        }
    }

    /// A group's points of one shard are of one entry.
    private mutating func wholeness(_ read: ConsistencyHistory.Read) {
        var first: [Int: [UInt32: ConsistencyHistory.Seen]] = [:]
        for (point, seen) in read.points {
            let shard = self.history.shards[point]
            let other = first[self.group(point), default: [:]].updateValue(seen, forKey: shard)
            if let other, other != seen {
                self.find("torn", read, "group \(self.group(point)), shard \(shard): \(seen) and \(other)")
            }
        }
    }

    /// A session has its own writes, and what it has seen it goes on seeing.
    private mutating func sessions() {
        enum Step {
            case write(ConsistencyHistory.Write)
            case read(ConsistencyHistory.Read)
            var invoked: UInt64 {
                switch self {
                case .write(let write): write.invoked
                case .read(let read): read.invoked
                }
            }
        }
        var steps: [Int: [Step]] = [:]
        for write in self.history.writes { steps[write.client, default: []].append(.write(write)) }
        for read in self.history.reads { steps[read.client, default: []].append(.read(read)) }
        for steps in steps.values {
            var known = [UInt64](repeating: 0, count: self.history.shards.count)
            var own = known
            for step in steps.sorted(by: { $0.invoked < $1.invoked }) {
                switch step {
                case .write(let write):
                    guard let hlc = write.acknowledged?.hlc else { continue }
                    let first = write.group * self.history.pointsPerGroup
                    for point in first..<first + self.history.pointsPerGroup { own[point] = max(own[point], hlc) }
                case .read(let read):
                    for (point, seen) in read.points {
                        if read.requested.rawValue >= VecraftV1.ConsistencyLevel.readYourWrites.rawValue {
                            if seen.version < own[point] {
                                self.find("misses its own write", read, "point \(point) has \(seen)")
                            }
                            if seen.version < known[point] {
                                self.find("goes back", read, "point \(point) has \(seen), had \(known[point])")
                            }
                        }
                        known[point] = max(known[point], seen.version)
                    }
                }
            }
        }
    }

    /// Strong reads of each point, and all writes of it, happened one at a time.
    private mutating func order() {
        var registers = RegisterHistory()
        for write in self.history.writes {
            for i in 0..<self.history.pointsPerGroup {
                registers.append(
                    RegisterOperation(
                        register: write.group * self.history.pointsPerGroup + i, client: write.client,
                        .write(write.value),
                        from: write.invoked, to: write.acknowledged?.returned))
            }
        }
        for read in self.history.reads where read.requested == .strong {
            for (point, seen) in read.points {
                registers.append(
                    RegisterOperation(
                        register: point, client: read.client, .read(seen.version == 0 ? nil : seen.value),
                        from: read.invoked,
                        to: read.returned, note: "node \(read.node)"))
            }
        }
        switch registers.check() {
        case .holds: break
        case .violated(let violation): self.findings.append("\(violation)")
        case .undecided(let why): self.findings.append("not decided: \(why)")
        }
    }
}
