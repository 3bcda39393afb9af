import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
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
                try await Self.awaitMembers([1, 2, 3, 4], run.cluster, at: [4])
                try await load.awaitWrites(100)
                // Four voters: with the leader gone, three of four must do.
                try await Fault.killLeader.strike(run, load, round: 0)
                try await load.awaitWrites(100)
                try await run.change(.remove(4))
                try await load.awaitWrites(100)
                #expect(await fourth.stop() == 0)
                run.cluster.forget(4)
                try await load.awaitWrites(100)
                try await Self.awaitMembers([1, 2, 3], run.cluster, at: [1])
            }
            try await run.finish()
        }

        /// Nobody listens at the address: no vote is given away, and nothing goes on when the caller has gone.
        @Test(.timeLimit(.minutes(10))) func aNodeThatDoesNotAnswerIsNotAdded() async throws {
            let cluster = try await TestCluster.start(Self.small)
            let request = VecraftInternalV1.AddReplicaRequest(nodeID: 9, address: "127.0.0.1:\(FreePorts.take(1)[0])")
            var refused: VecraftError?
            // A busy machine may not come to say it in time; then once more, with more of it.
            for patience in [8, 30, 90] {
                refused = await #expect(throws: VecraftError.self) {
                    let _: VecraftInternalV1.MembersResponse = try await cluster[1].call(
                        "vecraft.internal.v1.Journal/AddReplica", request, timeout: .seconds(patience))
                }
                if refused?.reason == "LEARNER_SILENT" && refused?.message.contains("no member of the group") == true {
                    break
                }
                let _: VecraftInternalV1.MembersResponse? = try? await cluster[1].call(
                    "vecraft.internal.v1.Journal/RemoveReplica", VecraftInternalV1.RemoveReplicaRequest(nodeID: 9))
            }
            #expect(
                refused?.reason == "LEARNER_SILENT" && refused?.message.contains("no member of the group") == true,
                "\(String(describing: refused))")
            try await Self.awaitMembers([1, 2, 3], cluster)

            let abandoned = Task {
                let _: VecraftInternalV1.MembersResponse = try await cluster[2].call(
                    "vecraft.internal.v1.Journal/AddReplica", request, timeout: .seconds(300))
            }
            try await eventually("node 9 is a learner") {
                try await cluster[2].partitions().values.contains { $0.members.contains { $0.nodeID == 9 } }
            }
            abandoned.cancel()
            try await Self.awaitMembers([1, 2, 3], cluster)
            let lines = cluster[2].logText.split(separator: "\n").count { $0.contains("members") }
            #expect(lines < 50, "\(cluster.logs())")
            #expect(await cluster.stopAll().isEmpty, "\(cluster.logs())")
        }

        /// It hears nothing of the configuration without it, and learns all the same that it is out.
        @Test(.timeLimit(.minutes(10))) func aNodeTakesItselfOut() async throws {
            let cluster = try await TestCluster.start(Self.small)
            let stranger = await #expect(throws: VecraftError.self) {
                let _: VecraftInternalV1.MembersResponse = try await cluster[1].persistently(
                    "vecraft.internal.v1.Journal/RemoveReplica", VecraftInternalV1.RemoveReplicaRequest(nodeID: 7))
            }
            #expect(stranger?.code == .notFound, "\(String(describing: stranger))")
            // So that it leads some and follows in the others.
            for (turn, name) in try await cluster[3].partitions(timeout: .seconds(60)).keys.sorted().enumerated() {
                let _: VecraftInternalV1.TransferLeadershipResponse = try await cluster.call(
                    "vecraft.internal.v1.Journal/TransferLeadership",
                    VecraftInternalV1.TransferLeadershipRequest(partition: name, nodeID: turn % 2 == 0 ? 3 : 1))
            }
            do {
                let _: VecraftInternalV1.MembersResponse = try await cluster[3].persistently(
                    "vecraft.internal.v1.Journal/RemoveReplica", VecraftInternalV1.RemoveReplicaRequest(nodeID: 3),
                    timeout: .seconds(60))
            } catch let error as VecraftError where error.code == .notFound {
                // An earlier attempt, whose answer was late, did it.
            }
            try await Self.awaitMembers([1, 2], cluster, at: [1, 2])
            let again = await #expect(throws: VecraftError.self) {
                let _: VecraftInternalV1.MembersResponse = try await cluster[1].persistently(
                    "vecraft.internal.v1.Journal/RemoveReplica", VecraftInternalV1.RemoveReplicaRequest(nodeID: 3))
            }
            #expect(again?.code == .notFound, "\(String(describing: again))")
            #expect(await cluster.stopAll().isEmpty, "\(cluster.logs())")
        }

        private static var small: TestCluster.Options {
            var options = TestCluster.Options()
            options.roles = "journal"
            options.settings = [
                "journal.data_partitions=2", "journal.segment_bytes=1MiB", "journal.max_batch_bytes=1MiB",
            ]
            return options
        }

        private static func awaitMembers(
            _ ids: [UInt64], _ cluster: TestCluster, at nodes: [Int] = [1, 2, 3]
        ) async throws {
            for node in nodes {
                try await eventually("the members are \(ids) as node \(node) knows") {
                    try await cluster[node].partitions().values.allSatisfy {
                        $0.members.filter(\.voter).map(\.nodeID).sorted() == ids && $0.members.count == ids.count
                    }
                }
            }
        }

        @Test(.timeLimit(.minutes(10))) func aLeaderHandsOver() async throws {
            let run = try await ClusterRun.start()
            try await run.load(seed: 7) { load in
                for _ in 0..<3 {
                    try await load.awaitWrites(50)
                    let target = try await run.cluster.follower(of: run.partition)
                    let request = VecraftInternalV1.TransferLeadershipRequest(
                        partition: run.partition, nodeID: UInt64(target))
                    // What is handed over may be lost at once on a busy machine, or not be taken: then it is asked for again.
                    try await eventually("node \(target) leads", within: .seconds(300)) {
                        let _: VecraftInternalV1.TransferLeadershipResponse = try await run.cluster.call(
                            "vecraft.internal.v1.Journal/TransferLeadership", request, within: .seconds(30))
                        try await eventually("node \(target) has taken over", within: .seconds(5)) {
                            await run.cluster.leaderNow(of: run.partition)?.node == target
                        }
                        return true
                    }
                }
                try await load.awaitWrites(50)
            }
            try await run.finish()
        }

        /// - Parameter trims: The others forget what the node that was away lacks, so that it is sent the log itself, and its shard.
        @Test(.timeLimit(.minutes(10)), arguments: [false, true]) func aNodeThatWasAwayCatchesUp(
            trims: Bool
        ) async throws {
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
                let through = try await node.partitions(timeout: .seconds(60))[run.partition]?.committedOffset ?? 0
                try await eventually("node \(node.id) trims its log") {
                    let reply: VecraftInternalV1.TrimResponse = try await node.call(
                        "vecraft.internal.v1.Journal/Trim",
                        VecraftInternalV1.TrimRequest(partition: run.partition, through: through))
                    return reply.firstOffset > 500
                }
            }
        }
    }
}
