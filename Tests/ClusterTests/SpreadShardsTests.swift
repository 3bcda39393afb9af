import ClusterSupport
import Foundation
import GRPC
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// Shards on two nodes of three each: every node answers for all of a collection, whoever holds what, and while one of them is away.
    @Suite("Shards spread over nodes", .serialized, .enabled(if: ServerProcess.takesPeers))
    struct SpreadShardsTests {
        private static func start(shards: UInt32) async throws -> ClusterRun {
            try await ClusterRun.start(shards: shards) { $0.settings += ["cluster.shard_replicas=2"] }
        }

        @Test(.timeLimit(.minutes(10)), arguments: [Fault.killLeader, .killFollower, .suspendLeader])
        func survives(fault: Fault) async throws {
            let run = try await Self.start(shards: 8)
            try await run.load(seed: 21) { load in
                for round in 0..<2 {
                    try await load.awaitWrites(100)
                    try await fault.strike(run, load, round: round)
                    try await load.awaitWrites(100)
                }
            }
            try await run.finish()
        }

        @Test(.timeLimit(.minutes(10))) func everyNodeAnswersForAllShards() async throws {
            // So many that nobody has all, whatever the collection's number is.
            let run = try await Self.start(shards: 32)
            let cluster = run.cluster
            var rng = SeededRNG(seed: 5)
            let points = (0..<600).map { i in
                VecraftV1.Point(
                    id: "p\(i)", vector: .init(values: (0..<4).map { _ in Float.random(in: -1...1, using: &rng) }),
                    payload: .init(json: Array("{\"kind\":\"k\(i % 3)\"}".utf8)))
            }
            let written: VecraftV1.UpsertResponse = try await cluster[1].persistently(
                "vecraft.v1.Points/Upsert", VecraftV1.UpsertRequest(collection: ClusterRun.collection, points: points))
            let held = try await self.held(cluster)
            #expect(held.values.flatMap { $0 }.count == 64, "each shard on two nodes: \(held)")
            #expect(held.values.allSatisfy { (1..<32).contains($0.count) }, "nobody has all: \(held)")

            try await self.check(cluster, cluster.nodes, points, after: written)
            // The others hold all that is left, each shard at least once.
            await cluster[2].kill()
            try await self.check(cluster, [cluster[1], cluster[3]], points, after: written)
            try await cluster[2].start()
            // One that does not answer is not waited for.
            cluster[3].suspend()
            try await eventually("the others answer for it") {
                let found = try? await self.search(
                    cluster[1], points[0].vector!.values, level: .eventual, timeout: .seconds(2), within: .zero)
                return found?.first == "p0"
            }
            cluster[3].resume()
            try await self.check(cluster, cluster.nodes, points, after: written)
            try await run.finish()
        }

        /// A read that several nodes answer is one trace: each question to another node, and what that did for it.
        @Test(
            .timeLimit(.minutes(10)),
            .enabled("no Python with opentelemetry-proto: run .ci/python") { await SpanCollector.isThere() })
        func aScatteredReadIsOneTrace() async throws {
            let collector = try await SpanCollector.start()
            // So many that each node has some: where they lie depends on the collection's number, which is another one each time.
            let run = try await ClusterRun.start(shards: 32) {
                $0.settings += ["cluster.shard_replicas=1"]
                $0.environment = [
                    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:\(collector.grpcPort)",
                    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_BSP_SCHEDULE_DELAY": "100",
                    "OTEL_TRACES_SAMPLER": "parentbased_always_off",
                ]
            }
            // One that failed has told of itself too, so each attempt is a trace of its own.
            var attempt = 0
            let trace = try await eventually("a search is answered") { () -> String? in
                attempt += 1
                let trace = "0af7651916cd43dd8448eb21\(10_000_000 + attempt)"
                let _: VecraftV1.SearchResponse = try await run.cluster[1].call(
                    "vecraft.v1.Points/Search",
                    VecraftV1.SearchRequest(
                        collection: ClusterRun.collection, vector: .init(values: [1, 0, 0, 0]), limit: 1,
                        read: .init(consistency: .strong)),
                    metadata: ["traceparent": "00-\(trace)-b7ad6b7169203331-01", "x-request-id": "far"])
                return trace
            }
            let (read, asked, parts) = try await eventually("all spans came") {
                let spans = try collector.spans.filter { $0.trace == trace }
                let asked = spans.filter { $0.name == "ask node" }
                let parts = spans.filter { $0.name == "shards search" }
                // A node may be asked twice on a busy machine.
                // On a busy machine it may be asked in vain as well; each that answered tells of its part.
                let answered = asked.filter { $0.status != 2 && $0.attributes["error.type"] == nil }
                guard let read = spans.first(where: { $0.name == "search" }), answered.count >= 2,
                    Set(answered.map(\.id)).isSubset(of: parts.map(\.parent)),
                    Set(parts.map(\.parent)).isSubset(of: asked.map(\.id))
                else {
                    throw CommandFailure(description: "only \(spans.map { "\($0.name) \($0.kind)" })")
                }
                return (read, asked, parts)
            }
            #expect(read.parent == "b7ad6b7169203331" && read.attributes["vecraft.request_id"]?.text == "far")
            #expect(asked.allSatisfy { $0.parent == read.id && $0.kind == "client" })
            #expect(parts.allSatisfy { $0.kind == "server" })
            try await eventually("each node tells of itself") {
                let senders = try collector.requests.filter { $0.spans.contains { $0.trace == trace } }
                    .compactMap { $0.resource["service.instance.id"]?.text }
                return Set(senders).count == 3
            }
            try await run.finish()
        }

        /// What one node asks the others of a point's life is in the asker's trace, both ends.
        @Test(
            .timeLimit(.minutes(20)),
            .enabled("no Python with opentelemetry-proto: run .ci/python") { await SpanCollector.isThere() })
        func questionsOfLineageAreInTheTrace() async throws {
            let collector = try await SpanCollector.start()
            let run = try await ClusterRun.start(shards: 2) {
                $0.environment = [
                    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:\(collector.httpPort)", "OTEL_BSP_SCHEDULE_DELAY": "50",
                ]
            }
            let node = run.cluster[1]
            let _: VecraftV1.UpsertResponse = try await node.persistently(
                "vecraft.v1.Points/Upsert",
                VecraftV1.UpsertRequest(
                    collection: ClusterRun.collection, points: [.init(id: "asked", vector: .init(values: [1, 0, 0, 0]))]))
            let trace = "0af7651916cd43dd8448eb211c80319d"
            // Each question is a trace of its own: one that a busy node did not answer in time is asked again.
            try await eventually("a question is traced to its answers", every: .milliseconds(200)) {
                let _: VecraftV1.LineageResponse = try await node.call(
                    "vecraft.v1.Lineage/Record",
                    VecraftV1.RecordLineageRequest(collection: ClusterRun.collection, id: "asked"),
                    metadata: ["traceparent": "00-\(trace)-b7ad6b7169203331-01"])
                let spans = try collector.spans.filter { $0.trace == trace }
                let asked = spans.filter { $0.name == "ask node" && $0.kind == "client" && $0.status != 2 }
                let answers = Set(spans.filter { $0.kind == "server" }.map(\.parent))
                let askers = Dictionary(grouping: asked, by: \.parent)
                guard let (asker, both) = askers.first(where: { $0.value.count == 2 }),
                    spans.contains(where: { $0.id == asker && $0.kind == "server" && $0.parent == "b7ad6b7169203331" }),
                    Set(both.map(\.id)).isSubset(of: answers),
                    Set(both.compactMap { $0.attributes["vecraft.node"]?.number }) == [2, 3]
                else { throw CommandFailure(description: "only \(spans.map { "\($0.name) \($0.kind) \($0.status)" })") }
                return true
            }
            try await run.finish()
        }

        /// `wait: applied` means searchable, wherever the shards are: each has one holder here, and all are late.
        @Test(.timeLimit(.minutes(10))) func aWriteThatWaitsIsAppliedOnAllNodes() async throws {
            let run = try await ClusterRun.start(shards: 8) {
                $0.settings += ["cluster.shard_replicas=1", "storage.apply_delay_ms=400"]
            }
            for node in run.cluster.nodes {
                let points = (0..<24).map { i in
                    VecraftV1.Point(id: "n\(node.id)-\(i)", vector: .init(values: [1, 2, 3, Float(i)]))
                }
                let _: VecraftV1.UpsertResponse = try await node.persistently(
                    "vecraft.v1.Points/Upsert",
                    VecraftV1.UpsertRequest(collection: ClusterRun.collection, points: points, wait: .applied))
                for reader in run.cluster.nodes {
                    let got: VecraftV1.GetResponse = try await reader.persistently(
                        "vecraft.v1.Points/Get",
                        VecraftV1.GetRequest(
                            collection: ClusterRun.collection, ids: points.map(\.id),
                            read: .init(consistency: .eventual)))
                    #expect(got.missing.isEmpty, "written at node \(node.id), read at node \(reader.id)")
                }
            }
            try await run.finish()
        }

        /// Nodes hear of a new collection each at its own time; whoever made it can use it at once.
        @Test(.timeLimit(.minutes(10))) func aNewCollectionIsReadAtOnce() async throws {
            let run = try await Self.start(shards: 1)
            for round in 0..<20 {
                let node = run.cluster[round % 3 + 1]
                let _: VecraftV1.CreateCollectionResponse = try await node.persistently(
                    "vecraft.v1.Collections/CreateCollection",
                    VecraftV1.CreateCollectionRequest(
                        name: "new-\(round)",
                        config: VecraftV1.CollectionConfig(
                            vector: VecraftV1.VectorConfig(dimension: 4, distance: .l2), shards: 8)))
                let count: VecraftV1.CountResponse = try await node.persistently(
                    "vecraft.v1.Points/Count",
                    VecraftV1.CountRequest(collection: "new-\(round)", read: .init(consistency: .strong)),
                    timeout: .seconds(60), while: \.isOfTheMachine)
                #expect(count.count == 0)
            }
            try await run.finish()
        }

        private func held(_ cluster: TestCluster) async throws -> [Int: [UInt32]] {
            var held: [Int: [UInt32]] = [:]
            for node in cluster.nodes {
                held[node.id] =
                    try await cluster.describe(ClusterRun.collection, on: node).status?.shards.map(\.shard) ?? []
            }
            return held
        }

        private func search(
            _ node: ClusterNode, _ query: [Float], limit: UInt32 = 10, level: VecraftV1.ConsistencyLevel,
            session: [UInt8] = [], timeout: Duration = .seconds(20), within patience: Duration = .seconds(300)
        ) async throws -> [String] {
            let reply: VecraftV1.SearchResponse = try await node.persistently(
                "vecraft.v1.Points/Search",
                VecraftV1.SearchRequest(
                    collection: ClusterRun.collection, vector: .init(values: query), limit: limit, exact: true,
                    read: .init(consistency: level, sessionToken: session)),
                timeout: timeout, within: patience)
            let achieved = reply.info?.achieved.rawValue ?? 0
            #expect(achieved >= level.rawValue, "\(String(describing: reply.info))")
            #expect(reply.hits.map(\.distance) == reply.hits.map(\.distance).sorted())
            return reply.hits.map(\.id)
        }

        private func check(
            _ cluster: TestCluster, _ nodes: [ClusterNode], _ points: [VecraftV1.Point],
            after written: VecraftV1.UpsertResponse
        ) async throws {
            var truth: [String: [String]] = [:]
            func same(_ what: String, _ node: ClusterNode, _ answer: [String]) {
                if let known = truth[what] {
                    #expect(known == answer, "\(what) at node \(node.id)")
                } else {
                    truth[what] = answer
                }
            }
            let session = written.write?.sessionToken ?? []
            for node in nodes {
                for i in stride(from: 0, to: points.count, by: 97) {
                    let vector = points[i].vector!.values
                    for level in [VecraftV1.ConsistencyLevel.strong, .readYourWrites, .bounded] {
                        let found = try await self.search(node, vector, limit: 7, level: level, session: session)
                        if level != .bounded {
                            #expect(found.first == "p\(i)" && found.count == 7)
                            same("search \(i)", node, found)
                        }
                    }
                }
                let strong = VecraftV1.ReadOptions(consistency: .strong)
                let count: VecraftV1.CountResponse = try await node.persistently(
                    "vecraft.v1.Points/Count", VecraftV1.CountRequest(collection: ClusterRun.collection, read: strong))
                #expect(count.count == UInt64(points.count))
                let asked = ["p5", "nobody", "p599", "p5", "p0"]
                let got: VecraftV1.GetResponse = try await node.persistently(
                    "vecraft.v1.Points/Get",
                    VecraftV1.GetRequest(collection: ClusterRun.collection, ids: asked, withVectors: true, read: strong)
                )
                #expect(got.points.map(\.id) == ["p5", "p599", "p5", "p0"] && got.missing == ["nobody"])
                #expect(got.points.first?.payload?.json == points[5].payload?.json)
                same("get", node, got.points.map { "\($0.version) \($0.vector?.values ?? [])" })
                var ids: [String] = []
                var token = ""
                repeat {
                    let page: VecraftV1.ScrollResponse = try await node.persistently(
                        "vecraft.v1.Points/Scroll",
                        VecraftV1.ScrollRequest(
                            collection: ClusterRun.collection, pageSize: 50, pageToken: token, read: strong))
                    ids += page.points.map(\.id)
                    token = page.nextPageToken
                } while !token.isEmpty
                #expect(ids == points.map(\.id).sorted(), "scroll at node \(node.id): \(ids.count)")
                let page = try await eventually("it is counted over HTTP") {
                    let page = try await http(
                        "POST", node.httpPort, "/v1/collections/\(ClusterRun.collection)/points:count",
                        body:
                            "{\"filter\":{\"must\":[{\"key\":\"kind\",\"match\":{\"value\":\"k1\"}}]},\"read\":{\"consistency\":\"CONSISTENCY_LEVEL_STRONG\"}}",
                        host: node.host)
                    // Unavailable, or out of time.
                    return [503, 504].contains(page.status) ? nil : page
                }
                #expect(page.status == 200 && page.body.contains("\"count\":\"200\""), "\(page.body)")
            }
        }
    }
}
