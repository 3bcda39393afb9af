import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// A node comes back when the others have forgotten what it lacks.
    @Suite("Cluster shard builds", .serialized, .enabled(if: ServerProcess.takesPeers))
    struct ClusterShardBuildTests {
        private static let collection = "docs"
        private static let dimension = 64

        /// Its shards are built from the others, although it is killed in the middle; in the end all three hold the same.
        @Test(.timeLimit(.minutes(10))) func aNodeThatWasAwayBuildsItsShards() async throws {
            let run = try await ClusterRun.start {
                // Slow enough that there is a middle, and that it is seen though the machine stands still for some seconds.
                $0.settings += ["storage.transfer_bytes_per_second=120KiB", "storage.checkpoint_bytes=1MiB"]
            }
            _ = try await run.cluster.create(Self.collection, dimension: Self.dimension)
            try await Self.write(run, points: 0..<3_000)
            let away = try await run.cluster.follower(of: run.partition)
            let node = run.cluster[away]
            let lacking =
                try #require(try await node.partitions(timeout: .seconds(60))[run.partition]).committedOffset + 1
            await node.kill()
            try await Self.write(run, points: 2_000..<9_000)
            try await Self.delete(run, points: 0..<500)
            for other in run.cluster.nodes where other.id != away { try await Self.trim(run, other, past: lacking) }
            try await run.load(seed: 11) { load in
                try await load.awaitWrites(50)
                try await node.begin()
                let seen = try await eventually("node \(away) builds its shard") { () -> String? in
                    guard let text = await node.readinessText(), let share = Self.share(text) else { return nil }
                    return (1...80).contains(share) ? text : nil
                }
                #expect(seen.contains("\"ready\":false"), "\(seen)")
                await node.kill()
                let shards = node.launch.dataDirectory + "/shards"
                let names = try FileManager.default.contentsOfDirectory(atPath: shards)
                #expect(names.contains { $0.hasSuffix(".incoming") }, "\(names)")
                #expect(!names.contains { $0.hasSuffix(".replaced") }, "\(names)")
                try await load.awaitWrites(50)
                try await node.start()
                try await run.cluster.awaitCaughtUp(away)
                try await load.awaitWrites(50)
            }
            #expect(node.logText.contains("a shard was built from another node"), "\(node.logText.suffix(3_000))")
            let shards = try FileManager.default.contentsOfDirectory(atPath: node.launch.dataDirectory + "/shards")
            #expect(!shards.contains { $0.contains(".") }, "\(shards)")
            try await Self.expectSameShards(run)
            try await run.finish()
        }

        // MARK: Writes

        private static func write(_ run: ClusterRun, points: Range<Int>) async throws {
            for start in stride(from: points.lowerBound, to: points.upperBound, by: 250) {
                var request = VecraftV1.UpsertRequest(
                    collection: Self.collection, idempotencyKey: "w-\(points.lowerBound)-\(start)")
                for i in start..<min(start + 250, points.upperBound) {
                    let values = (0..<Self.dimension).map { Float((i &* 31 &+ $0 &* 17 &+ points.lowerBound) % 1_000) }
                    request.points.append(
                        VecraftV1.Point(
                            id: "p\(i)", vector: VecraftV1.Vector(values: values),
                            payload: VecraftV1.Payload(json: Array("{\"n\":\(i)}".utf8))))
                }
                let _: VecraftV1.UpsertResponse = try await run.cluster.call("vecraft.v1.Points/Upsert", request)
            }
        }

        private static func delete(_ run: ClusterRun, points: Range<Int>) async throws {
            let request = VecraftV1.DeleteRequest(collection: Self.collection, ids: points.map { "p\($0)" })
            let _: VecraftV1.DeleteResponse = try await run.cluster.call("vecraft.v1.Points/Delete", request)
        }

        /// With the command, as an operator would.
        private static func trim(_ run: ClusterRun, _ node: ClusterNode, past lacking: UInt64) async throws {
            let through = try #require(try await node.partitions(timeout: .seconds(60))[run.partition]).committedOffset
            // No further than its own shards have come.
            try await eventually("node \(node.id) forgets what the other lacks") {
                _ = try await offThePool {
                    try runCommand(
                        "env", ServerProcess.binary, "journal", "trim", run.partition, "--through", "\(through)",
                        "--address",
                        "\(node.host):\(node.grpcPort)")
                }
                return try await node.partitions()[run.partition].map { $0.firstOffset > lacking } ?? false
            }
        }

        /// The percentage in "building shard docs/0 from node 2: 43 %, 12 s left".
        private static func share(_ text: String) -> Int? {
            guard let start = text.range(of: "building shard \(Self.collection)/0 from node "),
                let colon = text[start.upperBound...].range(of: ": "),
                let end = text[colon.upperBound...].range(of: " %")
            else { return nil }
            return Int(text[colon.upperBound..<end.lowerBound])
        }

        private static func expectSameShards(_ run: ClusterRun) async throws {
            try await run.cluster.awaitRest()
            var last: [Int: [String: VecraftInternalV1.ShardState]] = [:]
            try await eventually("all nodes are at one offset", every: .milliseconds(100)) {
                for node in run.cluster.nodes { last[node.id] = try await node.shardStates() }
                let offsets = last.values.map { $0.mapValues(\.appliedOffset) }
                return Set(offsets).count == 1 && offsets[0].count == 2
            }
            let digests = last.mapValues { $0.mapValues { "\($0.digest), \($0.points) points" } }
            #expect(Set(digests.values).count == 1, "\(digests)")
            #expect(last[1]?.values.contains { $0.points == 8_500 } == true, "\(digests)")
        }
    }
}
