import ClusterSupport
import GRPC
import Primitives
import Synchronization
import TestSupport
import Wire

/// Writers, sessions and readers of every level, each call at a random node, all recorded. Choices come from the seed.
final class ConsistencyLoad: Sendable {
    static let groups = 8
    static let pointsPerGroup = 4
    static let maxStaleness: UInt32 = 200
    /// Of a client with nodes that cannot answer just now.
    static let patience: Duration = .seconds(300)

    /// What a client does.
    enum Role: CaseIterable {
        case writer
        /// Writes, and reads at all levels but mostly with its token: it never misses what it wrote or saw.
        case session
        case strong
        case bounded
        case eventual

        /// Those that wait for replicas are many, for each does little.
        var clients: Int {
            switch self {
            case .writer, .eventual: 3
            case .session, .strong, .bounded: 8
            }
        }
    }

    private let cluster: TestCluster
    private let collection: String
    private let partition: PartitionID
    let ids: [String]
    private let places: [String: Int]
    let shards: [UInt32]
    private let isOver = Atomic<Bool>(false)
    private let repeats = Atomic<Int>(0)
    private let done: Mutex<[VecraftV1.ConsistencyLevel: Int]> = Mutex([:])

    /// - Parameter shards: At least three; the groups' points are chosen so that two of each are in one shard.
    init(_ cluster: TestCluster, collection: String, partition: String, shards: UInt32) throws {
        self.cluster = cluster
        self.collection = collection
        guard let partition = PartitionID(partition) else {
            throw LoadFailure(description: "no partition: \(partition)")
        }
        self.partition = partition
        func shard(_ id: String) -> UInt32 { Array(id.utf8).withUnsafeBytes { ShardSlots.shard(of: $0, of: shards) } }
        var ids: [String] = []
        for group in 0..<Self.groups {
            var taken: [UInt32] = []
            var number = 0
            while taken.count < Self.pointsPerGroup {
                let id = "g\(group)-\(number)"
                number += 1
                // The first twice, then others.
                guard taken.count == 1 ? shard(id) == taken[0] : !taken.contains(shard(id)) else { continue }
                taken.append(shard(id))
                ids.append(id)
            }
        }
        self.ids = ids
        self.places = Dictionary(uniqueKeysWithValues: ids.enumerated().map { ($1, $0) })
        self.shards = ids.map(shard)
    }

    private var empty: ConsistencyHistory {
        ConsistencyHistory(pointsPerGroup: Self.pointsPerGroup, shards: self.shards)
    }

    /// Calls that failed with what passes, and after which the client went on as a client should.
    var repeated: Int { self.repeats.load(ordering: .relaxed) }

    /// Answered reads of a level so far.
    func reads(_ level: VecraftV1.ConsistencyLevel) -> Int { self.done.withLock { $0[level, default: 0] } }

    /// Loads the cluster while `body` runs; each client then ends what it has begun.
    func run(seed: UInt64, while body: () async throws -> Void) async throws -> (ConsistencyHistory, failures: [String])
    {
        try await withThrowingTaskGroup(of: (ConsistencyHistory, [String]).self) { group in
            var rng = SeededRNG(seed: seed)
            var client = 0
            for role in Role.allCases {
                for _ in 0..<role.clients {
                    client += 1
                    var worker = Worker(self, client, role, seed: rng.next())
                    group.addTask { await worker.run() }
                }
            }
            let outcome: Result<Void, any Error>
            do { outcome = .success(try await body()) } catch { outcome = .failure(error) }
            self.isOver.store(true, ordering: .relaxed)
            var whole = self.empty
            var failures: [String] = []
            for try await (history, failed) in group {
                whole.merge(history)
                failures += failed
            }
            do { try outcome.get() } catch { throw LoadFailure(description: "\(error)\n\(failures.prefix(5))") }
            return (whole, failures)
        }
    }

    private struct Worker: Sendable {
        let load: ConsistencyLoad
        let client: Int
        let role: Role
        var rng: SeededRNG
        var history: ConsistencyHistory
        var failures: [String] = []
        var token: [UInt8] = []
        var calls: UInt64 = 0
        private var answered = ContinuousClock.now
        /// Before the next call, after one that failed: as long as its answer says. Else a few seconds without a leader are thousands of
        /// calls in vain.
        private var rest: Duration?

        init(_ load: ConsistencyLoad, _ client: Int, _ role: Role, seed: UInt64) {
            self.load = load
            self.client = client
            self.role = role
            self.rng = SeededRNG(seed: seed)
            self.history = load.empty
        }

        private mutating func note(_ error: VecraftError, _ what: String) {
            self.rest = min(error.retryAfter ?? .milliseconds(10), .seconds(1))
            let passes = [.unavailable, .deadlineExceeded, .resourceExhausted, .aborted, .cancelled].contains(
                error.code)
            if passes, self.answered.duration(to: .now) < ConsistencyLoad.patience {
                self.load.repeats.add(1, ordering: .relaxed)
            } else {
                self.failures.append("\(what): \(error)")
            }
        }

        mutating func run() async -> (ConsistencyHistory, [String]) {
            self.answered = .now
            while !self.load.isOver.load(ordering: .relaxed) {
                self.calls += 1
                switch self.role {
                case .writer: await self.write()
                case .session:
                    if Int.random(in: 0..<3, using: &self.rng) == 0 {
                        await self.write()
                    } else {
                        await self.readAnyhow()
                    }
                case .strong: await self.read(.strong)
                case .bounded: await self.read(.bounded)
                case .eventual: await self.read(.eventual)
                }
                let rest = self.rest ?? .milliseconds(Int.random(in: 1...9, using: &self.rng))
                self.rest = nil
                try? await Task.sleep(for: rest)
            }
            return (self.history, self.failures)
        }

        private mutating func readAnyhow() async {
            let levels: [VecraftV1.ConsistencyLevel] = [
                .readYourWrites, .readYourWrites, .readYourWrites, .readYourWrites, .bounded, .eventual,
            ]
            await self.read(levels.randomElement(using: &self.rng)!)
        }

        private mutating func node() -> ClusterNode { self.load.cluster.nodes.randomElement(using: &self.rng)! }

        /// A caller whom no gateway remembers: what a session has is in its token.
        private var stranger: String { "stranger-\(self.client)-\(self.calls)" }

        private mutating func write() async {
            let group = Int.random(in: 0..<ConsistencyLoad.groups, using: &self.rng)
            let value = UInt64(self.client) << 32 | self.calls
            let first = group * ConsistencyLoad.pointsPerGroup
            let points = (first..<first + ConsistencyLoad.pointsPerGroup).map { point in
                VecraftV1.Point(
                    id: self.load.ids[point], vector: .init(values: [Float(point), 1, 0, 0]),
                    payload: .init(json: Array("{\"v\":\(value)}".utf8)))
            }
            var write = ConsistencyHistory.Write(
                group: group, value: value, client: self.client, invoked: historyTime())
            let node = self.node()
            do throws(VecraftError) {
                let reply: VecraftV1.UpsertResponse = try await node.call(
                    "vecraft.v1.Points/Upsert",
                    VecraftV1.UpsertRequest(collection: self.load.collection, points: points),
                    metadata: ["x-vecraft-client-id": self.stranger])
                let info = reply.write ?? VecraftV1.WriteInfo()
                write.acknowledged = .init(returned: historyTime(), hlc: info.hlc, offset: info.offset)
                // Two tokens, one behind the other, are one.
                self.token += info.sessionToken
                self.answered = .now
            } catch { self.note(error, "a write at node \(node.id)") }
            self.history.writes.append(write)
        }

        private mutating func read(_ level: VecraftV1.ConsistencyLevel) async {
            let options = VecraftV1.ReadOptions(
                consistency: level, maxStalenessMs: level == .bounded ? ConsistencyLoad.maxStaleness : 0,
                sessionToken: self.role == .session ? self.token : [])
            let node = self.node()
            let invoked = historyTime()
            do throws(VecraftError) {
                let answer =
                    try await Bool.random(using: &self.rng) ? self.get(node, options) : self.search(node, options)
                let returned = historyTime()
                guard let info = answer.info, info.requested == level, let index = info.indexVersion.first else {
                    return self.failures.append("an answer of node \(node.id) that does not say what it was made from")
                }
                let session = try info.sessionToken.withUnsafeBytes { raw in
                    Result { () throws(VecraftError) in try SessionToken(raw) }
                }.get()
                self.history.reads.append(
                    .init(
                        client: self.client, node: node.id, invoked: invoked, returned: returned, requested: level,
                        achieved: info.achieved, maxStaleness: options.maxStalenessMs, staleness: info.stalenessMs,
                        waited: info.syncPerformed, index: index.offset,
                        session: session.offset(of: self.load.partition),
                        points: answer.points))
                if self.role == .session { self.token = info.sessionToken }
                self.load.done.withLock { $0[level, default: 0] += 1 }
                self.answered = .now
            } catch { self.note(error, "a read at node \(node.id), \(level)") }
        }

        private typealias Answer = (info: VecraftV1.ReadInfo?, points: [Int: ConsistencyHistory.Seen])

        /// A group's points.
        private mutating func get(
            _ node: ClusterNode, _ options: VecraftV1.ReadOptions
        ) async throws(VecraftError) -> Answer {
            let first = Int.random(in: 0..<ConsistencyLoad.groups, using: &self.rng) * ConsistencyLoad.pointsPerGroup
            let asked = first..<first + ConsistencyLoad.pointsPerGroup
            let reply: VecraftV1.GetResponse = try await node.call(
                "vecraft.v1.Points/Get",
                VecraftV1.GetRequest(collection: self.load.collection, ids: Array(self.load.ids[asked]), read: options),
                metadata: ["x-vecraft-client-id": self.stranger])
            return (reply.info, try self.seen(Array(asked), reply.points.map { ($0.id, $0.version, $0.payload) }))
        }

        /// All points: as many are asked for as there are, and compared exactly.
        private func search(
            _ node: ClusterNode, _ options: VecraftV1.ReadOptions
        ) async throws(VecraftError) -> Answer {
            let reply: VecraftV1.SearchResponse = try await node.call(
                "vecraft.v1.Points/Search",
                VecraftV1.SearchRequest(
                    collection: self.load.collection, vector: .init(values: [0, 0, 0, 0]),
                    limit: UInt32(self.load.ids.count),
                    exact: true, read: options),
                metadata: ["x-vecraft-client-id": self.stranger])
            return (
                reply.info,
                try self.seen(Array(self.load.ids.indices), reply.hits.map { ($0.id, $0.version, $0.payload) })
            )
        }

        private func seen(
            _ asked: [Int], _ found: [(id: String, version: UInt64, payload: VecraftV1.Payload?)]
        ) throws(VecraftError) -> [Int: ConsistencyHistory.Seen] {
            var points = Dictionary(uniqueKeysWithValues: asked.map { ($0, ConsistencyHistory.Seen()) })
            for (id, version, payload) in found {
                guard let point = self.load.places[id] else {
                    throw VecraftError(.internalError, "nobody asked for \(id)")
                }
                let value = try JSONValue(parsing: payload?.json ?? [])["v"]?.integerValue ?? 0
                points[point] = .init(version: version, value: UInt64(value))
            }
            return points
        }
    }
}
