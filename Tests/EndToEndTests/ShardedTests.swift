import Foundation
import GRPC
import Primitives
import TestSupport
import Testing
import Wire

/// A collection of several shards answers as one of a single shard does, whatever is asked.
@Suite("Shards of a collection, end to end")
struct ShardedTests {
    private static let keywords = (0..<5).map { "k\($0)" }

    /// The same history in collections of 1, 4 and 64 shards, small segments, a kill in the middle.
    @Test func manyShardsAnswerAsOne() async throws {
        let directory = try TemporaryDirectory()
        let settings = ["storage.segment_points=100", "storage.graph_from=50"]
        var node = try await TestNode(directory.path + "/data", settings: settings)
        let collections = ["one", "four", "all"]
        for (name, shards) in zip(collections, [UInt32(1), 4, 64]) {
            let made = try await node.create(name, indexes: [("kind", .keyword)], shards: shards)
            #expect(made.collection?.config?.shards == shards)
        }
        var rng = SeededRNG(seed: 11)
        for round in 0..<12 {
            let points = (0..<40).map { _ in
                let id = "p\(Int.random(in: 0..<400, using: &rng))"
                let payload = "{\"kind\":\"k\(Int.random(in: 0..<5, using: &rng))\",\"round\":\(round)}"
                return point(id, randomVector(8, using: &rng), payload: payload)
            }
            let gone = (0..<5).map { _ in "p\(Int.random(in: 0..<400, using: &rng))" }
            let word = Self.keywords.randomElement(using: &rng)!
            for name in collections {
                try await node.upsert(name, points)
                try await node.delete(name, gone)
                guard round % 4 == 3 else { continue }
                var filter = Self.matching(word)
                filter.must.append(VecraftV1.Condition(key: "round", test: .range(.init(lt: .init(value: Double(round - 2))))))
                let _: VecraftV1.DeleteResponse = try await node.call(
                    "Points/Delete", VecraftV1.DeleteRequest(collection: name, filter: filter))
            }
            if round == 6 {
                await node.kill()
                node = try await TestNode(directory.path + "/data", settings: settings)
            }
        }
        try await self.compare(node, collections, &rng)
        #expect(await node.stop() == 0)
        node = try await TestNode(directory.path + "/data", settings: settings)
        try await self.compare(node, collections, &rng)
        let folders = try FileManager.default.contentsOfDirectory(atPath: directory.path + "/data/shards")
        #expect(folders.count == 69)
        let _: VecraftV1.DropCollectionResponse = try await node.call(
            "Collections/DropCollection", VecraftV1.DropCollectionRequest(name: "all"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path + "/data/shards").count == 5)
        #expect(await node.stop() == 0)
    }

    private func compare(_ node: TestNode, _ names: [String], _ rng: inout SeededRNG) async throws {
        var truth: [String: [String]] = [:]
        func same(_ question: String, _ name: String, _ answer: [String]) {
            if let known = truth[question] {
                #expect(known == answer, "\(question) of \(name)")
            } else {
                truth[question] = answer
            }
        }
        let queries = (0..<10).map { _ in randomVector(8, using: &rng) }
        for name in names {
            // Strongly, so that what is described then has everything.
            let total = try await node.count(name)
            let described: VecraftV1.DescribeCollectionResponse = try await node.call(
                "Collections/DescribeCollection", VecraftV1.DescribeCollectionRequest(name: name))
            same("count", name, ["\(total)"])
            // Versions are the entries', which differ from collection to collection, so digests cannot be compared here.
            #expect(described.collection?.status?.points == total)
            for word in Self.keywords {
                same("count of \(word)", name, ["\(try await node.count(name, filter: Self.matching(word)))"])
            }
            let asked = (0..<400).map { "p\(399 - $0)" } + ["p7", "p7", "nobody"]
            let got = try await node.get(name, asked, vectors: true)
            same("get", name, got.points.map { "\($0.id) \($0.vector?.values ?? []) \($0.payload?.json ?? [])" })
            same("missing", name, got.missing)
            same("scroll", name, try await self.scroll(node, name, 7, nil))
            same("scroll within", name, try await self.scroll(node, name, 3, Self.matching("k2")))
            for (i, query) in queries.enumerated() {
                for limit in [UInt32(1), 10, 300] {
                    for filter in [nil, Self.matching("k1")] {
                        let found: VecraftV1.SearchResponse = try await node.call(
                            "Points/Search",
                            VecraftV1.SearchRequest(
                                collection: name, vector: .init(values: query), limit: limit, filter: filter, exact: true))
                        same(
                            "search \(i) for \(limit) within \(filter != nil)", name,
                            found.hits.map { "\($0.id) \($0.payload?.json.count ?? -1)" })
                        #expect(found.hits.map(\.distance) == found.hits.map(\.distance).sorted())
                        if filter == nil { #expect(found.hits.count == min(Int(limit), Int(total))) }
                    }
                }
            }
        }
    }

    private func scroll(_ node: TestNode, _ name: String, _ size: UInt32, _ filter: VecraftV1.Filter?) async throws -> [String] {
        var ids: [String] = []
        var token = ""
        repeat {
            let page: VecraftV1.ScrollResponse = try await node.call(
                "Points/Scroll",
                VecraftV1.ScrollRequest(collection: name, filter: filter, pageSize: size, pageToken: token))
            #expect(page.points.count <= Int(size))
            ids += page.points.map(\.id)
            token = page.nextPageToken
        } while !token.isEmpty
        #expect(ids == ids.sorted() && Set(ids).count == ids.count)
        return ids
    }

    private static func matching(_ word: String) -> VecraftV1.Filter {
        VecraftV1.Filter(must: [
            VecraftV1.Condition(key: "kind", test: .match(.init(kind: .value(.init(kind: .stringValue(word))))))
        ])
    }

    @Test func theNumberOfShardsIsJudged() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        for shards in [UInt32(3), 128, .max] {
            let error = await #expect(throws: VecraftError.self) { try await node.create("c", shards: shards) }
            #expect(error?.code == .invalidArgument && error?.field == "config.shards")
        }
        #expect(await node.stop() == 0)
    }
}
