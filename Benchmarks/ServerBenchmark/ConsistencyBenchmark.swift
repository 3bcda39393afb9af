import ClusterSupport
import Foundation
import Primitives
import Synchronization
import TestSupport
import Wire

/// What each read level costs while replicas are late: searches on a cluster of three nodes that runs itself, beside a steady writer.
enum ConsistencyBenchmark {
    private static let lags = [0, 100, 500, 1000]
    private static let levels: [VecraftV1.ConsistencyLevel] = [.eventual, .bounded, .readYourWrites, .strong]
    private static let callers = 4
    private static let window: Duration = .seconds(5)
    private static let writePause: Duration = .milliseconds(10)
    /// Of bounded reads, milliseconds.
    private static let maxStaleness: UInt32 = 200
    private static let shards: UInt32 = 4

    static func run() async throws {
        guard EtcdProcess.binary != nil else {
            print("skipped: needs etcd (Debian package etcd-server)")
            return
        }
        guard let set = try Embeddings.find() else {
            print("skipped: no data set (VECRAFT_DATASET names its folder)")
            return
        }
        var report = Report("consistency")
        report.header(
            "lag ms", "level", "calls", "calls/s", "p50 ms", "p95 ms", "achieved", "staleness p50 ms", "p95 ms",
            "waited")
        for lag in self.lags {
            try await self.with(set, lag: lag) { cluster in
                if lag == 0 { try await self.priceOfStrong(cluster, set, &report) }
                try await self.levels(cluster, set, lag, &report)
            }
        }
        report.note(
            "\(set.count) points of \(Embeddings.dimension) dimensions in \(self.shards) shards, each on two of three nodes, all of which are late by the lag;"
        )
        report.note(
            "\(self.callers) callers at random nodes for \(self.window / .seconds(1)) s each; one writer, a point each \(self.writePause / .milliseconds(1)) ms; bounded by \(self.maxStaleness) ms;"
        )
        report.note(
            "read_your_writes has the token of the writer's newest write, so it waits as long as a session can;")
        report.note(
            "staleness: what answers state; waited: answers for which a replica had to catch up; clients and servers share this machine's cores"
        )
        try report.finish()
    }

    /// - Parameter lag: Milliseconds that an entry must be old before any node applies it.
    private static func with(_ set: Embeddings, lag: Int, _ body: (TestCluster) async throws -> Void) async throws {
        let etcd = try await EtcdProcess.start()
        var options = TestCluster.Options()
        options.etcd = etcd
        options.settings = ["log.level=warning", "storage.apply_delay_ms=\(lag)"]
        let cluster = try await TestCluster.start(options)
        do {
            _ = try await cluster.create("bench", dimension: Embeddings.dimension, shards: self.shards)
            try await self.load(cluster, set)
            try await body(cluster)
        } catch {
            await cluster.killAll()
            throw error
        }
        let failed = await cluster.stopAll()
        if !failed.isEmpty { print("exit codes: \(failed)") }
        withExtendedLifetime(etcd) {}
    }

    private static func load(_ cluster: TestCluster, _ set: Embeddings) async throws {
        let batch = 250
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    for start in stride(from: writer * batch, to: set.count, by: 4 * batch) {
                        let points = (start..<min(start + batch, set.count)).map { set.point($0) }
                        let _: VecraftV1.UpsertResponse = try await cluster[1].call(
                            "vecraft.v1.Points/Upsert", VecraftV1.UpsertRequest(collection: "bench", points: points),
                            timeout: .seconds(60))
                    }
                }
            }
            try await group.waitForAll()
        }
        try await eventually("all points are applied and linked", within: .seconds(600), every: .milliseconds(100)) {
            var points = 0
            for node in cluster.nodes {
                guard let status = try await cluster.describe("bench", on: node).status else { return false }
                guard status.indexedVectors == status.totalVectors else { return false }
                points += Int(status.points)
            }
            return points == 2 * set.count
        }
    }

    // MARK: Levels beside a writer

    /// The writer's newest token, and when it is to end.
    private final class Writer: Sendable {
        let token = Mutex<[UInt8]>([])
        let isOver = Atomic<Bool>(false)

        func run(_ cluster: TestCluster, _ set: Embeddings) async throws {
            var rng = SeededRNG(seed: 2)
            while !self.isOver.load(ordering: .relaxed) {
                let point = set.point(Int.random(in: 0..<set.count, using: &rng))
                let reply: VecraftV1.UpsertResponse = try await cluster.nodes.randomElement(using: &rng)!.call(
                    "vecraft.v1.Points/Upsert", VecraftV1.UpsertRequest(collection: "bench", points: [point]))
                self.token.withLock { $0 = reply.write?.sessionToken ?? [] }
                try await Task.sleep(for: ConsistencyBenchmark.writePause)
            }
        }
    }

    private struct Found {
        /// Milliseconds.
        var latencies: [Double] = []
        var staleness: [Double] = []
        var achieved: [VecraftV1.ConsistencyLevel: Int] = [:]
        var waited = 0
        var seconds = 0.0

        mutating func add(_ other: Found) {
            self.latencies += other.latencies
            self.staleness += other.staleness
            self.achieved.merge(other.achieved, uniquingKeysWith: +)
            self.waited += other.waited
        }
    }

    private static func levels(
        _ cluster: TestCluster, _ set: Embeddings, _ lag: Int, _ report: inout Report
    ) async throws {
        let writer = Writer()
        let found = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await writer.run(cluster, set) }
            var found: [Found] = []
            defer { writer.isOver.store(true, ordering: .relaxed) }
            // Long enough for the lag to show.
            try await Task.sleep(for: .milliseconds(lag + 500))
            for level in self.levels { found.append(try await self.read(cluster, set, level, writer)) }
            writer.isOver.store(true, ordering: .relaxed)
            try await group.waitForAll()
            return found
        }
        for (level, found) in zip(self.levels, found) {
            let name = self.name(level)
            let count = found.latencies.count
            let (p50, p95) = (quantile(found.latencies, 0.5), quantile(found.latencies, 0.95))
            let stale = (quantile(found.staleness, 0.5), quantile(found.staleness, 0.95))
            let achieved = found.achieved.sorted { $0.value > $1.value }.map { level, times in
                times == count
                    ? self.name(level) : "\(self.name(level)) \((100 * Double(times) / Double(count)).text(0)) %"
            }
            report.row(
                "\(lag)", name, "\(count)", (Double(count) / found.seconds).text(), p50.text(2), p95.text(2),
                achieved.joined(separator: ", "), stale.0.text(0), stale.1.text(0),
                "\((100 * Double(found.waited) / Double(max(count, 1))).text(0)) %")
            let key = "lag_\(lag)_\(name)"
            report.value("\(key)_calls_per_second", Double(count) / found.seconds)
            report.value("\(key)_p50_ms", p50)
            report.value("\(key)_p95_ms", p95)
            report.value("\(key)_staleness_p50_ms", stale.0)
            report.value("\(key)_staleness_p95_ms", stale.1)
            report.value("\(key)_waited_share", Double(found.waited) / Double(max(count, 1)))
        }
    }

    private static func read(
        _ cluster: TestCluster, _ set: Embeddings, _ level: VecraftV1.ConsistencyLevel, _ writer: Writer
    ) async throws -> Found {
        let start = ContinuousClock.now
        return try await withThrowingTaskGroup(of: Found.self) { group in
            for caller in 0..<self.callers {
                group.addTask {
                    var rng = SeededRNG(seed: 100 + UInt64(caller))
                    var found = Found()
                    while start.duration(to: .now) < self.window {
                        let node = cluster.nodes.randomElement(using: &rng)!
                        let query = set.query(Int.random(in: 0..<set.queryCount, using: &rng))
                        let token = level == .readYourWrites ? writer.token.withLock { $0 } : []
                        let (took, info) = try await self.search(node, query, level, token)
                        found.latencies.append(took)
                        found.staleness.append(Double(info.stalenessMs))
                        found.achieved[info.achieved, default: 0] += 1
                        if info.syncPerformed { found.waited += 1 }
                    }
                    return found
                }
            }
            var whole = Found()
            for try await found in group { whole.add(found) }
            whole.seconds = start.duration(to: .now) / .seconds(1)
            return whole
        }
    }

    /// - Returns: Milliseconds, and what the answer was made from.
    private static func search(
        _ node: ClusterNode, _ query: VecraftV1.Vector, _ level: VecraftV1.ConsistencyLevel, _ token: [UInt8] = []
    ) async throws -> (Double, VecraftV1.ReadInfo) {
        let request = VecraftV1.SearchRequest(
            collection: "bench", vector: query, limit: 10, withoutPayload: true,
            read: .init(
                consistency: level, maxStalenessMs: level == .bounded ? self.maxStaleness : 0, sessionToken: token))
        let start = ContinuousClock.now
        // Who writes is another client.
        let reply: VecraftV1.SearchResponse = try await node.call(
            "vecraft.v1.Points/Search", request, metadata: ["x-vecraft-client-id": "reader"])
        let took = start.duration(to: .now) / .milliseconds(1)
        guard reply.hits.count == 10, let info = reply.info else {
            throw VecraftError(.internalError, "\(reply.hits.count) hits instead of 10")
        }
        return (took, info)
    }

    private static func name(_ level: VecraftV1.ConsistencyLevel) -> String {
        switch level {
        case .eventual: "eventual"
        case .bounded: "bounded"
        case .readYourWrites: "read_your_writes"
        case .strong: "strong"
        default: "\(level)"
        }
    }

    // MARK: What a strong read costs

    /// Without lag and without writes, one caller: eventual and strong searches and empty calls in turn, at the partition's leader and at
    /// a node that has to ask it.
    private static func priceOfStrong(_ cluster: TestCluster, _ set: Embeddings, _ report: inout Report) async throws {
        let partition = try await cluster.describe("bench", on: cluster[1]).partition
        let leader = try await cluster.leader(of: partition).node
        var texts: [String] = []
        for (place, node) in [
            ("leader", cluster[leader]), ("follower", cluster[try await cluster.follower(of: partition)]),
        ] {
            var (eventual, strong, empty): ([Double], [Double], [Double]) = ([], [], [])
            for i in 0..<1_200 {
                let query = set.query(i % set.queryCount)
                // In turn which goes first: the second finds the query's neighbours in the caches.
                for level in i % 2 == 0 ? [VecraftV1.ConsistencyLevel.eventual, .strong] : [.strong, .eventual] {
                    let (took, _) = try await self.search(node, query, level)
                    guard i >= 200 else { continue }
                    if level == .strong { strong.append(took) } else { eventual.append(took) }
                }
                let start = ContinuousClock.now
                _ = try await node.client.unary("/grpc.health.v1.Health/Check", [] as [UInt8])
                if i >= 200 { empty.append(start.duration(to: .now) / .milliseconds(1)) }
            }
            let extra = median(strong) - median(eventual)
            texts.append(
                "\(extra.text(3)) ms at a \(place) (\(median(strong).text(3)) instead of \(median(eventual).text(3))), \((extra / median(empty)).text(2)) of an empty call's round trip (\(median(empty).text(3)) ms)"
            )
            report.value("strong_extra_ms_\(place)", extra)
            report.value("strong_extra_round_trips_\(place)", extra / median(empty))
            report.value("eventual_alone_ms_\(place)", median(eventual))
            report.value("empty_call_ms_\(place)", median(empty))
        }
        report.note(
            "a strong read costs beyond an eventual one, without lag, medians of 1,000 of one caller: \(texts.joined(separator: "; "));"
        )
    }
}

/// Vectors of the Debian packages: 25,000, or the sample beside the sources.
struct Embeddings: Sendable {
    static let dimension = DebianPackages.dimension
    private let rows: [Float]
    private let queries: [Float]
    var count: Int { self.rows.count / Self.dimension }
    var queryCount: Int { self.queries.count / Self.dimension }

    static func find() throws -> Embeddings? {
        let named = ProcessInfo.processInfo.environment["VECRAFT_DATASET"]
        for folder in named.map({ [$0] }) ?? ["../shared/data/debian-packages", "data/debian-packages"] {
            guard FileManager.default.fileExists(atPath: folder + "/vectors.f16.npy") else { continue }
            let rows = try DebianPackages.halves(folder + "/vectors.f16.npy")
            let queries = folder + "/queries.f16.npy"
            // The sample has none; its own points are near others too.
            let asked =
                FileManager.default.fileExists(atPath: queries)
                ? try DebianPackages.halves(queries) : Array(rows.prefix(500 * self.dimension))
            return Embeddings(rows: rows, queries: asked)
        }
        return nil
    }

    func point(_ i: Int) -> VecraftV1.Point { VecraftV1.Point(id: "p\(i)", vector: Self.vector(self.rows, i)) }
    func query(_ i: Int) -> VecraftV1.Vector { Self.vector(self.queries, i) }

    private static func vector(_ all: [Float], _ i: Int) -> VecraftV1.Vector {
        VecraftV1.Vector(packed: all[i * self.dimension..<(i + 1) * self.dimension].withUnsafeBytes { [UInt8]($0) })
    }
}
