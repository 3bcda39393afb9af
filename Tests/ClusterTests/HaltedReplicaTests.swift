import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// A journal replica that does nothing more while its node lives on.
    @Suite(
        "A journal replica that halts", .serialized, .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
    struct HaltedReplicaTests {
        private func overview(_ node: ClusterNode) async throws -> VecraftV1.OverviewResponse {
            try await node.call("vecraft.v1.Cluster/Overview", VecraftV1.OverviewRequest(), timeout: .seconds(5))
        }

        private func voters(_ run: ClusterRun, asking id: Int) async throws -> [UInt64] {
            try await self.overview(run.cluster[id]).partitions.first { $0.partition == run.partition }?.voters ?? []
        }

        /// A voter's folder is away, so its next segment cannot be made. It stays a member that is heard of, and is no voter that counts:
        /// another node takes its place. Put right and started anew it follows again.
        @Test(.timeLimit(.minutes(10))) func anotherTakesItsPlace() async throws {
            let etcd = try await EtcdProcess.start()
            let run = try await ClusterRun.start(shards: 2) {
                $0.nodes = 4
                $0.etcd = etcd
                // So long that a busy machine's controller sees the group at rest meanwhile, and says what has halted.
                $0.settings.append("cluster.down_after_ms=15000")
            }
            let cluster = run.cluster
            let voters = try await eventually("three voters") { () -> [UInt64]? in
                let voters = try await self.voters(run, asking: 1)
                return voters.count == 3 ? voters : nil
            }
            let leader = try await cluster.leader(of: run.partition).node
            let halting = Int(voters.first { $0 != UInt64(leader) }!)
            let spare = cluster.nodes.map(\.id).first { !voters.contains(UInt64($0)) }!
            let folder = cluster[halting].launch.dataDirectory + "/journal/" + run.partition
            try FileManager.default.moveItem(atPath: folder, toPath: folder + "-away")
            var bulk = AppendLoad.Settings()
            bulk.partition = run.partition
            bulk.bytes = 64 << 10
            bulk.clients = 4
            bulk.seed = 77
            bulk.rest = .milliseconds(20)
            let appends = AppendLoad(cluster, settings: bulk)
            let record = try await appends.run {
                try await eventually("the replica halts") {
                    cluster[halting].logText.contains("the replica has halted")
                }
                try await eventually("it is said") {
                    let metrics = await cluster[halting].answer("/metrics")?.body ?? ""
                    return metrics.contains("vecraft_raft_halted{partition=\"\(run.partition)\"} 1")
                }
                try await eventually("node \(spare) votes in its place") {
                    let now = try await self.voters(run, asking: spare)
                    return now.count == 3 && now.contains(UInt64(spare)) && !now.contains(UInt64(halting))
                }
            }
            #expect(record.failures.isEmpty, "\(record.failures.prefix(3))")
            try await eventually("it was said before") {
                cluster.nodes.contains { $0.logText.contains("has halted; a restart may mend it") }
            }
            #expect(cluster[halting].isRunning)
            await cluster[halting].kill()
            if FileManager.default.fileExists(atPath: folder) { try FileManager.default.removeItem(atPath: folder) }
            try FileManager.default.moveItem(atPath: folder + "-away", toPath: folder)
            try await cluster[halting].start()
            try await cluster.awaitCaughtUp(halting)
            try await run.finish()
        }
    }
}
