import Foundation
import GRPC
import NIOCore
import Primitives
import Synchronization
import TestSupport
import Wire

/// What metrics and traces cost: the same searches and the same bulk load, on nodes that differ in what they tell of them.
enum OverheadBenchmark {
    /// How much a node tells.
    private enum Telling: String, CaseIterable {
        case nothing
        case metrics
        case sampled = "metrics, 1 % of traces"
        case everything = "metrics, all traces"

        var settings: [String] { self == .nothing ? ["metrics.enabled=false"] : [] }

        func environment(_ collector: Int) -> [String: String] {
            guard self == .sampled || self == .everything else { return [:] }
            return [
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:\(collector)", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": self == .sampled ? "0.01" : "1",
                "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
            ]
        }
    }

    static func run(group: any EventLoopGroup) async throws {
        let collector = try await Collector.start(group)
        var report = Report("overhead")
        report.header("what", "telling", "per second", "slower by %", "server CPU us", "more by %", "MB of spans")
        try await Self.searches(collector, &report, group)
        if CommandLine.arguments.dropFirst(2).first != "search" { try await Self.ingest(collector, &report, group) }
        report.note(
            "slower, more: the median of each round's ratio to the node that tells nothing; collector, client and nodes share the cores")
        report.note("target: at most 5 % of either")
        try report.finish()
        await collector.stop()
    }

    // MARK: Searches

    private static func searches(_ collector: Collector, _ report: inout Report, _ group: any EventLoopGroup) async throws {
        let count = 25_000, dimension = 384, rounds = 24, calls = 4_000, callers = 8
        var points = Points(count: count, dimension: dimension)
        let requests = points.requests(collection: "bench", batch: 500)
        let queries = (0..<512).map { _ in
            VecraftV1.SearchRequest(
                collection: "bench", vector: VecraftV1.Vector(packed: points.vector().withUnsafeBytes { [UInt8]($0) }),
                limit: 10, withoutPayload: true
            ).encode()
        }
        var nodes: [(telling: Telling, bench: BenchServer, clients: [GRPCClient])] = []
        for telling in Telling.allCases {
            let bench = try await BenchServer.start(
                "overhead", dimension: dimension, settings: telling.settings,
                environment: telling.environment(collector.port), group: group)
            try await bench.load(requests)
            try await bench.settle(count)
            var clients: [GRPCClient] = []
            for _ in 0..<callers {
                clients.append(try await GRPCClient.connect(host: "127.0.0.1", port: bench.server.grpcPort, group: group))
            }
            nodes.append((telling, bench, clients))
        }
        var found: [Telling: Found] = [:]
        for round in -2..<rounds {
            // Each round begins with another node: what drifts meets all alike.
            for i in 0..<nodes.count {
                let (telling, bench, clients) = nodes[(i + round + 4) % nodes.count]
                let sent = collector.bytes
                let before = cpuSeconds(of: bench.server.processID)
                let spent = try await seconds { try await Self.search(clients, queries, calls) }
                let cpu = cpuSeconds(of: bench.server.processID) - before
                guard round >= 0 else { continue }
                found[telling, default: Found()].add(Double(calls) / spent, cpu / Double(calls) * 1e6, collector.bytes - sent)
            }
        }
        Self.say("search", found, &report)
        for (_, bench, clients) in nodes {
            for client in clients { await client.close() }
            await bench.stop()
        }
    }

    private static func search(_ clients: [GRPCClient], _ queries: [[UInt8]], _ calls: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (caller, client) in clients.enumerated() {
                group.addTask {
                    for i in stride(from: caller, to: calls, by: clients.count) {
                        _ = try await client.unary("/vecraft.v1.Points/Search", ByteBuffer(bytes: queries[i % queries.count]))
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    // MARK: Bulk load

    private static func ingest(_ collector: Collector, _ report: inout Report, _ group: any EventLoopGroup) async throws {
        let count = 50_000, dimension = 384, rounds = 10
        var points = Points(count: count, dimension: dimension)
        let requests = points.requests(collection: "bench", batch: 500)
        var found: [Telling: Found] = [:]
        for round in 0..<rounds {
            for i in 0..<Telling.allCases.count {
                let telling = Telling.allCases[(i + round) % Telling.allCases.count]
                let sent = collector.bytes
                let bench = try await BenchServer.start(
                    "overhead-ingest", dimension: dimension, settings: telling.settings,
                    environment: telling.environment(collector.port), group: group)
                let before = cpuSeconds(of: bench.server.processID)
                let spent = try await seconds { try await bench.load(requests) }
                try await bench.settle(count)
                let cpu = cpuSeconds(of: bench.server.processID) - before
                await bench.stop()
                found[telling, default: Found()].add(Double(count) / spent, cpu / Double(count) * 1e6, collector.bytes - sent)
            }
        }
        Self.say("ingest", found, &report)
    }

    // MARK: What was found

    private struct Found {
        var rates: [Double] = []
        /// Microseconds of the server's CPU, each.
        var cpu: [Double] = []
        /// Of spans, that the collector took.
        var bytes = 0

        mutating func add(_ rate: Double, _ cpu: Double, _ bytes: Int) {
            self.rates.append(rate)
            self.cpu.append(cpu)
            self.bytes += bytes
        }
    }

    private static func say(_ what: String, _ found: [Telling: Found], _ report: inout Report) {
        guard let base = found[.nothing] else { return }
        for telling in Telling.allCases {
            guard let one = found[telling] else { continue }
            let slower = median(zip(base.rates, one.rates).map { ($0 / $1 - 1) * 100 })
            let more = median(zip(base.cpu, one.cpu).map { ($1 / $0 - 1) * 100 })
            report.row(
                what, telling.rawValue, median(one.rates).text(0), slower.text(), median(one.cpu).text(), more.text(),
                (Double(one.bytes) / 1e6).text())
            report.value("\(what)_\(telling)_slower_percent", slower)
            report.value("\(what)_\(telling)_cpu_more_percent", more)
        }
    }

    /// Takes spans and forgets them.
    private final class Collector: Sendable {
        let port: Int
        private let server: GRPCServer
        private let taken: Tally

        private final class Tally: Sendable {
            let bytes = Atomic<Int>(0)
        }

        static func start(_ group: any EventLoopGroup) async throws -> Collector {
            let taken = Tally()
            let server = try GRPCServer(
                methods: [
                    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": .unary {
                        (_, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
                        // Unread: what a collector costs is not the node's.
                        taken.bytes.add(message.count, ordering: .relaxed)
                        out.writeBytes(OTLPCollectorTraceV1.ExportTraceServiceResponse().encode())
                        return .reply
                    }
                ], group: group)
            return Collector(try await server.start(host: "127.0.0.1", port: 0), server, taken)
        }

        private init(_ port: Int, _ server: GRPCServer, _ taken: Tally) {
            self.port = port
            self.server = server
            self.taken = taken
        }

        var bytes: Int { self.taken.bytes.load(ordering: .relaxed) }
        func stop() async { await self.server.drain(grace: .seconds(1)) }
    }
}
