import Foundation
import GRPC
import NIOCore
import NIOPosix
import Primitives
import Synchronization
import Wire

/// What a full-speed import does to the searches beside it, and whether they see what was acknowledged.
enum MixedBenchmark {
    private static let callers = 4

    static func run(group: any EventLoopGroup) async throws {
        let count = 25_000, dimension = 384
        var points = Points(count: count, dimension: dimension)
        let bench = try await BenchServer.start("mixed", dimension: dimension, group: group)
        try await bench.load(points.requests(collection: "bench", batch: 500))
        try await bench.settle(count)
        let queries = (0..<512).map { _ in
            VecraftV1.SearchRequest(
                collection: "bench", vector: VecraftV1.Vector(packed: points.vector().withUnsafeBytes { [UInt8]($0) }),
                limit: 10
            ).encode()
        }
        var more = Points(100_000, like: points, seed: 2)
        let import100k = more.requests(collection: "bench", batch: 500)
        // The importer is another client: what its own thread does to its large messages is not the server's latency.
        let importer = BenchServer(
            server: bench.server,
            client: try await GRPCClient.connect(
                host: "127.0.0.1", port: bench.server.grpcPort, group: MultiThreadedEventLoopGroup(numberOfThreads: 1)))

        let idle = try await self.search(bench, queries) { $0 >= 20_000 }
        let isOver = Atomic<Bool>(false)
        let spent = Mutex<Double>(0)
        let before = cpuSeconds(of: bench.server.processID)
        async let importing: Void = {
            defer { isOver.store(true, ordering: .relaxed) }
            let took = try await seconds { try await self.importAndCheck(importer, import100k) }
            spent.withLock { $0 = took }
        }()
        let busy = try await self.search(bench, queries) { _ in isOver.load(ordering: .relaxed) }
        try await importing
        let cpu = cpuSeconds(of: bench.server.processID) - before

        var report = Report("mixed")
        report.header("searches", "calls", "calls/s", "p50 ms", "p90 ms", "p99 ms", "engine p50 ms", "engine p99 ms")
        for (name, found) in [
            ("idle, \(self.callers) callers", idle.others), ("during the import, \(self.callers) callers", busy.others),
            ("idle, the importer's own", idle.own), ("during the import, its own", busy.own),
        ] {
            report.row(
                name, "\(found.latencies.count)", (Double(found.latencies.count) / found.seconds).text(0),
                quantile(found.latencies, 0.5).text(3), quantile(found.latencies, 0.9).text(3),
                quantile(found.latencies, 0.99).text(3), quantile(found.engine, 0.5).text(3),
                quantile(found.engine, 0.99).text(3))
        }
        let ratio = quantile(busy.others.latencies, 0.99) / quantile(idle.others.latencies, 0.99)
        report.row("p99 during / idle", "", "", "", "", ratio.text(2), "", "")
        report.value("idle_p99_ms", quantile(idle.others.latencies, 0.99))
        report.value("import_p99_ms", quantile(busy.others.latencies, 0.99))
        report.value("p99_ratio", ratio)
        report.value("own_import_p99_ms", quantile(busy.own.latencies, 0.99))
        report.value("import_points_per_second", 100_000 / spent.withLock { $0 })
        report.note(
            "import: \((100_000 / spent.withLock { $0 }).text(0)) points/s searchable, \((cpu / spent.withLock { $0 }).text(2)) cores of the server; after every 20th batch its points are read back with strong"
        )
        report.note(
            "consistency: all were there; the importer's own searches wait until they see what it wrote (read_your_writes)"
        )
        report.note("client and server share this machine's cores; target: p99 at most 3 times the idle one")
        try report.finish()
        await importer.client.close()
        await bench.stop()
    }

    private struct Found {
        /// Milliseconds of each call, and of it inside the engine.
        var latencies: [Double] = []
        var engine: [Double] = []
        var seconds = 0.0
    }

    /// Searches of clients that write nothing, as fast as they come; and, some each second, of one that counts as the importer.
    private static func search(
        _ bench: BenchServer, _ queries: [[UInt8]], until isDone: @escaping @Sendable (Int) -> Bool
    ) async throws -> (others: Found, own: Found) {
        let calls = SharedCount()
        let start = ContinuousClock.now
        var (others, own) = (Found(), Found())
        try await withThrowingTaskGroup(of: (Bool, Found).self) { group in
            for caller in 0..<self.callers {
                group.addTask {
                    var found = Found()
                    var i = caller
                    while !isDone(calls.next()) {
                        try await self.call(
                            bench, queries[i % queries.count], ["x-vecraft-client-id": "reader"], &found)
                        i += self.callers
                    }
                    return (false, found)
                }
            }
            group.addTask {
                var found = Found()
                while !isDone(calls.next()) {
                    try await self.call(bench, queries[found.latencies.count % queries.count], [:], &found)
                    try await Task.sleep(for: .milliseconds(20))
                }
                return (true, found)
            }
            for try await (isOwn, found) in group {
                if isOwn {
                    own = found
                } else {
                    others.latencies += found.latencies
                    others.engine += found.engine
                }
            }
        }
        let spent = start.duration(to: .now) / .seconds(1)
        (others.seconds, own.seconds) = (spent, spent)
        return (others, own)
    }

    private static func call(
        _ bench: BenchServer, _ query: [UInt8], _ metadata: GRPCMetadata, _ found: inout Found
    ) async throws {
        let start = ContinuousClock.now
        let reply = try await bench.client.unary(
            "/vecraft.v1.Points/Search", ByteBuffer(bytes: query), metadata: metadata)
        found.latencies.append(start.duration(to: .now) / .milliseconds(1))
        let response = try reply.message.withUnsafeReadableBytes { try VecraftV1.SearchResponse.decode($0) }
        guard response.hits.count == 10 else {
            throw VecraftError(.internalError, "\(response.hits.count) hits instead of 10")
        }
        found.engine.append(Double(response.plan?.engineTimeUs ?? 0) / 1000)
    }

    private static func importAndCheck(_ bench: BenchServer, _ requests: [[UInt8]]) async throws {
        // Written over the points that are there and behind them, 500 a request.
        for start in stride(from: 0, to: requests.count, by: 20) {
            let some = Array(requests[start..<min(start + 20, requests.count)])
            try await bench.load(some)
            let first = (start + some.count - 1) * 500
            let ids = (first..<first + 500).map { "point-\($0)" }
            let bytes = try await bench.client.unary(
                "/vecraft.v1.Points/Get",
                VecraftV1.GetRequest(
                    collection: "bench", ids: ids, withoutPayload: true, read: .init(consistency: .strong)
                ).encode(), timeout: .seconds(60))
            let found = try VecraftV1.GetResponse.decode(bytes).points.count
            guard found == ids.count else {
                throw VecraftError(.dataLoss, "\(found) of \(ids.count) acknowledged points")
            }
        }
    }
}

/// Counts over tasks.
private final class SharedCount: Sendable {
    private let count = Atomic<Int>(0)
    func next() -> Int { self.count.add(1, ordering: .relaxed).newValue }
}
