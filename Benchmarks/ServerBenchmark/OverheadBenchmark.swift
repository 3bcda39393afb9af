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
        /// As the first: what it differs by is chance, and where the kernel has put its memory.
        case control = "nothing, once more"
        case metrics
        case sampled = "metrics, 1 % of traces"
        case everything = "metrics, all traces"

        var settings: [String] { self == .nothing || self == .control ? ["metrics.enabled=false"] : [] }

        /// Of spans that are no batch yet, milliseconds.
        static let delay = 100

        /// One call of so many.
        var traced: Int { self == .everything ? 1 : self == .sampled ? 100 : 0 }

        func environment(_ collector: Int) -> [String: String] {
            guard self == .sampled || self == .everything else { return [:] }
            return [
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:\(collector)", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": self == .sampled ? "0.01" : "1",
                "OTEL_BSP_MAX_QUEUE_SIZE": "8192", "OTEL_BSP_SCHEDULE_DELAY": "\(Self.delay)",
            ]
        }
    }

    static func run(group: any EventLoopGroup) async throws {
        let collector = try await Collector.start(group)
        var report = Report("overhead")
        report.header("what", "telling", "per second", "slower by %", "than metrics", "server CPU us", "more by %", "MB of spans")
        try await Self.searches(collector, &report, group)
        if CommandLine.arguments.dropFirst(2).first != "search" { try await Self.ingest(collector, &report, group) }
        report.note(
            "slower, more: the median of each round's ratio to the node that tells nothing; than metrics: for searches, to those of the same node without spans")
        report.note("collector, client and nodes share the cores")
        report.note("target: at most 5 % of either")
        try report.finish()
        await collector.stop()
    }

    // MARK: Searches

    /// One node answers all that has metrics, and callers decide which traces are recorded: so what spans cost is told apart from what
    /// two processes differ by.
    private static func searches(_ collector: Collector, _ report: inout Report, _ group: any EventLoopGroup) async throws {
        // Nodes of one kind differ from one start to the next, so there are several.
        let count = 25_000, dimension = 384, starts = 6, rounds = 6, calls = 8_000, callers = 8
        var points = Points(count: count, dimension: dimension)
        let requests = points.requests(collection: "bench", batch: 500)
        let queries = (0..<512).map { _ in
            VecraftV1.SearchRequest(
                collection: "bench", vector: VecraftV1.Vector(packed: points.vector().withUnsafeBytes { [UInt8]($0) }),
                limit: 10, withoutPayload: true
            ).encode()
        }
        var environment = Telling.everything.environment(collector.port)
        environment["OTEL_TRACES_SAMPLER"] = "parentbased_always_on"
        environment["OTEL_TRACES_SAMPLER_ARG"] = nil
        var found: [Telling: Found] = [:]
        for start in 0..<starts {
            var nodes: [Telling: (bench: BenchServer, clients: [GRPCClient])] = [:]
            let kinds: [Telling] = [.nothing, .control, .metrics]
            for kind in kinds.indices.map({ kinds[($0 + start) % kinds.count] }) {
                let bench = try await BenchServer.start(
                    "overhead", dimension: dimension, settings: kind.settings,
                    environment: kind == .metrics ? environment : [:], group: group)
                try await bench.load(requests)
                try await bench.settle(count)
                var clients: [GRPCClient] = []
                for _ in 0..<callers {
                    clients.append(
                        try await GRPCClient.connect(host: "127.0.0.1", port: bench.server.grpcPort, group: group))
                }
                nodes[kind] = (bench, clients)
            }
            for round in -1..<rounds {
                // Each round begins with another: what drifts meets all alike.
                for i in Telling.allCases.indices {
                    let telling = Telling.allCases[(i + round + 1) % Telling.allCases.count]
                    guard let (bench, clients) = nodes[telling] ?? nodes[.metrics] else { continue }
                    let sent = collector.bytes
                    let before = cpuSecondsOfThreads(of: bench.server.processID)
                    let spent = try await seconds { try await Self.search(clients, queries, calls, telling.traced) }
                    // What is left of its spans goes out in its own time.
                    try await Task.sleep(for: .milliseconds(3 * Telling.delay))
                    let cpu = cpuSecondsOfThreads(of: bench.server.processID) - before
                    guard round >= 0 else { continue }
                    found[telling, default: Found()].add(
                        Double(calls) / spent, cpu / Double(calls) * 1e6, collector.bytes - sent)
                }
            }
            for (bench, clients) in nodes.values {
                for client in clients { await client.close() }
                await bench.stop()
            }
        }
        Self.say("search", found, &report)
    }

    /// - Parameter traced: One call of so many is of a trace that is recorded; 0: none.
    private static func search(
        _ clients: [GRPCClient], _ queries: [[UInt8]], _ calls: Int, _ traced: Int
    ) async throws {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
        let sampled: GRPCMetadata = ["traceparent": trace + "01"]
        let unsampled: GRPCMetadata = ["traceparent": trace + "00"]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (caller, client) in clients.enumerated() {
                group.addTask {
                    for i in stride(from: caller, to: calls, by: clients.count) {
                        let isSampled = traced > 0 && i / clients.count % traced == 0
                        _ = try await client.unary(
                            "/vecraft.v1.Points/Search", ByteBuffer(bytes: queries[i % queries.count]),
                            metadata: isSampled ? sampled : unsampled)
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
                let before = cpuSecondsOfThreads(of: bench.server.processID)
                let spent = try await seconds { try await bench.load(requests) }
                try await bench.settle(count)
                let cpu = cpuSecondsOfThreads(of: bench.server.processID) - before
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
        guard let base = found[.nothing], let metrics = found[.metrics] else { return }
        func slower(_ one: Found, than other: Found) -> Double {
            median(zip(other.rates, one.rates).map { ($0 / $1 - 1) * 100 })
        }
        for telling in Telling.allCases {
            guard let one = found[telling] else { continue }
            let slow = slower(one, than: base)
            let more = median(zip(base.cpu, one.cpu).map { ($1 / $0 - 1) * 100 })
            report.row(
                what, telling.rawValue, median(one.rates).text(0), slow.text(), slower(one, than: metrics).text(),
                median(one.cpu).text(), more.text(), (Double(one.bytes) / 1e6).text())
            report.value("\(what)_\(telling)_slower_percent", slow)
            report.value("\(what)_\(telling)_slower_than_metrics_percent", slower(one, than: metrics))
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
