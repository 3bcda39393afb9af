import ClusterSupport
import Foundation
import Linearizability
import NIOCore
import Primitives
import TestSupport
import Wire

/// The leader is killed again and again under load, with default settings: how long until writes flow again, and whether all that
/// was acknowledged is there, once.
enum FailoverBenchmark {
    private struct Kill {
        var node: Int
        var term: UInt64
        /// Of the history's clock, and of the wall's in milliseconds.
        var at: UInt64
        var wall: Double
        var partition: String
    }

    static func run() async throws {
        let kills = CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 50
        var options = TestCluster.Options()
        options.settings = ["log.level=warning"]
        let cluster = try await TestCluster.start(options)
        let partition = try await cluster.create("bench", dimension: 4).partition
        let load = ClusterLoad(cluster, collection: "bench")
        var done: [Kill] = []
        var rng = SeededRNG(seed: 50)
        let record = try await load.run {
            for number in 1...kills {
                // From rest to rest: all nodes up, none behind, and the moment of the kill is anybody's.
                for node in cluster.nodes { try await cluster.awaitCaughtUp(node.id) }
                try await load.awaitWrites(100)
                try await Task.sleep(for: .milliseconds(Int.random(in: 200...800, using: &rng)))
                let leader = try await cluster.leader(of: partition)
                let wall = Date().timeIntervalSince1970 * 1000
                done.append(
                    Kill(node: leader.node, term: leader.term, at: historyTime(), wall: wall, partition: partition))
                await cluster[leader.node].kill()
                try await load.awaitWrites(100)
                try await cluster[leader.node].start()
                if number % 10 == 0 { print("\(number) kills, \(load.acknowledged) writes") }
            }
            try await load.awaitWrites(100)
        }
        let audit = ClusterAudit(cluster)
        let findings = try await audit.findings(
            record, collection: "bench", registers: ClusterLoad.Settings().registers)
        let terms = try await audit.termStarts(partition)
        _ = await cluster.stopAll()
        try self.report(done, record, terms, findings)
        if !findings.isEmpty { throw VecraftError(.dataLoss, "\(findings.count) findings") }
    }

    private static func report(
        _ kills: [Kill], _ record: LoadRecord, _ terms: [UInt64: Double], _ findings: [String]
    ) throws {
        var report = Report("failover")
        report.header("milliseconds after the kill", "min", "median", "p95", "max")
        var elected: [Double] = [], flowing: [Double] = [], everyone: [Double] = []
        for (i, kill) in kills.enumerated() {
            let end = i + 1 < kills.count ? kills[i + 1].at : UInt64.max
            let after = record.writes.filter { $0.returned > kill.at && $0.returned < end }
            func milliseconds(_ time: UInt64) -> Double { Double(time - kill.at) / 1e6 }
            if let first = after.filter({ $0.invoked > kill.at }).map(\.returned).min() {
                flowing.append(milliseconds(first))
            }
            let firsts = Dictionary(grouping: after, by: \.client).values.compactMap { $0.map(\.returned).min() }
            if let last = firsts.max() { everyone.append(milliseconds(last)) }
            if let start = terms.filter({ $0.key > kill.term }).min(by: { $0.key < $1.key })?.value {
                elected.append(max(0, start - kill.wall))
            }
        }
        for (name, key, values) in [
            ("a new leader is elected", "elected", elected),
            ("a write begun after it is acknowledged", "flowing", flowing),
            ("each of 16 writers has had an answer", "everyone", everyone),
        ] {
            let (low, middle, high, most) = (
                values.min() ?? 0, median(values), quantile(values, 0.95), values.max() ?? 0
            )
            report.row(name, low.text(0), middle.text(0), high.text(0), most.text(0))
            report.value("\(key)_ms_min", low)
            report.value("\(key)_ms_median", middle)
            report.value("\(key)_ms_p95", high)
            report.value("\(key)_ms_max", most)
        }
        report.value("kills", Double(kills.count))
        report.value("writes", Double(record.writes.count))
        report.value("findings", Double(findings.count + record.failures.count))
        report.note(
            "\(kills.count) kills -9 of the leader, three nodes, default settings; 16 writers and 16 strong readers: \(record.summary);"
        )
        report.note(
            findings.isEmpty
                ? "none lost, none doubled, the history of \(record.history.operations.count) operations is linearizable;"
                : "FINDINGS: \(findings.joined(separator: "\n"))")
        for failure in record.failures.prefix(5) { report.note("failed: \(failure)") }
        report.note(
            "election by the wall clock in the new term's first entry; client and servers share this machine's cores;")
        report.note("target: median below 600 ms until writes flow")
        try report.finish()
    }
}
