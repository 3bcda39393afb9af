import Placement
import Primitives
import Testing

@Suite struct MapDocumentTests {
    /// A map with every kind of record and state in it.
    static func eventful() -> World {
        var world = World(nodes: 5, zones: ["a", "b"])
        world.apply(
            .describeNode(
                NodeRecord(
                    id: NodeID(6), name: "n\"6\u{e9}", addresses: ["client": "[::1]:7400", "peer": "x:1"],
                    roles: [.query, .gateway],
                    weight: 7)))
        world.apply(.addPartition(.data(0), wanted: 3))
        world.apply(.addPartition(.sys, wanted: 1))
        world.apply(.addCollection(9_007_199_254_740_993, shards: 3, replication: 2, partition: .data(0)))
        world.settle()
        world.health[1] = .down
        world.plan()
        world.apply(.drainNode(NodeID(2)))
        world.plan()
        return world
    }

    @Test func whatIsWrittenIsReadBack() throws {
        let map = Self.eventful().map
        #expect(map.collections.values.flatMap(\.shards).flatMap(\.replicas).contains { $0.state == .building })
        #expect(map.partitions.values.flatMap(\.replicas).contains { $0.role != .voter })
        #expect(try ClusterMap(documents: map.documents()) == map)
        #expect(ClusterMap().documents().isEmpty && ClusterMap().epochDocument.value == nil)
    }

    @Test func theLayoutIsStable() {
        var world = World(nodes: 1, zones: ["rack-1"])
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(77, shards: 1, replication: 1, partition: .data(0)))
        world.settle()
        let text = world.map.documents().map { "\($0.key) \(String(decoding: $0.value!, as: UTF8.self))" }
        #expect(
            text == [
                #"epoch {"format":1,"epoch":7,"next_incarnation":3}"#,
                #"nodes/1 {"format":1,"name":"node-1","addresses":{},"roles":["storage","journal","query","gateway","control"],"zone":"rack-1","weight":100,"state":"active"}"#,
                #"shards/77 {"format":1,"replication":1,"shards":[{"slot":0,"partition":"data-0","first_live":7,"replicas":[{"node":"1","state":"live","incarnation":2,"made":6}]}]}"#,
                #"partitions/data-0 {"format":1,"wanted":1,"changed":5,"replicas":[{"node":"1","role":"voter","incarnation":1,"made":5}]}"#,
            ])
    }

    /// A change writes the epoch and what it changes, and a watcher that takes that has the new map.
    @Test func aChangeTouchesFewKeys() throws {
        var world = Self.eventful()
        var seen = world.map
        for change: MapChange in [
            .drainNode(NodeID(3)), .cancelDrain(NodeID(3)), .setReplication(9_007_199_254_740_993, 3),
            .setWantedVoters(.sys, 3),
            .dropCollection(9_007_199_254_740_993),
        ] {
            let before = world.map
            world.apply(change)
            let documents = world.map.documents(changedFrom: before)
            #expect(documents.count == 2 && documents[0].key == "epoch")
            try seen.take(documents)
            #expect(seen == world.map)
        }
    }

    /// 1,024 shards with seven copies each stay well below the store's limit of 1 MiB a value.
    @Test func theLargestCollectionFits() {
        var world = World(nodes: 8)
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 1024, replication: 7, partition: .data(0)))
        world.settle()
        let largest = world.map.documents().map { $0.value!.count }.max()!
        #expect(world.map.collections[1]!.shards.allSatisfy { $0.liveCount == 7 })
        #expect(largest > 100_000 && largest < 1 << 20)
    }

    // MARK: Hostile input

    private func refusal(
        _ key: String, _ value: String?, in base: [MapDocument] = []
    ) -> (reason: String?, message: String) {
        do throws(VecraftError) {
            _ = try ClusterMap(documents: base + [MapDocument(key: key, value: value.map { Array($0.utf8) })])
            return (nil, "")
        } catch { return (error.reason, error.message) }
    }

    @Test func aNewerFormatIsRefusedByName() {
        let (reason, message) = self.refusal("epoch", #"{"format":2,"epoch":1,"next_incarnation":1,"more":{}}"#)
        #expect(reason == "NEWER_FORMAT" && message.contains("format 2"))
    }

    @Test(arguments: [
        ("epoch", #"{"format":1,"epoch":1,"next_incarnation":1,"colour":"red"}"#, "unknown field \"colour\""),
        ("epoch", #"{"format":1,"epoch":1}"#, "\"next_incarnation\" is missing"),
        ("epoch", #"{"epoch":1,"next_incarnation":1}"#, "\"format\" is missing"),
        ("epoch", #"{"format":1,"epoch":-1,"next_incarnation":1}"#, "no number"),
        ("epoch", #"{"format":1,"epoch":1e300,"next_incarnation":1}"#, "no number"),
        ("epoch", #"{"format":0,"epoch":1,"next_incarnation":1}"#, "format"),
        ("epoch", "[]", "instead of an object"),
        ("epoch", "{", "invalid JSON"),
        ("epoch", "", "invalid JSON"),
        ("nodes/x", "{}", "not a key"),
        ("nodes/01", "{}", "not a key"),
        ("nodes/1/2", "{}", "not a key"),
        ("shards/18446744073709551616", "{}", "not a key"),
        ("partitions/data-99999", "{}", "not a key"),
        ("other", "{}", "not a key"),
        ("shards/1", #"{"format":1,"replication":1,"shards":[]}"#, "tile"),
        (
            "shards/1",
            #"{"format":1,"replication":1,"shards":[{"slot":0,"partition":"data-0","first_live":0,"replicas":[]},{"slot":0,"partition":"data-0","first_live":0,"replicas":[]}]}"#,
            "tile"
        ),
        (
            "shards/1",
            #"{"format":1,"replication":1,"shards":[{"slot":0,"partition":"nowhere","first_live":0,"replicas":[]}]}"#,
            "partition"
        ),
        (
            "shards/1",
            #"{"format":1,"replication":1,"shards":[{"slot":0,"partition":"data-0","first_live":0,"replicas":[]}]}"#,
            "known partition"
        ),
        ("partitions/data-0", #"{"format":1,"wanted":2,"changed":0,"replicas":[]}"#, "wanted voters"),
        (
            "partitions/data-0",
            #"{"format":1,"wanted":1,"changed":0,"replicas":[{"node":"1","role":"king","incarnation":1,"made":1}]}"#,
            "king"
        ),
        (
            "partitions/data-0",
            #"{"format":1,"wanted":1,"changed":0,"replicas":[{"node":1,"role":"voter","incarnation":1,"made":1}]}"#,
            "no text"
        ),
        (
            "nodes/1",
            #"{"format":1,"name":"","addresses":{},"roles":["storage"],"zone":"","weight":1,"state":"active"}"#, "name"
        ),
        (
            "nodes/1",
            #"{"format":1,"name":"a","addresses":{},"roles":["cook"],"zone":"","weight":1,"state":"active"}"#, "role"
        ),
        (
            "nodes/1",
            #"{"format":1,"name":"a","addresses":{"x":5},"roles":["storage"],"zone":"","weight":1,"state":"active"}"#,
            "address"
        ),
        (
            "nodes/1",
            #"{"format":1,"name":"a","addresses":{},"roles":["storage"],"zone":"","weight":5000000000,"state":"active"}"#,
            "weight"
        ),
    ]) func whatIsNotAMapIsRefused(key: String, value: String, says: String) {
        let (reason, message) = self.refusal(key, value)
        #expect(reason == "BAD_CLUSTER_MAP" && message.contains(says), "\(message)")
    }

    /// Whatever a byte is changed to: a map that is sound, or a refusal.
    @Test func damageIsRefusedOrHarmless() {
        let documents = Self.eventful().map.documents()
        var rng = SeededRNG(seed: 5)
        var refused = 0
        for _ in 0..<4000 {
            var damaged = documents
            let i = Int.random(in: 0..<damaged.count, using: &rng)
            var value = damaged[i].value!
            for _ in 0..<Int.random(in: 1...3, using: &rng) {
                switch Int.random(in: 0..<3, using: &rng) {
                case 0: value[Int.random(in: 0..<value.count, using: &rng)] = UInt8.random(in: 0...255, using: &rng)
                case 1: value.remove(at: Int.random(in: 0..<value.count, using: &rng))
                default: value.removeLast(Int.random(in: 1..<max(2, value.count / 4), using: &rng))
                }
                if value.isEmpty { break }
            }
            damaged[i] = MapDocument(key: damaged[i].key, value: value)
            do throws(VecraftError) {
                let map = try ClusterMap(documents: damaged)
                #expect(map.brokenInvariant() == nil)
            } catch { refused += 1 }
        }
        #expect(refused > 2000)
    }

    @Test func whatIsRefusedChangesNothing() {
        let world = Self.eventful()
        var map = world.map
        #expect(throws: VecraftError.self) {
            try map.take([MapDocument(key: "nodes/1", value: nil), MapDocument(key: "epoch", value: nil)])
        }
        // A node that is gone while the map still gives it replicas.
        #expect(throws: VecraftError.self) { try map.take([MapDocument(key: "nodes/1", value: nil)]) }
        #expect(map == world.map)
    }
}
