import Foundation
import GRPC
import NIOCore
import Primitives
import TestSupport
import Wire

/// What lineage costs and what it gives: the history of one point among a million entries, and the key index's share of disk and ingest.
enum LineageBenchmark {
    private static let dimension = 32

    static func run(group: any EventLoopGroup) async throws {
        let entries = CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 1_000_000
        var report = Report("lineage")
        report.header("what", "median ms", "p99 ms", "most ms", "entries read")
        try await Self.questions(entries, &report, group)
        try await Self.ingest(&report, group)
        try report.finish()
    }

    // MARK: Questions

    private static func questions(_ entries: Int, _ report: inout Report, _ group: any EventLoopGroup) async throws {
        let bench = try await BenchServer.start("lineage", dimension: Self.dimension, group: group)
        let directory = bench.server.dataDirectory
        // One point an entry; a tenth of the points are written a second time.
        var points = Points(count: entries - entries / 10, dimension: Self.dimension)
        var requests = points.requests(collection: "bench", batch: 1)
        requests += requests.prefix(entries / 10)
        let spent = try await seconds { try await bench.load(requests) }
        print("\(entries) entries in \(spent.text()) s")
        requests = []
        try await Self.ask(entries, "at first", bench.client, &report)
        await bench.client.close()
        bench.server.terminate()
        let again = try ServerProcess(
            dataDirectory: directory, settings: ["log.level=warning"], patience: .seconds(600))
        let client = try await GRPCClient.connect(host: "127.0.0.1", port: again.grpcPort, group: group)
        try await Self.ask(entries, "after a restart", client, &report)
        await client.close()
        again.terminate()
        let (journal, index) = Self.sizes(directory + "/journal")
        let share = Double(index.bytes) / Double(max(1, index.of))
        report.note(
            "journal \((Double(journal) / 1e6).text(0)) MB; index \((Double(index.bytes) / 1e6).text(1)) MB beside \((Double(index.of) / 1e6).text(0)) MB of sealed segments, \((share * 100).text(2)) % (target 10)"
        )
        report.value("index_share", share)
        removeTree(directory)
    }

    private static func ask(_ entries: Int, _ when: String, _ client: GRPCClient, _ report: inout Report) async throws {
        var rng = SeededRNG(seed: 3)
        var times: [Double] = []
        var scanned: [Double] = []
        for i in 0..<1_000 {
            let id = Int.random(in: 0..<entries - entries / 10, using: &rng)
            let request = VecraftV1.RecordLineageRequest(collection: "bench", id: "point-\(id)")
            let start = ContinuousClock.now
            let found = try VecraftV1.LineageResponse.decode(
                try await client.unary("/vecraft.v1.Lineage/Record", request.encode(), timeout: .seconds(60)))
            let parts = start.duration(to: .now).components
            times.append((Double(parts.seconds) + Double(parts.attoseconds) * 1e-18) * 1e3)
            scanned.append(Double(found.scanned))
            let wanted = id < entries / 10 ? 2 : 1
            guard found.entries.count == wanted else {
                throw VecraftError(.dataLoss, "point-\(id) has \(found.entries.count) entries instead of \(wanted)")
            }
            if i == 0 {
                report.row("the first question \(when)", times[0].text(2), "", "", scanned[0].text(0))
                report.value("first_ms_\(when.replacingOccurrences(of: " ", with: "_"))", times[0])
            }
        }
        let rest = Array(times.dropFirst())
        report.row(
            "999 more \(when)", median(rest).text(2), quantile(rest, 0.99).text(2), (rest.max() ?? 0).text(2),
            median(scanned).text(0))
        report.value("median_ms_\(when.replacingOccurrences(of: " ", with: "_"))", median(rest))
    }

    /// Bytes of all segments; bytes of the indexes and of the segments they belong to.
    private static func sizes(_ directory: String) -> (journal: Int, index: (bytes: Int, of: Int)) {
        var journal = 0
        var index = (bytes: 0, of: 0)
        let files = FileManager.default
        func size(_ path: String) -> Int { ((try? files.attributesOfItem(atPath: path))?[.size] as? Int) ?? 0 }
        for name in files.enumerator(atPath: directory)?.compactMap({ $0 as? String }) ?? [] {
            let path = directory + "/" + name
            if name.hasSuffix(".segment") { journal += size(path) }
            guard name.hasSuffix(".lineage") else { continue }
            index.bytes += size(path)
            index.of += size(String(path.dropLast(".lineage".count)) + ".segment")
        }
        return (journal, index)
    }

    // MARK: Ingest

    /// The same bulk load with and without the index, in turns.
    private static func ingest(_ report: inout Report, _ group: any EventLoopGroup) async throws {
        let count = 100_000, dimension = 384, rounds = 12
        var points = Points(count: count, dimension: dimension)
        let requests = points.requests(collection: "bench", batch: 500)
        var rates: [Bool: [Double]] = [true: [], false: []]
        var cpu: [Bool: [Double]] = [true: [], false: []]
        for round in 0..<2 * rounds {
            // With, without, without, with, ...: a drift of the machine's speed meets both.
            let isKept = round % 4 == 0 || round % 4 == 3
            let bench = try await BenchServer.start(
                "lineage-ingest", dimension: dimension, settings: ["journal.lineage_index=\(isKept)"], group: group)
            let before = cpuSeconds(of: bench.server.processID)
            let spent = try await seconds { try await bench.load(requests) }
            try await bench.settle(count)
            rates[isKept, default: []].append(Double(count) / spent)
            cpu[isKept, default: []].append((cpuSeconds(of: bench.server.processID) - before) / Double(count) * 1e6)
            await bench.stop()
        }
        let (with, without) = (median(rates[true] ?? []), median(rates[false] ?? []))
        let (cpuWith, cpuWithout) = (median(cpu[true] ?? []), median(cpu[false] ?? []))
        // Neighbours in time are compared, so that a drift of the machine's speed is in neither.
        let pairs = zip(rates[true] ?? [], rates[false] ?? []).map { 1 - $0 / $1 }
        let cpuPairs = zip(cpu[true] ?? [], cpu[false] ?? []).map { $0 / $1 - 1 }
        report.note(
            "ingest of 384 components, 500 a request, \(rounds) pairs: \(with.text(0)) points/s with the index, \(without.text(0)) without; slower by \((median(pairs) * 100).text(1)) % in the median of pairs (target 5)"
        )
        report.note(
            "server CPU a point until it is in the graph: \(cpuWith.text(1)) us with, \(cpuWithout.text(1)) without; more by \((median(cpuPairs) * 100).text(1)) %"
        )
        report.value("ingest_with", with)
        report.value("ingest_without", without)
        report.value("cpu_us_with", cpuWith)
        report.value("cpu_us_without", cpuWithout)
    }
}
