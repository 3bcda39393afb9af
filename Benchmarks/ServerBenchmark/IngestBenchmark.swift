import Foundation
import NIOCore
import Primitives
import Wire

/// Durable bulk upserts of 384-d points from one client over one stream.
enum IngestBenchmark {
    static func run(group: any EventLoopGroup) async throws {
        let count = 100_000, dimension = 384, batch = 500
        var points = Points(count: count, dimension: dimension)
        let requests = points.requests(collection: "bench", batch: batch)
        let bytes = requests.reduce(0) { $0 + $1.count }
        var report = Report("ingest")
        report.header("round", "points/s durable", "MB/s", "server CPU us/point", "searchable after s", "in the graph after s")
        var rates: [Double] = []
        for round in 1...3 {
            let bench = try await BenchServer.start("ingest", dimension: dimension, group: group)
            let before = cpuSeconds(of: bench.server.processID)
            let start = ContinuousClock.now
            let spent = try await seconds { try await bench.load(requests) }
            let cpu = cpuSeconds(of: bench.server.processID) - before
            let request = VecraftV1.CountRequest(collection: "bench", read: VecraftV1.ReadOptions(consistency: .strong))
            let counted = try VecraftV1.CountResponse.decode(
                try await bench.client.unary("/vecraft.v1.Points/Count", request.encode(), timeout: .seconds(60))).count
            guard counted == count else { throw VecraftError(.dataLoss, "\(counted) points instead of \(count)") }
            let searchable = start.duration(to: .now)
            try await bench.settle(count)
            let linked = start.duration(to: .now)
            let rate = Double(count) / spent
            rates.append(rate)
            report.row(
                "\(round)", rate.text(0), (Double(bytes) / spent / 1e6).text(0), (cpu / Double(count) * 1e6).text(),
                Self.text(searchable), Self.text(linked))
            await bench.stop()
        }
        report.value("points_per_second", median(rates))
        report.note("median \(median(rates).text(0)) points/s of \(dimension) components, \(batch) a request, committed by fdatasync; target 40000")
        try report.finish()
    }

    private static func text(_ duration: Duration) -> String {
        let parts = duration.components
        return (Double(parts.seconds) + Double(parts.attoseconds) * 1e-18).text(2)
    }
}
