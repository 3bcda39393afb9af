import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// What fails, what answers it, and how long that took here: a line each, printed. None of the times is judged: machines differ.
    @Suite("The table of failures", .serialized, .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
    struct FailureTableTests {
        /// A cluster with points, and the table.
        private final class Scene {
            let run: ClusterRun
            let etcd: EtcdProcess
            var written: Int
            var lines: [String] = []
            var cluster: TestCluster { self.run.cluster }

            init(_ run: ClusterRun, _ etcd: EtcdProcess, written: Int) {
                self.run = run
                self.etcd = etcd
                self.written = written
            }

            func write(at node: Int, timeout: Duration = .seconds(10)) async throws(VecraftError) {
                let id = "later-\(self.written)"
                let _: VecraftV1.UpsertResponse = try await self.cluster[node].call(
                    "vecraft.v1.Points/Upsert",
                    VecraftV1.UpsertRequest(
                        collection: ClusterRun.collection,
                        points: [.init(id: id, vector: .init(values: [9, 9, 9, 9]))],
                        idempotencyKey: id), timeout: timeout)
                self.written += 1
            }

            /// All points, as fresh as can be.
            func reads(at node: Int, _ level: VecraftV1.ConsistencyLevel = .strong) async throws -> Bool {
                let reply: VecraftV1.CountResponse = try await self.cluster[node].call(
                    "vecraft.v1.Points/Count",
                    VecraftV1.CountRequest(collection: ClusterRun.collection, read: .init(consistency: level)),
                    timeout: .seconds(2))
                return reply.count >= UInt64(self.written)
            }

            func time(_ what: String, _ body: () async throws -> Void) async throws {
                let start = ContinuousClock.now
                try await body()
                self.lines.append("\(what): \(Int(start.duration(to: .now) / .milliseconds(1))) ms")
            }

            func overview(_ node: Int) async throws -> VecraftV1.OverviewResponse {
                try await self.cluster[node].call(
                    "vecraft.v1.Cluster/Overview", VecraftV1.OverviewRequest(), timeout: .seconds(5))
            }

            func awaitWell() async throws {
                try await eventually("all is well again", within: .seconds(300)) {
                    let overview = try await self.overview(1)
                    return overview.problems.isEmpty && overview.shards.allSatisfy { $0.replicas.count == 2 }
                }
            }
        }

        @Test(.timeLimit(.minutes(20))) func everyRow() async throws {
            let etcd = try await EtcdProcess.start(members: 3, isOpen: ClusterNetwork.obstacle == nil)
            let run = try await ClusterRun.start(shards: 4) {
                $0.etcd = etcd
                $0.settings.append("cluster.down_after_ms=3000")
                $0.hasNetworks = ClusterNetwork.obstacle == nil
            }
            let points = (0..<500).map { VecraftV1.Point(id: "p\($0)", vector: .init(values: [1, 2, 3, Float($0)])) }
            let _: VecraftV1.UpsertResponse = try await run.cluster[1].persistently(
                "vecraft.v1.Points/Upsert",
                VecraftV1.UpsertRequest(collection: ClusterRun.collection, points: points, wait: .applied))
            let scene = Scene(run, etcd, written: points.count)
            try await scene.awaitWell()
            do {
                try await self.journalLeader(scene)
                try await self.journalMajority(scene)
                try await self.storageNode(scene)
                try await self.damagedShard(scene)
                try await self.etcdMember(scene)
                if ClusterNetwork.obstacle == nil { try await self.networkPartition(scene) }
                print(scene.lines.joined(separator: "\n"))
            } catch {
                print(scene.lines.joined(separator: "\n"))
                let logs = run.cluster.logs()
                await run.cluster.killAll()
                throw LoadFailure(description: "\(error)\n\(logs)")
            }
            for node in 1...3 {
                try await eventually("node \(node) answers for everything") { try await scene.reads(at: node) }
            }
            try await run.finish()
        }

        private func journalLeader(_ scene: Scene) async throws {
            let leader = try await scene.cluster.leader(of: scene.run.partition).node
            let other = leader == 1 ? 2 : 1
            await scene.cluster[leader].kill()
            try await scene.time("journal leader killed, a write is acknowledged after") {
                try await eventually("a write is acknowledged") { () -> Bool in
                    try await scene.write(at: other)
                    return true
                }
            }
            try await scene.cluster[leader].start()
            try await scene.awaitWell()
        }

        private func journalMajority(_ scene: Scene) async throws {
            await scene.cluster[2].kill()
            await scene.cluster[3].kill()
            try await scene.time("journal majority killed, a write is refused after") {
                do throws(VecraftError) {
                    try await scene.write(at: 1, timeout: .seconds(30))
                    Issue.record("a write was acknowledged by a minority")
                } catch {
                    // "Has had none for so long", or has none when its time is over.
                    #expect(error.code == .unavailable && error.message.contains("no leader"), "\(error)")
                    scene.lines.append("  it says: \(error.message)")
                }
            }
            try await eventually("it says that it is not ready") { await scene.cluster[1].readiness() == 503 }
            // What it holds it goes on answering for.
            let eventual: VecraftV1.CountResponse = try await scene.cluster[1].persistently(
                "vecraft.v1.Points/Count",
                VecraftV1.CountRequest(
                    collection: ClusterRun.collection, read: .init(consistency: .eventual, allowPartial: true)),
                timeout: .seconds(10))
            #expect(eventual.count > 0)
            try await scene.cluster[2].begin()
            try await scene.cluster[3].begin()
            try await scene.time("journal majority started again, a write is acknowledged after") {
                try await eventually("a write is acknowledged") { () -> Bool in
                    try await scene.write(at: 1)
                    return true
                }
            }
            for id in [2, 3] { try await scene.cluster[id].awaitReady() }
            try await scene.awaitWell()
        }

        private func storageNode(_ scene: Scene) async throws {
            await scene.cluster[3].kill()
            let killed = ContinuousClock.now
            try await scene.time("storage node killed, strong reads of everything are answered after") {
                try await eventually("reads are answered") { try await scene.reads(at: 2) }
            }
            try await scene.time(
                "query processor and gateway killed, a client's next call at another is answered after"
            ) {
                try await eventually("its next call is answered") { try await scene.reads(at: 1) }
            }
            try await eventually("full redundancy") {
                try await scene.overview(1).shards.allSatisfy { shard in
                    shard.replicas.count { $0.state == "live" && $0.condition == "ready" && $0.node != 3 } == 2
                }
            }
            scene.lines.append(
                "storage node killed, replaced after: \(Int(killed.duration(to: .now) / .milliseconds(1))) ms (3,000 of them until it is given up)"
            )
            try await scene.cluster[3].start()
            try await scene.awaitWell()
        }

        private func damagedShard(_ scene: Scene) async throws {
            let node = scene.cluster[2]
            _ = await node.stop()
            let root = URL(fileURLWithPath: node.launch.dataDirectory + "/shards")
            var largest: (url: URL, size: Int)?
            for case let url as URL in FileManager.default.enumerator(
                at: root, includingPropertiesForKeys: [.fileSizeKey])!
            {
                let size = try url.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0
                if size > largest?.size ?? 0, !url.hasDirectoryPath { largest = (url, size) }
            }
            let file = try #require(largest)
            var bytes = try Data(contentsOf: file.url)
            bytes[bytes.count / 2] ^= 0x40
            try bytes.write(to: file.url)
            try await scene.time("shard file damaged, its node answers for everything again after (its start included)")
            {
                try await node.start()
                try await eventually("it answers") { try await scene.reads(at: 2) }
            }
            #expect(node.logText.contains("damaged"), "it says so")
            try await scene.awaitWell()
        }

        private func etcdMember(_ scene: Scene) async throws {
            scene.etcd.kill(0)
            try await scene.time("etcd member killed, a collection is made after") {
                _ = try await scene.cluster.create("made-without-a-member", dimension: 4, shards: 2)
            }
            try await scene.time("  a write is acknowledged after") {
                try await eventually("a write is acknowledged") { () -> Bool in
                    try await scene.write(at: 1)
                    return true
                }
            }
            try scene.etcd.restart(0)
            try await scene.etcd.awaitHealth(0)
            try await scene.awaitWell()
        }

        private func networkPartition(_ scene: Scene) async throws {
            let network = try #require(scene.cluster.network)
            let leader = try await scene.cluster.leader(of: scene.run.partition).node
            let other = leader == 1 ? 2 : 1
            try await offThePool { try network.isolate(leader) }
            // The very first call: what it asked of the leader behind the cut is given up once another leads, and not waited for.
            try await scene.time("leader cut off, a write on the other side is acknowledged after") {
                try await eventually("another leads") { () -> Bool in
                    do throws(VecraftError) {
                        try await scene.write(at: other, timeout: .seconds(30))
                        return true
                    } catch {
                        // An election may take a busy machine longer than a call waits for one; nothing else may fail.
                        guard error.code == .unavailable && error.message.contains("no leader") else {
                            Issue.record("\(error)")
                            return true
                        }
                        return false
                    }
                }
            }
            do throws(VecraftError) {
                try await scene.write(at: leader, timeout: .seconds(12))
                Issue.record("both sides acknowledged")
            } catch { #expect([.unavailable, .deadlineExceeded].contains(error.code), "\(error)") }
            await #expect(throws: VecraftError.self, "no strong read in a minority") {
                try await scene.reads(at: leader)
            }
            try await offThePool { try network.heal() }
            try await scene.time("the cut healed, the minority's node answers for everything after") {
                try await eventually("it answers") { try await scene.reads(at: leader) }
            }
            try await scene.awaitWell()
        }
    }
}
