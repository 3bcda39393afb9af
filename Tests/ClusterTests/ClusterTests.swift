import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// Three real nodes under 16 writers and 16 strong readers while one thing goes wrong: no acknowledged write is lost, none is done
    /// twice, every read is linearizable, and the nodes end alike.
    ///
    /// `make torture-cluster` runs the same for long, with all that can go wrong in any order.
    @Suite("Cluster", .serialized, .enabled(if: ServerProcess.takesPeers))
    struct ClusterTests {
        @Test(.timeLimit(.minutes(10)), arguments: [Fault.killLeader, .killFollower, .suspendLeader])
        func survives(fault: Fault) async throws {
            let run = try await ClusterRun.start()
            try await run.load(seed: 1) { load in
                for round in 0..<2 {
                    try await load.awaitWrites(100)
                    try await fault.strike(run, load, round: round)
                    try await load.awaitWrites(100)
                }
            }
            try await run.finish()
        }

        /// Cut off from its peers and not from its clients, a leader must neither acknowledge a write nor answer a read with what it has.
        @Test(
            .timeLimit(.minutes(10)),
            .enabled(if: ClusterNetwork.obstacle == nil, "networks of their own need root and veth"))
        func survivesACutNetwork() async throws {
            let run = try await ClusterRun.start { $0.hasNetworks = true }
            try await run.load(seed: 2) { load in
                for (round, fault) in [Fault.cutOffLeader, .muteLeader, .cutOffFollower].enumerated() {
                    try await load.awaitWrites(100)
                    try await fault.strike(run, load, round: round)
                    try await load.awaitWrites(100)
                }
            }
            try await run.finish()
        }

        @Test(.timeLimit(.minutes(10)), .enabled(if: SmallDisk.obstacle == nil, "a small file system needs root"))
        func survivesAFullDisk() async throws {
            let run = try await ClusterRun.start { $0.smallDisks = [1: 96, 2: 96, 3: 96] }
            try await run.load(seed: 3) { load in
                for (round, fault) in [Fault.fillFollower, .fillLeader].enumerated() {
                    try await load.awaitWrites(100)
                    try await fault.strike(run, load, round: round)
                    try await load.awaitWrites(100)
                }
            }
            try await run.finish()
        }

        /// Each node in turn ends in order and comes back; clients notice nothing that a second attempt does not put right.
        @Test(.timeLimit(.minutes(10))) func isRestartedNodeByNode() async throws {
            let run = try await ClusterRun.start()
            let record = try await run.load(seed: 4) { load in
                for node in run.cluster.nodes {
                    try await load.awaitWrites(100)
                    #expect(await node.stop() == 0, "node \(node.id)")
                    try await load.awaitWrites(50)
                    try await node.start()
                    try await run.cluster.awaitCaughtUp(node.id)
                }
                try await load.awaitWrites(100)
            }
            #expect(record.failures.isEmpty, "\(record.failures.prefix(5))")
            try await run.finish()
        }

        /// All at once lose their power; what was acknowledged is there when they are back.
        @Test(.timeLimit(.minutes(10))) func survivesAllNodesKilled() async throws {
            let run = try await ClusterRun.start()
            try await run.load(seed: 5) { load in
                try await load.awaitWrites(300)
                try await Fault.killAll.strike(run, load, round: 0)
                try await load.awaitWrites(100)
            }
            try await run.finish()
        }

        @Test(.timeLimit(.minutes(10))) func isReadyOnlyWithALeader() async throws {
            let run = try await ClusterRun.start()
            for node in run.cluster.nodes {
                try await eventually("node \(node.id) is ready") { await node.readiness() == 200 }
            }
            await run.cluster[1].kill()
            await run.cluster[2].kill()
            // Alone it must not lead, nor say that it is ready, nor acknowledge.
            try await eventually("a node without a majority is not ready") { await run.cluster[3].readiness() == 503 }
            let error = await #expect(throws: VecraftError.self) {
                let _: VecraftV1.UpsertResponse = try await run.cluster[3].call(
                    "vecraft.v1.Points/Upsert",
                    VecraftV1.UpsertRequest(
                        collection: ClusterRun.collection,
                        points: [VecraftV1.Point(id: "alone", vector: .init(values: [1, 0, 0, 0]))],
                        idempotencyKey: "alone"),
                    timeout: .seconds(2))
            }
            #expect(
                error.map { [.unavailable, .deadlineExceeded].contains($0.code) } == true,
                "\(String(describing: error))")
            // Started again it cannot know its collections, but says that it lives and what it waits for.
            await run.cluster[3].kill()
            try await run.cluster[3].begin()
            try await eventually("a starting node answers operators") {
                await run.cluster[3].answer("/livez")?.status == 200
            }
            try await eventually("it says what it waits for") {
                let ready = await run.cluster[3].answer("/readyz")
                return ready?.status == 503 && ready?.body.contains("waiting for the other nodes") == true
            }
            #expect(await run.cluster[3].answer("/metrics")?.body.contains("vecraft_raft_has_leader") == true)
            #expect(await run.cluster[3].answer("/v1/collections")?.status == 503)
            try await run.cluster[1].start()
            try await run.cluster[2].start()
            for node in run.cluster.nodes {
                try await eventually("node \(node.id) is ready") { await node.readiness() == 200 }
            }
            try await run.finish()
        }
    }
}
