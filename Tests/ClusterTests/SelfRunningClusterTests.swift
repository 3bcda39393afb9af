import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// Real nodes and a real etcd: who is in the cluster and who holds what is in the map, and the map heals.
    @Suite("A cluster that runs itself", .serialized, .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
    struct SelfRunningClusterTests {
        private static let collection = ClusterRun.collection

        private static func start(
            shards: UInt32, members: Int = 1, _ change: (inout TestCluster.Options) -> Void = { _ in }
        ) async throws -> (ClusterRun, EtcdProcess) {
            let etcd = try await EtcdProcess.start(members: members)
            let run = try await ClusterRun.start(shards: shards) {
                $0.etcd = etcd
                // A tenth of the default: what is tested is that it is kept, not how long it is.
                $0.settings.append("cluster.down_after_ms=3000")
                change(&$0)
            }
            return (run, etcd)
        }

        private func overview(_ node: ClusterNode) async throws -> VecraftV1.OverviewResponse {
            try await node.call("vecraft.v1.Cluster/Overview", VecraftV1.OverviewRequest(), timeout: .seconds(5))
        }

        /// Waits until nothing is wrong, as `node` sees it.
        /// - Parameter isWhole: What else there must be: of what is on its way nothing is wrong either.
        private func awaitWell(
            _ cluster: TestCluster, asking id: Int, within patience: Duration = .seconds(300),
            _ isWhole: (VecraftV1.OverviewResponse) -> Bool = { _ in true }
        ) async throws -> VecraftV1.OverviewResponse {
            var last: VecraftV1.OverviewResponse?
            do {
                return try await eventually("nothing is wrong", within: patience, every: .milliseconds(100)) {
                    let overview = try await self.overview(cluster[id])
                    last = overview
                    return overview.problems.isEmpty && isWhole(overview) ? overview : nil
                }
            } catch {
                let (problems, shards) = (last?.problems ?? [], last?.shards ?? [])
                throw LoadFailure(description: "\(error); problems: \(problems); \(shards)\n\(cluster.logs())")
            }
        }

        @Test(.timeLimit(.minutes(10))) func aNodeIsKilledAndWhatItHeldIsMadeElsewhere() async throws {
            let (run, etcd) = try await Self.start(shards: 4)
            let cluster = run.cluster
            let before = try await self.awaitWell(cluster, asking: 1) { overview in
                overview.shards.count == 4 && overview.shards.allSatisfy { $0.replicas.count == 2 }
                    && overview.partitions.allSatisfy { $0.voters.count == 3 && $0.leader > 0 }
            }
            #expect(before.nodes.map(\.id) == [1, 2, 3])
            try await run.load(seed: 31) { load in
                try await load.awaitWrites(200)
                await cluster[3].kill()
                let killed = ContinuousClock.now
                try await load.awaitWrites(200)
                // Full redundancy on the two that are left, while it is away.
                try await eventually("two ready copies of each shard", within: .seconds(300), every: .milliseconds(100))
                {
                    let shards = try await self.overview(cluster[1]).shards
                    return shards.allSatisfy { shard in
                        shard.replicas.count { $0.state == "live" && $0.condition == "ready" && $0.node != 3 } == 2
                    }
                }
                print("full redundancy again \(killed.duration(to: .now)) after the kill")
                try await cluster[3].start()
                try await load.awaitWrites(200)
            }
            // It comes back with what it had; what is too much goes.
            _ = try await self.awaitWell(cluster, asking: 3)
            try await eventually("each shard has its two copies again") {
                try await self.overview(cluster[2]).shards.allSatisfy { $0.replicas.count == 2 }
            }
            try await run.finish()
            _ = etcd
        }

        @Test(.timeLimit(.minutes(10))) func aFourthNodeTakesItsShareAndADrainedOneGivesItsOwn() async throws {
            let (run, etcd) = try await Self.start(shards: 8)
            let cluster = run.cluster
            _ = try await self.awaitWell(cluster, asking: 1)
            try await run.load(seed: 32) { load in
                try await load.awaitWrites(100)
                let fourth = try await cluster.join(4)
                try await fourth.awaitReady()
                try await eventually("the new node has a share") {
                    let overview = try await self.overview(cluster[4])
                    let counts = overview.nodes.map(\.shards)
                    return counts.count == 4 && counts.allSatisfy { $0 >= 3 } && overview.problems.isEmpty
                }
                try await load.awaitWrites(100)
                try await cluster[1].drain(2)
                try await eventually("node 2 holds nothing, and no vote") {
                    let overview = try await self.overview(cluster[1])
                    guard let node = overview.nodes.first(where: { $0.id == 2 }) else { return false }
                    return node.state == "drained" && node.shards == 0
                        && overview.partitions.allSatisfy { !$0.voters.contains(2) }
                }
                try await load.awaitWrites(100)
                await cluster[2].stop()
                try await cluster[1].remove(2)
                cluster.forget(2)
                try await load.awaitWrites(100)
            }
            let after = try await self.awaitWell(cluster, asking: 1)
            #expect(after.nodes.map(\.id) == [1, 3, 4])
            #expect(after.partitions.allSatisfy { $0.voters.sorted() == [1, 3, 4] })
            try await eventually("nothing moves any more") {
                try await self.overview(cluster[1]).shards.allSatisfy { $0.replicas.count == 2 }
            }
            try await run.finish()
            _ = etcd
        }

        @Test(.timeLimit(.minutes(10))) func withoutEtcdReadsAndWritesGoOn() async throws {
            let (run, etcd) = try await Self.start(shards: 4)
            let cluster = run.cluster
            _ = try await self.awaitWell(cluster, asking: 1)
            try await run.load(seed: 33) { load in
                try await load.awaitWrites(100)
                try await etcd.suspend()
                try await load.awaitWrites(300)
                // A node comes back from the map it had.
                await cluster[2].kill()
                try await load.awaitWrites(100)
                try await cluster[2].start()
                try await load.awaitWrites(200)
                try await eventually("health says that etcd does not answer") {
                    await cluster[1].readinessText()?.contains("etcd does not answer") ?? false
                }
                try await eventually("and that it serves") { await cluster[1].readiness() == 200 }
                etcd.resume()
                try await load.awaitWrites(100)
            }
            _ = try await self.awaitWell(cluster, asking: 2)
            // Changes go on too.
            let made = try await cluster.create("after", dimension: 4, shards: 2)
            #expect(made.name == "after")
            try await run.finish()
        }

        /// A folder that is emptied is another node: what it had acknowledged is not asked of it.
        @Test(.timeLimit(.minutes(10))) func anEmptiedFolderIsANewNode() async throws {
            let (run, etcd) = try await Self.start(shards: 4)
            let cluster = run.cluster
            _ = try await self.awaitWell(cluster, asking: 1)
            try await run.load(seed: 34) { load in
                try await load.awaitWrites(100)
                await cluster[3].kill()
                let folder = cluster[3].launch.dataDirectory
                try FileManager.default.removeItem(atPath: folder)
                try await cluster[3].start()
                try await load.awaitWrites(100)
                let id = try String(contentsOfFile: folder + "/node", encoding: .utf8)
                #expect(id.contains("node 4"))
                try await eventually("the lost node is replaced everywhere", within: .seconds(300)) {
                    let overview = try await self.overview(cluster[1])
                    return overview.shards.allSatisfy { shard in
                        shard.replicas.count { $0.state == "live" && $0.condition == "ready" && $0.node != 3 } == 2
                    } && overview.partitions.allSatisfy { $0.voters.sorted() == [1, 2, 4] }
                }
            }
            try await cluster[1].drain(3)
            try await eventually("the lost node can be removed") {
                try await cluster[1].remove(3)
                return true
            }
            let after = try await self.awaitWell(cluster, asking: 1)
            #expect(after.nodes.map(\.id) == [1, 2, 4])
            try await run.finish()
            _ = etcd
        }

        /// Who has no part in storage gets no copies, who has none in the journal no votes, who is no gateway no clients; all answer for
        /// the cluster.
        @Test(.timeLimit(.minutes(10))) func aNodeHasOnlyItsRoles() async throws {
            let (run, etcd) = try await Self.start(shards: 8) {
                $0.rolesOf = [4: "gateway,query", 5: "storage"]
            }
            let cluster = run.cluster
            let points = (0..<64).map { VecraftV1.Point(id: "p\($0)", vector: .init(values: [1, 2, 3, Float($0)])) }
            let _: VecraftV1.UpsertResponse = try await cluster[1].persistently(
                "vecraft.v1.Points/Upsert", VecraftV1.UpsertRequest(collection: Self.collection, points: points))
            for id in [4, 5] { try await cluster.join(id).awaitReady() }
            try await eventually("the storage node has a share") {
                let overview = try await self.overview(cluster[4])
                return (overview.nodes.first { $0.id == 5 }?.shards ?? 0) >= 3 && overview.problems.isEmpty
            }
            let overview = try await self.awaitWell(cluster, asking: 5)
            #expect(overview.nodes.first { $0.id == 4 }?.shards == 0)
            #expect(overview.partitions.allSatisfy { $0.voters.sorted() == [1, 2, 3] })
            #expect(overview.nodes.first { $0.id == 4 }?.roles == ["query", "gateway"])
            #expect([1, 2, 3].contains(overview.controller))
            let count: VecraftV1.CountResponse = try await cluster[4].persistently(
                "vecraft.v1.Points/Count",
                VecraftV1.CountRequest(collection: Self.collection, read: .init(consistency: .strong)))
            #expect(count.count == 64)
            await #expect(throws: VecraftError.self, "it is no gateway") {
                let _: VecraftV1.CountResponse = try await cluster[5].call(
                    "vecraft.v1.Points/Count", VecraftV1.CountRequest(collection: Self.collection))
            }
            #expect(await cluster[5].answer("/v1/collections")?.status == 404)
            for id in [4, 5] {
                await cluster[id].stop()
                cluster.forget(id)
            }
            try await run.finish()
            _ = etcd
        }

        /// One copy each: without its node a shard is gone for the moment, and who would rather have the rest says so.
        @Test(.timeLimit(.minutes(10))) func aPartialAnswerSaysWhatItLacks() async throws {
            let (run, etcd) = try await Self.start(shards: 8) { $0.replicas = 1 }
            let cluster = run.cluster
            let points = (0..<200).map { VecraftV1.Point(id: "p\($0)", vector: .init(values: [1, 2, 3, Float($0)])) }
            let _: VecraftV1.UpsertResponse = try await cluster[1].persistently(
                "vecraft.v1.Points/Upsert",
                VecraftV1.UpsertRequest(collection: Self.collection, points: points, wait: .applied))
            let shards = try await self.overview(cluster[1]).shards
            let gone = Set(shards.filter { $0.replicas.map(\.node) == [3] }.map(\.shard))
            #expect(!gone.isEmpty && gone.count < 8)
            await cluster[3].kill()
            let some = VecraftV1.ReadOptions(consistency: .eventual, allowPartial: true)
            let whole = VecraftV1.ReadOptions(consistency: .eventual)
            func count(
                _ read: VecraftV1.ReadOptions, timeout: Duration = .seconds(20)
            ) async throws(VecraftError) -> VecraftV1.CountResponse {
                try await cluster[1].call(
                    "vecraft.v1.Points/Count", VecraftV1.CountRequest(collection: Self.collection, read: read),
                    timeout: timeout)
            }
            await #expect(throws: VecraftError.self) { try await count(whole, timeout: .seconds(3)) }
            let partial = try await count(some)
            #expect(Set(partial.info?.missingShards ?? []) == gone)
            let lost = points.filter { gone.contains(shard(of: $0.id)) }
            #expect(partial.count == UInt64(points.count - lost.count))

            let search: VecraftV1.SearchResponse = try await cluster[2].call(
                "vecraft.v1.Points/Search",
                VecraftV1.SearchRequest(
                    collection: Self.collection, vector: .init(values: [1, 2, 3, 4]), limit: 500, exact: true,
                    read: some))
            #expect(Set(search.info?.missingShards ?? []) == gone)
            #expect(Set(search.hits.map(\.id)) == Set(points.map(\.id)).subtracting(lost.map(\.id)))

            let known = try #require(points.first { !gone.contains(shard(of: $0.id)) })
            let ids = [known.id, lost[0].id, "nobody-1", "nobody-2", "nobody-3", "nobody-4"]
            let got: VecraftV1.GetResponse = try await cluster[1].call(
                "vecraft.v1.Points/Get", VecraftV1.GetRequest(collection: Self.collection, ids: ids, read: some))
            #expect(got.points.map(\.id) == [known.id])
            #expect(
                got.missing == ids.dropFirst(2).filter { !gone.contains(shard(of: $0)) },
                "what is not known is not missing")

            await #expect(throws: VecraftError.self) {
                let _: VecraftV1.ScrollResponse = try await cluster[1].call(
                    "vecraft.v1.Points/Scroll", VecraftV1.ScrollRequest(collection: Self.collection, read: some))
            }
            // With the last node but one away nobody answers for anything but what is there.
            try await cluster[3].start()
            try await eventually("all is there again") { try await count(whole).count == UInt64(points.count) }
            let all = try await count(some)
            #expect(all.info?.missingShards == [])
            try await run.finish()
            _ = etcd

            func shard(of id: String) -> UInt32 { Array(id.utf8).withUnsafeBytes { ShardSlots.shard(of: $0, of: 8) } }
        }

        /// What a read waits for at a node may be given to another one meanwhile.
        @Test(.timeLimit(.minutes(10))) func aShardMovesAwayFromUnderAReader() async throws {
            let (run, etcd) = try await Self.start(shards: 4) { $0.nodeSettings = [3: ["storage.apply_delay_ms=4000"]] }
            let cluster = run.cluster
            _ = try await self.awaitWell(cluster, asking: 1)
            let points = (0..<20).map { VecraftV1.Point(id: "p\($0)", vector: .init(values: [1, 2, 3, Float($0)])) }
            let _: VecraftV1.UpsertResponse = try await cluster[1].persistently(
                "vecraft.v1.Points/Upsert", VecraftV1.UpsertRequest(collection: Self.collection, points: points))
            // It waits four seconds; the shards are gone long before. Made again only if there was nobody to ask how far to wait: all
            // else is what is tested.
            async let read: VecraftV1.CountResponse = cluster[3].persistently(
                "vecraft.v1.Points/Count",
                VecraftV1.CountRequest(collection: Self.collection, read: .init(consistency: .strong)),
                timeout: .seconds(60), while: \.isOfTheMachine)
            try await cluster[1].drain(3)
            let count = try await read.count
            #expect(count == 20, "the others answer for what went")
            try await eventually("node 3 has given everything away") {
                try await self.overview(cluster[1]).nodes.first { $0.id == 3 }?.shards == 0
            }
            #expect(cluster[3].isRunning)
            _ = await cluster.stopAll()
            _ = etcd
        }

        /// A cluster made again under the name is another one: its map says nothing of the data that are there.
        @Test(.timeLimit(.minutes(10))) func aLostEtcdTakesNothingWithIt() async throws {
            let (run, etcd) = try await Self.start(shards: 4)
            let cluster = run.cluster
            let points = (0..<100).map { VecraftV1.Point(id: "p\($0)", vector: .init(values: [1, 2, 3, Float($0)])) }
            let _: VecraftV1.UpsertResponse = try await cluster[1].persistently(
                "vecraft.v1.Points/Upsert",
                VecraftV1.UpsertRequest(collection: Self.collection, points: points, wait: .applied))
            let epoch = try await self.awaitWell(cluster, asking: 1).mapEpoch
            for node in cluster.nodes {
                try await eventually("node \(node.id) keeps the map") {
                    let text = try String(contentsOfFile: node.launch.dataDirectory + "/cluster-map", encoding: .utf8)
                    return text.contains("\"epoch\":\(epoch)")
                }
            }
            #expect(await cluster.stopEach().isEmpty)
            etcd.kill()
            try etcd.wipe()
            try etcd.restart()
            try await etcd.awaitHealth()

            try await cluster.initialise()
            try await cluster[1].begin()
            await #expect(throws: (any Error).self) { try await cluster[1].awaitReady() }
            #expect(cluster[1].logText.contains("another cluster"))
            #expect(try self.folders(cluster[1]).count > 0, "nothing is touched")

            etcd.kill()
            try etcd.wipe()
            try etcd.restart()
            try await etcd.awaitHealth()
            let folder = cluster[2].launch.dataDirectory
            let said = try await offThePool {
                try runCommand(ServerProcess.binary, "cluster", "init", "--etcd", etcd.addresses(), "--from", folder)
            }
            #expect(said.contains("epoch \(epoch)"))
            for node in cluster.nodes { try await node.begin() }
            for node in cluster.nodes { try await node.awaitReady() }
            let after = try await self.awaitWell(cluster, asking: 3)
            #expect(after.nodes.map(\.id) == [1, 2, 3])
            for node in cluster.nodes {
                let count: VecraftV1.CountResponse = try await node.persistently(
                    "vecraft.v1.Points/Count",
                    VecraftV1.CountRequest(collection: Self.collection, read: .init(consistency: .strong)))
                #expect(count.count == 100)
            }
            _ = await cluster.stopAll()
        }

        private func folders(_ node: ClusterNode) throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: node.launch.dataDirectory + "/shards")
        }

        /// Who is drained does not decide any more: what it would decide on it does not hear of once it is removed.
        @Test(.timeLimit(.minutes(10))) func aRemovedControllerDecidesNoLonger() async throws {
            let (run, etcd) = try await Self.start(shards: 2)
            let cluster = run.cluster
            try await cluster.join(4).awaitReady()
            let controller = try await self.awaitWell(cluster, asking: 1).controller
            let other = cluster.nodes.map(\.id).first { UInt64($0) != controller }!
            try await cluster[other].drain(controller)
            try await eventually("it is drained, and another decides") {
                let overview = try await self.overview(cluster[other])
                return overview.nodes.first { $0.id == controller }?.state == "drained" && overview.controller > 0
                    && overview.controller != controller
            }
            try await eventually("until it is removed it answers") {
                await cluster[Int(controller)].readiness() == 200
            }
            try await cluster[other].remove(controller)
            try await eventually("it says that it was removed") {
                await cluster[Int(controller)].readinessText()?.contains("was removed from the cluster") ?? false
            }
            // The removed one still runs; whoever decides now makes what is asked for.
            let _: VecraftV1.CreateCollectionResponse = try await cluster[other].persistently(
                "vecraft.v1.Collections/CreateCollection",
                VecraftV1.CreateCollectionRequest(
                    name: "later",
                    config: VecraftV1.CollectionConfig(
                        vector: VecraftV1.VectorConfig(dimension: 4, distance: .l2), shards: 2)))
            let count: VecraftV1.CountResponse = try await cluster[other].persistently(
                "vecraft.v1.Points/Count",
                VecraftV1.CountRequest(collection: "later", read: .init(consistency: .strong)))
            #expect(count.count == 0)
            await cluster[Int(controller)].kill()
            cluster.forget(Int(controller))
            _ = try await self.awaitWell(cluster, asking: other)
            try await run.finish()
            _ = etcd
        }

        @Test(.timeLimit(.minutes(10))) func aDirectoryHasOneProcess() async throws {
            let (run, etcd) = try await Self.start(shards: 2) {
                // However late a node is, nothing moves for that.
                $0.settings.removeAll { $0.hasPrefix("cluster.down_after_ms=") }
                $0.settings.append("cluster.down_after_ms=1200000")
            }
            let cluster = run.cluster
            let before = try await self.awaitWell(cluster, asking: 2)
            var launch = cluster[1].launch
            launch.grpcPort = 0
            launch.httpPort = 0
            launch.arguments = ["--etcd", etcd.addresses(), "--listen", "127.0.0.1:\(FreePorts.take(1)[0])"]
            let second = launch
            await #expect(throws: (any Error).self) {
                let process = try await offThePool { try ServerProcess(beginning: second) }
                try await offThePool { try process.awaitReady(.seconds(60)) }
            }
            #expect(cluster[1].logText.contains("in use by another process"))
            // The cluster has not heard of it: no node more, none changed, nothing moved. Who leads may change on a busy machine.
            let after = try await self.awaitWell(cluster, asking: 2)
            #expect(after.nodes.map(Self.identity) == before.nodes.map(Self.identity))
            #expect(after.partitions.map { $0.voters.sorted() } == before.partitions.map { $0.voters.sorted() })
            #expect(
                after.shards.map { $0.replicas.map(\.node).sorted() }
                    == before.shards.map { $0.replicas.map(\.node).sorted() })
            try await run.finish()
        }

        /// What a node is, and not how it is.
        private static func identity(_ node: VecraftV1.NodeInfo) -> VecraftV1.NodeInfo {
            VecraftV1.NodeInfo(
                id: node.id, name: node.name, roles: node.roles, zone: node.zone, state: node.state,
                clientAddress: node.clientAddress, peerAddress: node.peerAddress, httpAddress: node.httpAddress,
                shards: node.shards, version: node.version)
        }

        /// What one node has dropped is not there for another one that has not heard of it yet.
        @Test(.timeLimit(.minutes(30))) func aCollectionMadeAgainIsThere() async throws {
            let (run, etcd) = try await Self.start(shards: 1)
            let cluster = run.cluster
            let request = VecraftV1.CreateCollectionRequest(
                name: "again",
                config: VecraftV1.CollectionConfig(
                    vector: VecraftV1.VectorConfig(dimension: 4, distance: .l2), shards: 2))
            for round in 0..<30 {
                let _: VecraftV1.CreateCollectionResponse = try await cluster[round % 3 + 1].persistently(
                    "vecraft.v1.Collections/CreateCollection", request)
                try await cluster[(round + 1) % 3 + 1].drop("again")
                let made: VecraftV1.CreateCollectionResponse = try await cluster[(round + 2) % 3 + 1].persistently(
                    "vecraft.v1.Collections/CreateCollection", request)
                for node in cluster.nodes {
                    let found = try await eventually("node \(node.id) knows it") { () -> VecraftV1.Collection? in
                        let found = try await cluster.describe("again", on: node)
                        return found.id == made.collection?.id ? found : nil
                    }
                    #expect(found.id == made.collection?.id)
                }
                try await cluster[round % 3 + 1].drop("again")
            }
            try await run.finish()
            _ = etcd
        }

        private func decisions(_ node: ClusterNode) async throws -> [String] {
            let partition = try #require(try await node.partitions()["sys-0"])
            var found: [String] = []
            for offset in 1...partition.committedOffset {
                let reply: VecraftV1.LineageResponse = try await node.call(
                    "vecraft.v1.Lineage/Entry", VecraftV1.EntryLineageRequest(partition: "sys-0", offset: offset))
                for entry in reply.entries where entry.operation == "decision" { found.append(entry.decisionJSON) }
            }
            return found
        }

        /// Each decision is found in the journal with its reason.
        @Test(.timeLimit(.minutes(10))) func decisionsAreEntries() async throws {
            let (run, etcd) = try await Self.start(shards: 2)
            let overview = try await self.awaitWell(run.cluster, asking: 1)
            #expect(overview.controller > 0)
            // They follow their doing: whoever decides does not wait for the journal.
            let found = try await eventually("the decisions that made the collection's copies live are entries") {
                () -> [String]? in
                let found = try await self.decisions(run.cluster[1])
                // The first of all, too: they are made before there is a journal.
                let isWhole =
                    found.contains { $0.contains("promote ") } && found.contains { $0.contains("start sys-0") }
                return isWhole ? found : nil
            }
            let placed = try #require(found.first { $0.contains("place ") })
            let value = try JSONValue(parsing: placed)
            let reason = value.objectValue?.first { $0.key == "reason" }?.value.stringValue ?? ""
            #expect(!reason.isEmpty)
            try await run.finish()
            _ = etcd
        }
    }
}
