import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

/// Nodes come, go, and come back from far behind, while clients write.
@Suite("Cluster membership", .serialized, .enabled(if: ServerProcess.takesPeers))
struct MembershipTests {
    @Test(.timeLimit(.minutes(10))) func aFourthNodeJoinsVotesAndLeaves() async throws {
        let run = try await ClusterRun.start()
        try await run.load(seed: 6) { load in
            try await load.awaitWrites(300)
            let fourth = try await run.cluster.join(4)
            try await run.change(.add(fourth))
            try await fourth.awaitReady()
            try await run.cluster.awaitCaughtUp(4)
            for (name, info) in try await fourth.partitions() {
                #expect(info.members.filter(\.voter).map(\.nodeID).sorted() == [1, 2, 3, 4], "\(name)")
            }
            try await load.awaitWrites(100)
            // Four voters: with the leader gone, three of four must do.
            try await Fault.killLeader.strike(run, load, round: 0)
            try await load.awaitWrites(100)
            try await run.change(.remove(4))
            try await load.awaitWrites(100)
            #expect(await fourth.stop() == 0)
            run.cluster.forget(4)
            try await load.awaitWrites(100)
            for (name, info) in try await run.cluster[1].partitions() {
                #expect(info.members.map(\.nodeID).sorted() == [1, 2, 3], "\(name)")
            }
        }
        try await run.finish()
    }

    @Test(.timeLimit(.minutes(10))) func aLeaderHandsOver() async throws {
        let run = try await ClusterRun.start()
        try await run.load(seed: 7) { load in
            for _ in 0..<3 {
                try await load.awaitWrites(50)
                let target = try await run.cluster.follower(of: run.partition)
                let _: VecraftInternalV1.TransferLeadershipResponse = try await run.cluster.call(
                    "vecraft.internal.v1.Journal/TransferLeadership",
                    VecraftInternalV1.TransferLeadershipRequest(partition: run.partition, nodeID: UInt64(target)))
                try await eventually("node \(target) leads") {
                    await run.cluster.leaderNow(of: run.partition)?.node == target
                }
            }
            try await load.awaitWrites(50)
        }
        try await run.finish()
    }

    /// - Parameter trims: The others forget what the node that was away lacks, so that it is sent the log itself, and its shard.
    @Test(.timeLimit(.minutes(10)), arguments: [false, true]) func aNodeThatWasAwayCatchesUp(trims: Bool) async throws {
        let run = try await ClusterRun.start {
            if trims { $0.settings += ["journal.segment_bytes=1MiB", "journal.max_batch_bytes=1MiB"] }
        }
        let away = try await run.cluster.follower(of: run.partition)
        try await run.load(seed: 8) { load in
            try await load.awaitWrites(100)
            await run.cluster[away].kill()
            var bulk = AppendLoad.Settings()
            bulk.partition = run.partition
            bulk.bytes = 4096
            bulk.seed = 80
            let appends = AppendLoad(run.cluster, settings: bulk)
            let record = try await appends.run {
                try await eventually("2,000 entries more") { appends.acknowledged >= 2_000 }
            }
            #expect(record.failures.isEmpty, "\(record.failures.prefix(5))")
            if trims { try await Self.trim(run, except: away) }
            try await run.cluster[away].start()
            try await run.cluster.awaitCaughtUp(away)
            try await load.awaitWrites(100)
        }
        try await run.finish()
    }

    private static func trim(_ run: ClusterRun, except away: Int) async throws {
        for node in run.cluster.nodes where node.id != away {
            let through = try await node.partitions()[run.partition]?.committedOffset ?? 0
            try await eventually("node \(node.id) trims its log") {
                let reply: VecraftInternalV1.TrimResponse = try await node.call(
                    "vecraft.internal.v1.Journal/Trim",
                    VecraftInternalV1.TrimRequest(partition: run.partition, through: through))
                return reply.firstOffset > 500
            }
        }
    }
}
