import Foundation
import GRPC
import NIOCore
import NIOPosix
import Primitives
import Synchronization
import Wire

/// What a full-speed import does to the searches beside it, and whether they see what was acknowledged.
enum MixedBenchmark {
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
        var more = Points(count: 100_000, dimension: dimension, seed: 2)
        let import100k = more.requests(collection: "bench", batch: 500)

        let isOver = Atomic<Bool>(false)
        let idle = try await self.search(bench, queries) { $0 >= 20_000 }
        let spent = Mutex<Double>(0)
        async let importing: Void = {
            defer { isOver.store(true, ordering: .relaxed) }
            let took = try await seconds { try await self.importAndCheck(bench, import100k) }
            spent.withLock { $0 = took }
        }()
        let busy = try await self.search(bench, queries) { _ in isOver.load(ordering: .relaxed) }
        try await importing

        var report = Report("mixed")
        report.header("searches, 4 callers", "calls", "p50 ms", "p99 ms")
        for (name, latencies) in [("idle", idle), ("during an import of 100,000", busy)] {
            report.row(
                name, "\(latencies.count)", quantile(latencies, 0.5).text(3), quantile(latencies, 0.99).text(3))
        }
        let ratio = quantile(busy, 0.99) / quantile(idle, 0.99)
        report.row("p99 during / idle", "", "", ratio.text(2))
        report.value("idle_p99_ms", quantile(idle, 0.99))
        report.value("import_p99_ms", quantile(busy, 0.99))
        report.value("p99_ratio", ratio)
        report.note("import: \((100_000 / spent.withLock { $0 }).text(0)) points/s; after every 20th batch its points are read back with strong")
        report.note("consistency: all were there; client and server share this machine's cores; target: p99 at most 3 times the idle one")
        try report.finish()
        await bench.stop()
    }

    /// Milliseconds of each call.
    private static func search(
        _ bench: BenchServer, _ queries: [[UInt8]], until isDone: @escaping @Sendable (Int) -> Bool
    ) async throws -> [Double] {
        try await withThrowingTaskGroup(of: [Double].self) { group in
            let calls = SharedCount()
            for caller in 0..<4 {
                group.addTask {
                    var latencies: [Double] = []
                    var i = caller
                    while !isDone(calls.next()) {
                        let took = try await seconds {
                            let reply = try await bench.client.unary(
                                "/vecraft.v1.Points/Search", ByteBuffer(bytes: queries[i % queries.count]))
                            let hits = try reply.message.withUnsafeReadableBytes { try VecraftV1.SearchResponse.decode($0).hits.count }
                            guard hits == 10 else { throw VecraftError(.internalError, "\(hits) hits instead of 10") }
                        }
                        latencies.append(took * 1000)
                        i += 4
                    }
                    return latencies
                }
            }
            var all: [Double] = []
            for try await latencies in group { all += latencies }
            return all
        }
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
            guard found == ids.count else { throw VecraftError(.dataLoss, "\(found) of \(ids.count) acknowledged points") }
        }
    }
}

/// Counts over tasks.
private final class SharedCount: Sendable {
    private let count = Atomic<Int>(0)
    func next() -> Int { self.count.add(1, ordering: .relaxed).newValue }
}
