import ControlPlane
import FileStore
import Foundation
import Metadata
import Placement
import Primitives
import TestSupport
import Testing

/// The map in a store, as two processes see it.
@Suite struct MapStoreTests {
    private let directory: TemporaryDirectory
    private let store: SQLiteMetadataStore

    init() throws {
        self.directory = try TemporaryDirectory()
        self.store = try SQLiteMetadataStore(path: self.directory.file("metadata.sqlite"))
    }

    private func map(_ name: String = "cluster-map") -> MapStore {
        MapStore(self.store, path: self.directory.file(name), files: PosixFileStore())
    }

    private func node(_ id: UInt64, name: String = "n") -> NodeRecord {
        NodeRecord(id: NodeID(id), name: "\(name)\(id)")
    }

    @Test func whatIsWrittenIsReadByTheOther() async throws {
        let (a, b) = (self.map("a"), self.map("b"))
        try await a.commit(.describeNode(self.node(1)), expecting: 0)
        try await a.commit(.activateNode(NodeID(1)), expecting: 1)
        #expect(b.map.epoch == 0)
        try await b.refresh()
        #expect(b.map == a.map)
        #expect(b.map.nodes[NodeID(1)]?.state == .active)
    }

    @Test func ofTwoWhoChangeOneMapOneIsRefused() async throws {
        let (a, b) = (self.map("a"), self.map("b"))
        try await a.commit(.describeNode(self.node(1)), expecting: 0)
        // b has not heard of it.
        await #expect {
            try await b.commit(.describeNode(self.node(2)), expecting: 0)
        } throws: { ($0 as? VecraftError)?.reason == "STALE_EPOCH" }
        // Refused, it knows the newest map, and nothing of its change is in the store.
        #expect(b.map == a.map)
        try await a.refresh()
        #expect(a.map.nodes.count == 1)
        try await b.commit(.describeNode(self.node(2)), expecting: 1)
        #expect(b.map.nodes.count == 2)
    }

    @Test func manyWritersLoseNothing() async throws {
        let stores = (0..<4).map { self.map("m\($0)") }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (i, store) in stores.enumerated() {
                group.addTask {
                    for j in 0..<8 {
                        try await store.change { _ in .describeNode(self.node(UInt64(i * 8 + j + 1))) }
                    }
                }
            }
            try await group.waitForAll()
        }
        try await stores[0].refresh()
        #expect(stores[0].map.nodes.count == 32)
        #expect(stores[0].map.epoch == 32, "a change is an epoch")
    }

    @Test func changesAreHeardOf() async throws {
        let (a, b) = (self.map("a"), self.map("b"))
        let following = Task { await b.run() }
        for i in 1...20 { try await a.commit(.describeNode(self.node(UInt64(i))), expecting: UInt64(i - 1)) }
        let heard = await b.wait { $0.epoch == 20 }
        #expect(heard == a.map)
        following.cancel()
        await following.value
    }

    @Test func theLastMapIsThereWithoutTheStore() async throws {
        let a = self.map()
        try await a.commit(.describeNode(self.node(1)), expecting: 0)
        try await a.commit(.addPartition(.sys, wanted: 3), expecting: 1)
        try await eventually("the file has it") {
            self.map().map.epoch == 2
        }
        #expect(self.map().map == a.map)
        // A file that cannot be used is as none.
        let path = self.directory.file("cluster-map")
        for bad in ["", "epoch", "epoch {}\n", "nodes/1 {\"format\":99}\n", "rubbish {\"format\":1}\n"] {
            try Data(bad.utf8).write(to: URL(fileURLWithPath: path))
            #expect(self.map().map.epoch == 0, "\(bad)")
        }
    }

    /// A store that lost its data, or was put back from an old copy, must not make anybody throw away what it does not know of.
    @Test func aMapOfAnotherTimeIsNotTaken() async throws {
        let a = self.map()
        for i in 1...3 { try await a.commit(.describeNode(self.node(UInt64(i))), expecting: UInt64(i - 1)) }
        try await eventually("the file has it") { self.map().map.epoch == 3 }
        for key in try await self.store.list(prefix: "map/").entries.map(\.key) { _ = try await self.store.delete(key) }
        let again = self.map()
        await #expect { try await again.refresh() } throws: { ($0 as? VecraftError)?.reason == "METADATA_WENT_BACK" }
        #expect(again.map == a.map)
        let other = self.map("of-nobody")
        try await other.commit(.describeNode(self.node(9)), expecting: 0)
        await #expect { try await again.refresh() } throws: { ($0 as? VecraftError)?.reason == "METADATA_WENT_BACK" }
        #expect(again.map.nodes.count == 3)
    }

    @Test func aLostClusterIsPutBackFromANode() async throws {
        let folder = self.directory.file("node-1")
        let files = PosixFileStore()
        try files.createDirectory(folder)
        let document = try ClusterDocument(dataPartitions: 2, voters: 3, replicas: 2)
        let a = self.map("node-1/cluster-map")
        for i in 1...3 { try await a.commit(.describeNode(self.node(UInt64(i))), expecting: UInt64(i - 1)) }
        try await eventually("the file has it") { self.map("node-1/cluster-map").map.epoch == 3 }
        try AtomicFile.replace(folder + "/cluster", with: document.encoded(), in: files)
        try await document.write(self.store)
        await #expect { try await ClusterDocument.restore(from: folder, to: self.store, files: files) } throws: {
            ($0 as? VecraftError)?.reason == "CLUSTER_EXISTS"
        }
        let fresh = try SQLiteMetadataStore(path: self.directory.file("fresh.sqlite"))
        // What an attempt left that died half-way is no cluster, and not part of the one that is put back.
        _ = try await fresh.put("map/nodes/9", Array("{}".utf8))
        #expect(try await ClusterDocument.restore(from: folder, to: fresh, files: files) == 3)
        #expect(try await ClusterDocument.read(fresh) == document)
        _ = try await fresh.delete(ClusterDocument.key)
        #expect(try await ClusterDocument.restore(from: folder, to: fresh, files: files) == 3, "the last step was missing")
        #expect(try await ClusterDocument.read(fresh) == document)
        let map = MapStore(fresh, path: folder + "/cluster-map", files: files)
        try await map.refresh()
        #expect(map.map == a.map)
        try await map.commit(.activateNode(NodeID(2)), expecting: 3)
        #expect(map.map.epoch == 4)
    }

    @Test func aMapThatBreaksItsRulesIsNotTaken() async throws {
        let (a, b) = (self.map("a"), self.map("b"))
        try await a.commit(.describeNode(self.node(1)), expecting: 0)
        try await b.refresh()
        _ = try await self.store.put("map/nodes/1", Array("{\"format\":1}".utf8))
        await #expect { try await b.refresh() } throws: { ($0 as? VecraftError)?.reason == "BAD_CLUSTER_MAP" }
        #expect(b.map == a.map, "the last good one stays")
        _ = try await self.store.put("map/nodes/1", Array("{\"format\":2}".utf8))
        await #expect { try await b.refresh() } throws: { ($0 as? VecraftError)?.reason == "NEWER_FORMAT" }
    }
}

/// Whose a data directory is.
@Suite struct NodeRegistrationTests {
    private let directory: TemporaryDirectory
    private let store: SQLiteMetadataStore
    private let files = PosixFileStore()

    init() throws {
        self.directory = try TemporaryDirectory()
        self.store = try SQLiteMetadataStore(path: self.directory.file("metadata.sqlite"))
    }

    private func description(_ name: String, zone: String = "") -> NodeRecord {
        NodeRecord(id: NodeID(0), name: name, addresses: ["peer": "10.0.0.1:7402"], zone: zone)
    }

    private func folder(_ name: String) throws -> String {
        let path = self.directory.file(name)
        try self.files.createDirectory(path)
        return path
    }

    private func enroll(
        _ folder: String, _ description: NodeRecord, cluster: String = "c"
    ) async throws -> (NodeRegistration, MapStore) {
        let map = MapStore(self.store, path: Paths.join(folder, "cluster-map"), files: self.files)
        let registration = try await NodeRegistration.enroll(
            description, cluster: cluster, identity: 7, directory: folder, map: map, store: self.store,
            files: self.files)
        return (registration, map)
    }

    @Test func anIdIsTheDatas() async throws {
        let (one, two) = (try self.folder("one"), try self.folder("two"))
        #expect(try await self.enroll(one, self.description("a")).0.id == NodeID(1))
        #expect(try await self.enroll(two, self.description("b")).0.id == NodeID(2))
        // The same folder, whatever it is called now; what it says of itself is written down.
        let (again, map) = try await self.enroll(one, self.description("moved", zone: "z"))
        #expect(again.id == NodeID(1))
        #expect(map.map.nodes[NodeID(1)]?.name == "moved")
        #expect(map.map.nodes[NodeID(1)]?.zone == "z")
        // Nothing new, no new epoch.
        let epoch = map.map.epoch
        #expect(try await self.enroll(one, self.description("moved", zone: "z")).1.map.epoch == epoch)
        // Emptied, it is another node.
        try self.files.removeTree(two)
        let (fresh, after) = try await self.enroll(try self.folder("two"), self.description("b2"))
        #expect(fresh.id == NodeID(3))
        #expect(after.map.nodes.count == 3)
    }

    @Test func manyAtOnceGetDifferentIds() async throws {
        let ids = try await withThrowingTaskGroup(of: NodeID.self) { group in
            for i in 0..<8 {
                group.addTask {
                    try await self.enroll(try self.folder("n\(i)"), self.description("node-\(i)")).0.id
                }
            }
            var ids: Set<NodeID> = []
            for try await id in group { ids.insert(id) }
            return ids
        }
        #expect(ids.count == 8)
    }

    @Test func otherPeoplesDataAreRefused() async throws {
        let one = try self.folder("one")
        _ = try await self.enroll(one, self.description("a"))
        await #expect { try await self.enroll(one, self.description("a"), cluster: "other") } throws: {
            ($0 as? VecraftError)?.reason == "OTHER_CLUSTER"
        }
        let alone = try self.folder("alone")
        try self.files.createDirectory(Paths.join(alone, "journal"))
        await #expect { try await self.enroll(alone, self.description("b")) } throws: {
            ($0 as? VecraftError)?.field == "node.data_directory"
        }
        #expect(!self.files.exists(Paths.join(alone, "node")))
        for text in [
            "", "node 1\n", "cluster c\nnode 0\nidentity 7\n", "cluster c\nnode x\nidentity 7\n", "cluster c\n",
            "cluster c\nnode 1\n",
        ] {
            try Data(text.utf8).write(to: URL(fileURLWithPath: Paths.join(one, "node")))
            await #expect(throws: VecraftError.self, "\(text)") { try await self.enroll(one, self.description("a")) }
        }
    }

    @Test func aRemovedNodeStaysRemoved() async throws {
        let one = try self.folder("one")
        let (_, map) = try await self.enroll(one, self.description("a"))
        try await map.change { _ in .removeNode(NodeID(1)) }
        await #expect { try await self.enroll(one, self.description("a")) } throws: {
            ($0 as? VecraftError)?.reason == "NODE_REMOVED"
        }
        #expect(try await self.enroll(try self.folder("two"), self.description("a")).0.id == NodeID(2))
    }

    /// A start that died between the store and its own file left a record that nobody answers to.
    @Test func aHalfFinishedStartIsTakenUp() async throws {
        let one = try self.folder("one")
        _ = try await self.enroll(one, self.description("a"))
        try self.files.remove(Paths.join(one, "node"))
        #expect(try await self.enroll(one, self.description("a")).0.id == NodeID(1))
        // Not if somebody lives under it.
        let lease = try await self.store.grantLease(ttl: .seconds(20))
        _ = try await self.store.put("live/1", [], lease: lease)
        try self.files.remove(Paths.join(one, "node"))
        #expect(try await self.enroll(one, self.description("a")).0.id == NodeID(2))
        try await lease.revoke()
    }

    @Test func aClusterIsMadeOnce() async throws {
        let document = try ClusterDocument(dataPartitions: 2, voters: 3, replicas: 2)
        #expect(try await ClusterDocument.read(self.store) == nil)
        try await document.write(self.store)
        try await document.write(self.store)
        #expect(try await ClusterDocument.read(self.store) == document)
        await #expect {
            try await ClusterDocument(dataPartitions: 4, voters: 3, replicas: 2).write(self.store)
        } throws: {
            ($0 as? VecraftError)?.reason == "CLUSTER_EXISTS"
        }
        #expect(document.partitions == [.data(0), .data(1), .txn, .sys])
        for (partitions, voters, replicas) in [(0, 3, 2), (65, 3, 2), (2, 2, 2), (2, 7, 2), (2, 3, 0), (2, 3, 8)] {
            #expect(throws: VecraftError.self) {
                try ClusterDocument(dataPartitions: partitions, voters: voters, replicas: replicas)
            }
        }
        for bad in [
            "", "{}", "{\"format\":1}", "{\"format\":1,\"data_partitions\":\"2\",\"voters\":3,\"replicas\":2}",
            "{\"format\":1,\"data_partitions\":2,\"voters\":3,\"replicas\":2}",
        ] {
            #expect(throws: VecraftError.self, "\(bad)") { try ClusterDocument(parsing: Array(bad.utf8)) }
        }
        #expect { try ClusterDocument(parsing: Array("{\"format\":2}".utf8)) } throws: {
            ($0 as? VecraftError)?.reason == "NEWER_FORMAT"
        }
    }

    @Test func notesOutliveTheProcess() throws {
        let path = self.directory.file("replicas")
        let notes = try ReplicaNotes(path: path, files: self.files)
        let id = ShardID(collection: 7, shard: 3)
        #expect(notes[id] == nil)
        try notes.set(id, ReplicaNotes.Note(incarnation: 5, made: 9))
        try notes.set(ShardID(collection: 8, shard: 0), ReplicaNotes.Note(incarnation: 6, made: 10))
        let again = try ReplicaNotes(path: path, files: self.files)
        #expect(again.all == notes.all && again.all.count == 2)
        try again.set(id, nil)
        #expect(try ReplicaNotes(path: path, files: self.files)[id] == nil)
        // What is not durable is not known.
        let disk = FaultyFileStore()
        let failing = try ReplicaNotes(path: "replicas", files: disk)
        disk.inject(.ioError(.sync))
        #expect(throws: VecraftError.self) { try failing.set(id, ReplicaNotes.Note(incarnation: 1, made: 1)) }
        #expect(failing[id] == nil)
        try Data("7 3 5\n".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: VecraftError.self) { try ReplicaNotes(path: path, files: self.files) }
    }
}
