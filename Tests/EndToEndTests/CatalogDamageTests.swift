import Foundation
import Primitives
import TestSupport
import Testing
import Wire

/// The metadata file is a copy: whatever happens to it, the node comes up with what the journal says.
@Suite("A damaged copy of the catalog")
struct CatalogDamageTests {
    private func names(_ node: TestNode) async throws -> [String] {
        let reply: VecraftV1.ListCollectionsResponse = try await node.call(
            "Collections/ListCollections", VecraftV1.ListCollectionsRequest())
        return reply.collections.map(\.name)
    }

    /// A stopped node's folder, with one collection of one point.
    private func prepare() async throws -> (directory: TemporaryDirectory, data: String) {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["journal.data_partitions=1"])
        try await node.create("catalogx", indexes: [("field_one", .keyword)])
        try await node.upsert("catalogx", [point("a", [1, 0, 0, 0, 0, 0, 0, 0])])
        #expect(await node.stop() == 0)
        return (directory, directory.path + "/data")
    }

    private func start(_ data: String) async throws -> TestNode {
        try await TestNode(data, settings: ["journal.data_partitions=1"])
    }

    @Test func isPutAsideCountedAndRebuilt() async throws {
        let (directory, data) = try await self.prepare()
        defer { withExtendedLifetime(directory) {} }
        let file = URL(fileURLWithPath: data + "/metadata.sqlite")
        var bytes = try Data(contentsOf: file)
        let name = try #require(bytes.range(of: Data("catalogx".utf8)))
        bytes[name.lowerBound + 2] ^= 4
        try bytes.write(to: file)
        let node = try await self.start(data)
        #expect(try await self.names(node) == ["catalogx"])
        #expect(try await node.count("catalogx") == 1)
        let metrics = try await http("GET", node.server.httpPort, "/metrics").body
        #expect(metrics.contains("vecraft_meta_quarantined_copies_total 1"), "\(metrics)")
        #expect(node.server.logText.contains("the copy of the catalog cannot be trusted"))
        #expect(FileManager.default.fileExists(atPath: data + "/metadata.sqlite.damaged-1"))
        try await node.create("another")
        #expect(await node.stop() == 0)
        // The new copy is good.
        let again = try await self.start(data)
        #expect(try await self.names(again) == ["another", "catalogx"])
        #expect(try await http("GET", again.server.httpPort, "/metrics").body.contains("vecraft_meta_quarantined_copies_total 0"))
        #expect(await again.stop() == 0)
    }

    @Test(arguments: ["no database", "empty", "gone"])
    func ofAnyKindIsMadeAnew(_ kind: String) async throws {
        let (directory, data) = try await self.prepare()
        defer { withExtendedLifetime(directory) {} }
        let file = data + "/metadata.sqlite"
        try FileManager.default.removeItem(atPath: file)
        if kind == "no database" { try Data(repeating: 0x41, count: 8_192).write(to: URL(fileURLWithPath: file)) }
        if kind == "empty" { try Data().write(to: URL(fileURLWithPath: file)) }
        let node = try await self.start(data)
        #expect(try await self.names(node) == ["catalogx"])
        #expect(try await node.count("catalogx") == 1)
        #expect(await node.stop() == 0)
    }

    @Test func foldersGoOnlyWhenTheJournalSaysSo() async throws {
        let (directory, data) = try await self.prepare()
        defer { withExtendedLifetime(directory) {} }
        let manager = FileManager.default
        let folder = try #require(try manager.contentsOfDirectory(atPath: data + "/shards").first)
        try manager.copyItem(atPath: data + "/shards/" + folder, toPath: directory.path + "/kept")
        try manager.createDirectory(atPath: data + "/shards/12345-0", withIntermediateDirectories: true)
        var node = try await self.start(data)
        #expect(try await node.count("catalogx") == 1)
        #expect(manager.fileExists(atPath: data + "/shards/12345-0"), "the journal knows nothing of it")
        #expect(node.server.logText.contains("left alone"))
        let _: VecraftV1.DropCollectionResponse = try await node.call(
            "Collections/DropCollection", VecraftV1.DropCollectionRequest(name: "catalogx"))
        #expect(await node.stop() == 0)
        #expect(!manager.fileExists(atPath: data + "/shards/" + folder))
        // As a node leaves it that is killed between the two.
        try manager.copyItem(atPath: directory.path + "/kept", toPath: data + "/shards/" + folder)
        node = try await self.start(data)
        #expect(!manager.fileExists(atPath: data + "/shards/" + folder))
        #expect(manager.fileExists(atPath: data + "/shards/12345-0"))
        #expect(await node.stop() == 0)
    }
}
