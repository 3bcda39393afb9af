import Foundation
import GRPC
import NIOCore
import NIOPosix
import Primitives
import Wire

/// Server CPU of a search call, and what of it is not the index.
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
        report.header(
            "callers", "connections", "calls/s", "p50 us", "p99 us", "server CPU us/call", "index us/call",
            "rest us/call")
        for (callers, connections) in [(1, 1), (8, 1), (8, 8)] {
            let clients = try await self.clients(bench, connections, group)
            _ = try await self.round(clients, queries, callers: callers, calls: 2_000)
            var rates: [Double] = [], cpus: [Double] = []
            var found = Found()
            for _ in 0..<5 {
                let calls = 10_000
                let before = cpuSeconds(of: bench.server.processID)
                let spent = try await seconds {
                    let round = try await self.round(clients, queries, callers: callers, calls: calls)
                    found.latencies += round.latencies
                    found.engine += round.engine
                }
                cpus.append((cpuSeconds(of: bench.server.processID) - before) / Double(calls) * 1e6)
                rates.append(Double(calls) / spent)
            }
            for client in clients { await client.close() }
            // The median: a call that was interrupted inside the index counts the interruption.
            let (cpu, engine) = (median(cpus), median(found.engine))
            report.row(
                "\(callers)", "\(connections)", median(rates).text(0), quantile(found.latencies, 0.5).text(0),
                quantile(found.latencies, 0.99).text(0), cpu.text(), engine.text(), (cpu - engine).text())
            let name = connections == 1 ? "\(callers)" : "\(callers)_connections"
            report.value("calls_per_second_\(name)", median(rates))
            report.value("p50_us_\(name)", quantile(found.latencies, 0.5))
            report.value("p99_us_\(name)", quantile(found.latencies, 0.99))
            report.value("server_cpu_us_per_call_\(name)", cpu)
            report.value("index_us_per_call_\(name)", engine)
            report.value("rest_us_per_call_\(name)", cpu - engine)
        }
        report.note(
            "\(count) points of \(dimension) components, 10 wanted; index: median time inside the shard engine, as the answers say"
        )
        report.note(
            "target for the rest (wire, gateway, merge) with 8 connections: at most 45 us; client and server share the cores"
        )
        try report.finish()
        await bench.stop()
    }

    private static func clients(
        _ bench: BenchServer, _ count: Int, _ group: any EventLoopGroup
    ) async throws -> [GRPCClient] {
        var clients: [GRPCClient] = []
        for _ in 0..<count {
            clients.append(
                try await GRPCClient.connect(host: "127.0.0.1", port: bench.server.grpcPort, group: group))
        }
        return clients
    }

    /// Microseconds of each call, and of it inside the engine.
    private struct Found {
        var latencies: [Double] = []
        var engine: [Double] = []
    }

    private static func round(
        _ clients: [GRPCClient], _ queries: [[UInt8]], callers: Int, calls: Int
    ) async throws -> Found {
        try await withThrowingTaskGroup(of: Found.self) { group in
            for caller in 0..<callers {
                let client = clients[caller % clients.count]
                group.addTask {
                    var found = Found()
                    var i = caller
                    while i < calls {
                        let start = ContinuousClock.now
                        let reply = try await client.unary(
                            "/vecraft.v1.Points/Search", ByteBuffer(bytes: queries[i % queries.count]))
                        let response = try reply.message.withUnsafeReadableBytes {
                            try VecraftV1.SearchResponse.decode($0)
                        }
                        guard response.hits.count == 10 else {
                            throw VecraftError(.internalError, "\(response.hits.count) hits instead of 10")
                        }
                        found.latencies.append(start.duration(to: .now) / .microseconds(1))
                        found.engine.append(Double(response.plan?.engineTimeUs ?? 0))
                        i += callers
                    }
                    return found
                }
            }
            var all = Found()
            for try await found in group {
                all.latencies += found.latencies
                all.engine += found.engine
            }
            return all
        }
    }
}
