import ClusterSupport
import Foundation
import NIOCore
import Primitives
import TestSupport
import Wire

/// A follower that was away for many entries catches up while writes go on; what that costs the leader in memory.
enum CatchUpBenchmark {
    static let entryBytes = 1024

    static func run() async throws {
        let arguments = CommandLine.arguments.dropFirst(2)
        let entries = arguments.compactMap { Int($0) }.first ?? 100_000
        guard let h2load = findProgram("h2load") else {
            print("skipped: needs h2load (Debian package nghttp2-client)")
            return
        }
        let directory = try temporaryDirectory("catchup")
        var options = TestCluster.Options()
        options.roles = "journal"
        options.settings = ["log.level=warning"]
        let cluster = try await TestCluster.start(options)
        let away = try await cluster.follower(of: "data-0")
        let before = cluster[try await cluster.leader(of: "data-0").node].memory
        await cluster[away].kill()
        let leader = cluster[try await cluster.leader(of: "data-0").node]
        let target = JournalBenchmark.Target(
            processes: [leader.processID], url: { "http://127.0.0.1:\(leader.grpcPort)\(JournalBenchmark.append)" },
            body: try JournalBenchmark.write(JournalBenchmark.append(self.entryBytes), directory + "/append")
        ) { try await leader.partitions(timeout: .seconds(20))["data-0"]?.committedOffset ?? 0 }
        let rate = try await JournalBenchmark.Load.run(target, calls: entries, clients: 64, h2load).rate
        let full = leader.memory

        var settings = AppendLoad.Settings()
        settings.clients = 4
        settings.bytes = self.entryBytes
        settings.rest = .milliseconds(1)
        let load = AppendLoad(cluster, settings: settings)
        var peak = full
        var spent = 0.0
        let record = try await load.run {
            try await eventually("writes go on") { load.acknowledged > 10 }
            let start = ContinuousClock.now
            try await cluster[away].begin()
            let goal = try await leader.partitions()["data-0"]?.committedOffset ?? 0
            try await eventually("the follower has caught up", within: .seconds(480), every: .milliseconds(20)) {
                let now = leader.memory
                peak = (max(peak.resident, now.resident), max(peak.anonymous, now.anonymous))
                guard let info = try await cluster[away].partitions()["data-0"] else { return false }
                return info.committedOffset >= goal
            }
            spent = start.duration(to: .now) / .seconds(1)
        }
        try await cluster[away].awaitReady()
        let findings = try await ClusterAudit(cluster).findings(record.history, partition: "data-0")
        let meanwhile = Double(record.count) / max(spent, 0.001)
        let failed = await cluster.stopAll()
        removeTree(directory)
        var report = Report("catchup")
        func megabytes(_ bytes: Int) -> String { (Double(bytes) / 1e6).text(0) }
        report.header("a follower away for \(entries) entries of \(self.entryBytes) bytes", "")
        report.row("written while it was away, entries/s", rate.text(0))
        report.row("caught up after s, its start included", spent.text(2))
        report.row("entries/s", (Double(entries) / spent).text(0))
        report.row("MB/s", (Double(entries * self.entryBytes) / spent / 1e6).text(0))
        report.row("appends/s of four clients meanwhile", meanwhile.text(0))
        report.row(
            "leader's memory before, MB resident (without pages of files)",
            "\(megabytes(before.resident)) (\(megabytes(before.anonymous)))")
        report.row(
            "leader's memory when the follower comes back", "\(megabytes(full.resident)) (\(megabytes(full.anonymous)))"
        )
        report.row(
            "leader's memory at most until it has caught up",
            "\(megabytes(peak.resident)) (\(megabytes(peak.anonymous)))")
        for finding in findings + record.failures.prefix(5) { report.note("FINDING: \(finding)") }
        if !failed.isEmpty { report.note("exit codes: \(failed)") }
        report.value("entries", Double(entries))
        report.value("seconds", spent)
        report.value("leader_anonymous_bytes_before", Double(before.anonymous))
        report.value("leader_anonymous_bytes_peak", Double(peak.anonymous))
        report.value("leader_resident_bytes_peak", Double(peak.resident))
        report.value("findings", Double(findings.count + record.failures.count))
        try report.finish()
        if !findings.isEmpty { throw VecraftError(.dataLoss, "\(findings.count) findings") }
    }
}
