import Primitives
import TestSupport
import Testing
import Wire

/// Answers that are given again, and when they are not.
@Suite("The result cache") struct ResultCacheTests {
    private func search(
        _ node: TestNode, _ vector: [Float], limit: UInt32 = 3, level: VecraftV1.ConsistencyLevel = .strong,
        filter: VecraftV1.Filter? = nil, withVectors: Bool = false, collection: String = "c"
    ) async throws -> VecraftV1.SearchResponse {
        try await node.call(
            "Points/Search",
            VecraftV1.SearchRequest(
                collection: collection, vector: .init(values: vector), limit: limit, filter: filter,
                withVectors: withVectors,
                read: .init(consistency: level)))
    }

    private func bytes(_ node: TestNode) async throws -> Double {
        let page = try await http("GET", node.server.httpPort, "/metrics").body
        let line = try #require(page.split(separator: "\n").first { $0.hasPrefix("vecraft_query_result_cache_bytes ") })
        return try #require(Double(line.split(separator: " ")[1]))
    }

    private func ids(_ reply: VecraftV1.SearchResponse) -> [String] { reply.hits.map(\.id) }
    private func isHit(_ reply: VecraftV1.SearchResponse) -> Bool { reply.info?.cacheHit ?? false }

    @Test func theSameIsAnsweredFromIt() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["query.result_cache_bytes=1MiB"])
        try await node.create("c", dimension: 4)
        try await node.create("other", dimension: 4)
        for i in 0..<20 { try await node.upsert("c", [point("p\(i)", [Float(i), 0, 0, 1])]) }

        let first = try await self.search(node, [3, 0, 0, 1])
        #expect(!self.isHit(first))
        let second = try await self.search(node, [3, 0, 0, 1])
        #expect(self.isHit(second))
        #expect(second.hits == first.hits)
        #expect(second.info?.achieved == .strong)
        // Another level is the same question; other shapes are not.
        #expect(self.isHit(try await self.search(node, [3, 0, 0, 1], level: .eventual)))
        #expect(!self.isHit(try await self.search(node, [3, 0, 0, 1.5])))
        #expect(!self.isHit(try await self.search(node, [3, 0, 0, 1], limit: 4)))
        #expect(!self.isHit(try await self.search(node, [3, 0, 0, 1], withVectors: true)))
        #expect(!self.isHit(try await self.search(node, [3, 0, 0, 1], collection: "other")))
        let vectors = try await self.search(node, [3, 0, 0, 1], withVectors: true)
        #expect(self.isHit(vectors) && vectors.hits.allSatisfy { $0.vector?.values.count == 4 })

        // Writes elsewhere move the partition's offset, and change nothing here: the answer says that it is as new as they are.
        try await node.upsert("other", [point("x", [1, 1, 1, 1])])
        let after = try await self.search(node, [3, 0, 0, 1])
        #expect(self.isHit(after))
        #expect((after.info?.indexVersion.first?.offset ?? 0) > (first.info?.indexVersion.first?.offset ?? 0))
        // A change of any point of the collection ends it, and taking it back does not bring it back wrongly.
        try await node.upsert("c", [point("new", [3, 0, 0, 1.01])])
        let changed = try await self.search(node, [3, 0, 0, 1])
        #expect(!self.isHit(changed) && self.ids(changed).contains("new"))
        try await node.delete("c", ["new"])
        let back = try await self.search(node, [3, 0, 0, 1])
        #expect(self.ids(back) == self.ids(first))
        #expect(await node.stop() == 0)
    }

    @Test func itStaysWithinItsMemory() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["query.result_cache_bytes=64KiB"])
        try await node.create("c", dimension: 4)
        try await node.upsert("c", (0..<20).map { point("p\($0)", [Float($0), 0, 0, 1]) })
        var most = 0.0
        for i in 0..<1_000 {
            _ = try await self.search(node, [Float(i), 1, 0, 1], limit: 10)
            if i % 100 == 99 { most = max(most, try await self.bytes(node)) }
        }
        #expect(most > 16_384 && most <= 65_536)
        // The newest are kept.
        #expect(self.isHit(try await self.search(node, [999, 1, 0, 1], limit: 10)))
        #expect(!self.isHit(try await self.search(node, [0, 1, 0, 1], limit: 10)))
        #expect(await node.stop() == 0)
    }

    @Test func withoutTheSettingNothingIsKept() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        try await node.create("c", dimension: 4)
        try await node.upsert("c", [point("p", [1, 0, 0, 1])])
        for _ in 0..<3 { #expect(!self.isHit(try await self.search(node, [1, 0, 0, 1]))) }
        #expect(await node.stop() == 0)
    }
}
