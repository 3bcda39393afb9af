import ClusterSupport
import Foundation
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// The console's map, open in a browser while a node of the cluster is killed.
    @Suite("The console of a cluster", .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
    struct ConsoleMapTests {
        struct Report: Decodable {
            let before, after: ConsoleMap
            let complaints, foreign: [String]
        }

        @Test(.timeLimit(.minutes(20))) func saysWhichNodeIsGone() async throws {
            let etcd = try await EtcdProcess.start()
            var options = TestCluster.Options()
            options.etcd = etcd
            // Longer than the test: what it held stays on the map.
            options.settings = ["cluster.down_after_ms=600000"]
            let cluster = try await TestCluster.start(options)
            let report: Report
            do {
                _ = try await cluster.create("registers", dimension: 4, shards: 4)
                // What was replayed or elected a moment ago is past before the page is opened.
                let _: VecraftV1.OverviewResponse = try await eventually("all is well", every: .milliseconds(200)) {
                    let overview: VecraftV1.OverviewResponse = try await cluster[1].call(
                        "vecraft.v1.Cluster/Overview", VecraftV1.OverviewRequest())
                    return overview.problems.isEmpty && overview.nodes.allSatisfy { $0.lagEntries == 0 }
                        ? overview : nil
                }
                report = try await ConsolePage.report([
                    "cluster", "http://127.0.0.1:\(cluster[1].httpPort)", "\(cluster[3].processID)",
                ])
            } catch {
                await cluster.killAll()
                throw error
            }
            await cluster.killAll()
            #expect(report.before.headline == "Everything is as it should be")
            #expect(
                report.before.advice
                    == "3 nodes · 4 journal partitions, all led · 4 shards, all copies ready · no replay lag")
            #expect(report.before.nodes.map { $0[1] } == ["✓ ready", "✓ ready", "✓ ready"])
            #expect(report.before.partitions.allSatisfy { $0[1] == "✓ led" && Set($0[2...4]) == ["leader", "voter"] })
            #expect(report.before.copies.count == 3)
            // At the top, in its row, among the voters and on the map of copies; and what to do.
            #expect(report.after.headline == "node-3 does not answer" && report.after.level == "verdict warn")
            #expect(report.after.nodes[2][1] == "✕ does not answer")
            #expect(report.after.partitions.allSatisfy { $0[4].hasSuffix(", does not answer") })
            #expect(report.after.copies[2].contains("✕does not answer"))
            #expect(report.after.advice.hasPrefix("Start vecraft there again"))
            #expect(report.after.advice.contains("Reads and writes go on, but one more lost node would stop writes."))
            #expect(report.complaints == [] && report.foreign == [])
            _ = etcd
        }
    }
}
