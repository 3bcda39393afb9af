import Foundation
import Primitives
import TestSupport
import Testing
import Wire

@Suite("A node, seen from outside")
struct ObservedNodeTests {
    private var needed: Bool { ProcessInfo.processInfo.environment["CI"] == "true" }

    @Test func promtoolHasNothingToSayOfALiveNode() async throws {
        guard let promtool = findProgram("promtool") else {
            #expect(!self.needed, "promtool is missing (Debian package prometheus)")
            return
        }
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        try await node.create("c", dimension: 4, indexes: [("k", .keyword)])
        try await node.upsert("c", [point("a", [1, 0, 0, 0], payload: "{\"k\":\"v\"}")], wait: .applied)
        let _: VecraftV1.SearchResponse = try await node.call(
            "Points/Search", VecraftV1.SearchRequest(collection: "c", vector: .init(values: [1, 0, 0, 0])))
        let page = try await http("GET", node.server.httpPort, "/metrics")
        #expect(page.status == 200)
        for name in [
            "vecraft_request_duration_seconds_bucket", "vecraft_request_total",
            "vecraft_journal_fsync_duration_seconds_count",
            "vecraft_storage_points", "vecraft_storage_filter_graph_bytes", "vecraft_storage_replay_lag_entries",
            "process_resident_memory_bytes", "vecraft_build_info",
            "vecraft_grpc_requests_total", "vecraft_query_staleness_seconds_count",
        ] {
            #expect(page.body.contains(name), "\(name) is not on the page")
        }
        let check = try await PythonEnvironment.run(
            promtool, ["check", "metrics"], input: page.body, limit: .seconds(300))
        #expect(check.succeeded && check.output.isEmpty && check.errors.isEmpty, "\(check)")
        let open = try await http(
            "GET", node.server.httpPort, "/metrics", headers: ["accept": "application/openmetrics-text"])
        #expect(open.body.hasSuffix("# EOF\n"))
        #expect(await node.stop() == 0)
    }

    /// The bundled packages: the graph's answers against exact ones, with and without a filter, over the wire.
    @Test func recallOnTheBundledPackages() async throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("data/debian-packages")
        let lines = try String(contentsOf: root.appendingPathComponent("points.jsonl"), encoding: .utf8).split(
            separator: "\n")
        let file = try Data(contentsOf: root.appendingPathComponent("vectors.f16.npy"))
        let body = file.dropFirst(10 + Int(file[8]) + Int(file[9]) << 8)
        let halves = body.withUnsafeBytes { raw in
            (0..<raw.count / 2).map { raw.loadUnaligned(fromByteOffset: $0 * 2, as: UInt16.self) }
        }
        #expect(halves.count == lines.count * 384)

        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["storage.graph_from=500"])
        try await node.create("packages", dimension: 384, indexes: [("section", .keyword)])
        var queries: [[Float]] = []
        for start in stride(from: 0, to: lines.count, by: 250) {
            var points: [VecraftV1.Point] = []
            for i in start..<min(start + 250, lines.count) {
                let document = try JSONValue(parsing: String(lines[i]))
                let vector = halves[i * 384..<(i + 1) * 384].map(widened)
                if i % 50 == 0 { queries.append(vector.map { $0 + 0.01 }) }
                points.append(
                    VecraftV1.Point(
                        id: document["id"]?.stringValue ?? "", vector: .init(values: vector),
                        payload: .init(json: (document["payload"] ?? .object([])).encoded())))
            }
            try await node.upsert("packages", points)
        }
        #expect(try await node.count("packages") == UInt64(lines.count))
        try await self.settled(node)
        let section = VecraftV1.Filter(must: [
            .init(
                key: "section",
                test: .match(
                    .init(kind: .any(.init(values: ["libs", "devel", "python"].map { .init(kind: .stringValue($0)) }))))
            )
        ])
        for filter in [nil, section] {
            var found = 0
            for query in queries {
                let graph = try await self.search(node, query, filter, exact: false)
                let exact = try await self.search(node, query, filter, exact: true)
                #expect(graph.count == 10)
                found += Set(graph).intersection(exact).count
            }
            let recall = Double(found) / Double(queries.count * 10)
            #expect(recall >= 0.95, "recall@10 \(recall), filtered: \(filter != nil)")
        }
        #expect(await node.stop() == 0)
    }

    private func settled(_ node: TestNode) async throws {
        try await eventually("the graph is built", within: .seconds(300), every: .milliseconds(50)) {
            let reply: VecraftV1.DescribeCollectionResponse = try await node.call(
                "Collections/DescribeCollection", VecraftV1.DescribeCollectionRequest(name: "packages"))
            return reply.collection?.status.map { $0.indexedVectors == $0.totalVectors } ?? false
        }
    }

    private func search(
        _ node: TestNode, _ query: [Float], _ filter: VecraftV1.Filter?, exact: Bool
    ) async throws -> [String] {
        let reply: VecraftV1.SearchResponse = try await node.call(
            "Points/Search",
            VecraftV1.SearchRequest(
                collection: "packages", vector: .init(values: query), limit: 10, filter: filter, exact: exact,
                withoutPayload: true))
        return reply.hits.map(\.id)
    }
}

/// IEEE 754 half to single.
private func widened(_ half: UInt16) -> Float {
    let sign: Float = half & 0x8000 == 0 ? 1 : -1
    let exponent = Int(half >> 10 & 0x1f)
    let fraction = Float(half & 0x3ff)
    if exponent == 0 { return sign * fraction * 0x1p-24 }
    return sign * (1 + fraction / 1024) * Float(sign: .plus, exponent: exponent - 15, significand: 1)
}
