import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// A node that lost its data, or a part of it, must not be taken for the one it was: it would vote again in terms in which it has voted, and
    /// what only it and one that is down had stored would be outvoted.
    @Suite("Lost data", .serialized, .enabled(if: ServerProcess.takesPeers))
    struct LostDataTests {
        /// Four acknowledged writes that two of three nodes have; then one of the two loses everything, the other is down.
        private func prepare() async throws -> ClusterRun {
            let run = try await ClusterRun.start()
            await run.cluster[3].kill()
            for id in ["a", "b", "c", "d"] {
                let _: VecraftV1.UpsertResponse = try await run.cluster.call(
                    "vecraft.v1.Points/Upsert",
                    VecraftV1.UpsertRequest(
                        collection: ClusterRun.collection,
                        points: [VecraftV1.Point(id: id, vector: .init(values: [1, 2, 3, 4]))],
                        idempotencyKey: id))
            }
            await run.cluster[1].kill()
            await run.cluster[2].kill()
            return run
        }

        private func count(_ node: ClusterNode, timeout: Duration = .seconds(20)) async throws -> UInt64 {
            let reply: VecraftV1.CountResponse = try await node.persistently(
                "vecraft.v1.Points/Count",
                VecraftV1.CountRequest(collection: ClusterRun.collection, read: .init(consistency: .strong)),
                timeout: timeout)
            return reply.count
        }

        @Test(.timeLimit(.minutes(10))) func aNodeWhoseFolderWasEmptiedIsNotListenedTo() async throws {
            let run = try await self.prepare()
            let cluster = run.cluster
            let folder = cluster.directory.file("node-1")
            let kept = cluster.directory.file("kept")
            try FileManager.default.moveItem(atPath: folder, toPath: kept)
            try await cluster[1].begin()
            try await cluster[3].begin()
            try await eventually("node 3 says why node 1 is not listened to") {
                cluster[3].logText.contains("comes with another journal than before")
            }
            // Long enough for many elections.
            for _ in 0..<30 {
                let ready = [await cluster[1].readiness(), await cluster[3].readiness()]
                #expect(!ready.contains(200), "two of three lead without what was acknowledged")
                try await Task.sleep(for: .milliseconds(100))
            }
            // The one that has it all makes a majority with node 3.
            try await cluster[2].start()
            #expect(try await self.count(cluster[2]) == 4)
            try await eventually("node 3 is ready") { await cluster[3].readiness() == 200 }
            #expect(try await self.count(cluster[3]) == 4)
            // With what it had, node 1 is itself again.
            await cluster[1].kill()
            try FileManager.default.removeItem(atPath: folder)
            try FileManager.default.moveItem(atPath: kept, toPath: folder)
            try await cluster[1].start()
            #expect(try await self.count(cluster[1]) == 4)
            try await run.finish()
        }

        @Test(.timeLimit(.minutes(10))) func aNodeThatLostOnePartitionDoesNotStart() async throws {
            let run = try await self.prepare()
            let cluster = run.cluster
            let folder = cluster.directory.file("node-1/journal/\(run.partition)")
            let kept = cluster.directory.file("kept")
            try FileManager.default.moveItem(atPath: folder, toPath: kept)
            try await cluster[1].begin()
            try await eventually("it ends") { !cluster[1].isRunning }
            #expect(cluster[1].logText.contains("term and vote of \(run.partition) are lost"), "\(cluster[1].logText)")
            #expect(cluster[1].logText.contains("remove-replica"))
            try FileManager.default.moveItem(atPath: kept, toPath: folder)
            // A lost vote alone is the same.
            let state = folder + "/replica-state"
            try FileManager.default.moveItem(atPath: state, toPath: kept)
            try await cluster[1].begin()
            try await eventually("it ends") { !cluster[1].isRunning }
            let said =
                cluster[1].logText.components(separatedBy: "term and vote of \(run.partition) are lost").count - 1
            #expect(said >= 2, "\(cluster[1].logText)")
            try FileManager.default.moveItem(atPath: kept, toPath: state)
            for node in cluster.nodes { try await node.begin() }
            for node in cluster.nodes {
                try await node.awaitReady()
                #expect(try await self.count(node) == 4)
            }
            try await run.finish()
        }
    }
}
