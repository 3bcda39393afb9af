import Testing
import Wire

/// The checker finds each kind of broken promise, and nothing where none is broken.
@Suite("Histories of read levels") struct ConsistencyHistoryTests {
    private static let second: UInt64 = 1_000_000_000

    /// Two groups of two points; the first group's are in one shard. Client 1 wrote values 1 and 2 to the first group, acknowledged at
    /// 1.1 s and 2.1 s, with versions 10 and 20 at offsets 1 and 2.
    private static func history(_ reads: ConsistencyHistory.Read...) -> ConsistencyHistory {
        var history = ConsistencyHistory(pointsPerGroup: 2, shards: [0, 0, 1, 2])
        for i in 1...2 as ClosedRange<UInt64> {
            history.writes.append(
                .init(
                    group: 0, value: i, client: 1, invoked: i * self.second,
                    acknowledged: .init(returned: i * self.second + self.second / 10, hlc: 10 * i, offset: i)))
        }
        history.reads = reads
        return history
    }

    /// Of the first group, begun at 3 s; of the newest value unless told otherwise.
    private static func read(
        _ value: UInt64 = 2, _ level: VecraftV1.ConsistencyLevel = .eventual, client: Int = 2, staleness: UInt32 = 0,
        _ change: (inout ConsistencyHistory.Read) -> Void = { _ in }
    ) -> ConsistencyHistory.Read {
        let seen = ConsistencyHistory.Seen(version: 10 * value, value: value)
        var read = ConsistencyHistory.Read(
            client: client, node: 1, invoked: 3 * self.second, returned: 3 * self.second + 1000, requested: level,
            achieved: level,
            maxStaleness: level == .bounded ? 200 : 0, staleness: staleness, index: value, session: value,
            points: [0: seen, 1: seen])
        change(&read)
        return read
    }

    @Test func whatIsPromisedIsNoFinding() {
        let history = Self.history(
            Self.read(2, .strong), Self.read(2, .bounded), Self.read(2, .readYourWrites, client: 1),
            Self.read(1, staleness: 1_000),
            Self.read(0, staleness: 2_000),
            // Ahead of its index version in one shard, as the session knows.
            Self.read(2, staleness: 1_000) { ($0.index, $0.session) = (1, 2) },
            // Not acknowledged yet.
            Self.read(1, .strong) { ($0.invoked, $0.returned) = (2 * Self.second, 2 * Self.second + 50) })
        #expect(history.findings() == [])
    }

    private static let broken: [(String, ConsistencyHistory)] = [
        ("not strong", history(read(1, .strong, staleness: 1_000))),
        ("is not linearizable", history(read(1, .strong, staleness: 1_000))),
        ("staler than was asked for", history(read(1, .bounded, staleness: 1_000))),
        ("staler than it says", history(read(1, staleness: 899))),
        ("older than its index version", history(read(1, staleness: 1_000) { ($0.index, $0.session) = (2, 2) })),
        ("misses its own write", history(read(1, .readYourWrites, client: 1, staleness: 1_000))),
        (
            "goes back",
            history(
                read(2, .eventual),
                read(1, .readYourWrites, staleness: 1_500) {
                    $0.invoked += 1_000_000; $0.returned += 1_000_000
                })
        ),
        ("beyond the session", history(read(2) { ($0.index, $0.session) = (1, 1) })),
        ("a token behind its answer", history(read(2) { $0.session = 1 })),
        ("torn", history(read(2, staleness: 1_000) { ($0.index, $0.points[1]) = (1, .init(version: 10, value: 1)) })),
        ("from the future", history(read(2) { ($0.invoked, $0.returned) = (second, second + 1) })),
        ("never written", history(read(2) { $0.points[0] = .init(version: 30, value: 3) })),
        ("never written", history(read(2) { $0.points[2] = .init(version: 20, value: 2) })),
        ("another version", history(read(2) { $0.points[0]?.version = 21 })),
        ("less than was asked for", history(read(2, .strong) { $0.achieved = .bounded })),
    ]

    @Test(arguments: broken.indices) func eachBrokenPromiseIsFound(_ i: Int) {
        let (kind, history) = Self.broken[i]
        let findings = history.findings()
        #expect(findings.contains { $0.contains(kind) }, "\(kind): \(findings)")
    }
}
