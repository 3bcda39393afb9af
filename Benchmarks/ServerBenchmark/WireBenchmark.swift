import Foundation
import GRPC
import NIOCore
import NIOPosix
import Primitives
import Wire

/// Server CPU of a search call, and what of it is not the index search itself.
enum WireBenchmark {
    static func run(group: any EventLoopGroup) async throws {
        let count = 25_000, dimension = 384
        var points = Points(count: count, dimension: dimension)
        let bench = try await BenchServer.start("wire", dimension: dimension, group: group)
        try await bench.load(points.requests(collection: "bench", batch: 500))
        try await bench.settle(count)
        let queries = (0..<512).map { _ in
            VecraftV1.SearchRequest(
                collection: "bench", vector: VecraftV1.Vector(packed: points.vector().withUnsafeBytes { [UInt8]($0) }),
                limit: 10, withoutPayload: false
            ).encode()
        }
        var report = Report("wire")
        report.header("callers", "calls/s", "p50 us", "p99 us", "server CPU us/call", "engine us/call", "beyond the engine us/call")
        var engineAlone = 0.0
        for callers in [1, 8] {
            _ = try await self.round(bench, queries, callers: callers, calls: 2_000)
            var rates: [Double] = [], cpus: [Double] = [], engines: [Double] = [], latencies: [Double] = []
            for _ in 0..<5 {
                let calls = 10_000
                let before = cpuSeconds(of: bench.server.processID)
                var engine = 0.0
                let spent = try await seconds {
                    let round = try await self.round(bench, queries, callers: callers, calls: calls)
                    engine = round.engine
                    latencies += round.latencies
                }
                cpus.append((cpuSeconds(of: bench.server.processID) - before) / Double(calls) * 1e6)
                rates.append(Double(calls) / spent)
                engines.append(engine)
            }
            // With one caller nothing competes for the cores, so the engine's wall time is its CPU time.
            if callers == 1 { engineAlone = median(engines) }
            let cpu = median(cpus)
            report.row(
                "\(callers)", median(rates).text(0), quantile(latencies, 0.5).text(0), quantile(latencies, 0.99).text(0), cpu.text(), engineAlone.text(), (cpu - engineAlone).text())
            report.value("calls_per_second_\(callers)", median(rates))
            report.value("p50_us_\(callers)", quantile(latencies, 0.5))
            report.value("p99_us_\(callers)", quantile(latencies, 0.99))
            report.value("server_cpu_us_per_call_\(callers)", cpu)
            report.value("beyond_engine_us_per_call_\(callers)", cpu - engineAlone)
        }
        report.note("engine: time inside the shard engine with one caller; target beyond it: at most 60 us")
        try report.finish()
        await bench.stop()
    }

    /// Returns the mean time inside the engine, and each call's as its caller sees it; microseconds.
    @discardableResult
    private static func round(
        _ bench: BenchServer, _ queries: [[UInt8]], callers: Int, calls: Int
    ) async throws -> (engine: Double, latencies: [Double]) {
        let (engine, latencies) = try await withThrowingTaskGroup(of: (UInt64, [Double]).self) { group in
            for caller in 0..<callers {
                group.addTask {
                    var sum: UInt64 = 0
                    var latencies: [Double] = []
                    var i = caller
                    while i < calls {
                        let start = ContinuousClock.now
                        let reply = try await bench.client.unary(
                            "/vecraft.v1.Points/Search", ByteBuffer(bytes: queries[i % queries.count]))
                        let response = try reply.message.withUnsafeReadableBytes {
                            try VecraftV1.SearchResponse.decode($0)
                        }
                        guard response.hits.count == 10 else {
                            throw VecraftError(.internalError, "\(response.hits.count) hits instead of 10")
                        }
                        latencies.append(start.duration(to: .now) / .microseconds(1))
                        sum += response.plan?.engineTimeUs ?? 0
                        i += callers
                    }
                    return (sum, latencies)
                }
            }
            var total: UInt64 = 0
            var all: [Double] = []
            for try await (sum, latencies) in group {
                total += sum
                all += latencies
            }
            return (total, all)
        }
        return (Double(engine) / Double(calls), latencies)
    }
}
