import Placement
import Primitives
import Testing

@Suite struct ClusterMapTests {
    static let first = ShardID(collection: 1, shard: 0)

    static func world(nodes: Int = 4, replication: Int = 2) -> World {
        var world = World(nodes: nodes)
        world.apply(.addPartition(.data(0), wanted: 3))
        world.apply(.addCollection(1, shards: 1, replication: replication, partition: .data(0)))
        world.settle()
        return world
    }

    /// Every change is the next epoch; a change thought of for another one is refused, whatever it is.
    @Test func epochsGrowByOne() throws {
        var map = ClusterMap()
        let node = NodeRecord(id: NodeID(1), name: "a")
        #expect(throws: VecraftError.self) { try map.apply(.describeNode(node), expecting: 1) }
        try map.apply(.describeNode(node), expecting: 0)
        #expect(map.epoch == 1)
        do throws(VecraftError) {
            try map.apply(.activateNode(NodeID(1)), expecting: 0)
            Issue.record("a stale change was applied")
        } catch { #expect(error.reason == "STALE_EPOCH" && error.code == .aborted) }
        #expect(map.epoch == 1 && map.nodes[NodeID(1)]!.state == .joining)
        let next = try map.applying(.activateNode(NodeID(1)), expecting: 1)
        #expect(next.epoch == 2 && map.epoch == 1)
    }

    /// Two controllers with one view: the second one's plan is refused from its first decision on.
    @Test func aSecondControllerIsRefused() throws {
        var world = Self.world()
        world.health[world.live(1)[0]] = .down
        let plan = world.planner.plan(world.map, world.observations)
        #expect(plan.decisions.count >= 2)
        var map = world.map
        for decision in plan.decisions { try map.apply(decision.change, expecting: decision.epoch) }
        let after = map
        for decision in plan.decisions {
            #expect(throws: VecraftError.self) { try map.apply(decision.change, expecting: decision.epoch) }
        }
        #expect(map == after)
    }

    @Test func replicasMoveThroughTheirStatesOnly() {
        var world = Self.world()
        let live = world.live(1).map { world.replica(1, on: $0) }
        let free = [1, 2, 3, 4].first { !world.live(1).contains($0) }!
        let before = world.map
        let refused: [MapChange] = [
            .retireReplica(Self.first, live[0]),  // two are wanted, two are there
            .discardReplica(Self.first, 999), .forgetReplica(Self.first, live[0]), .cancelReplica(Self.first, live[0]),
            .reinstateReplica(Self.first, live[0]), .promoteReplicas(1, [ReplicaName(shard: 0, incarnation: live[0])]),
            .placeReplicas(1, [NewReplica(shard: 0, node: NodeID(world.live(1)[0]))]),
            .placeReplicas(1, [NewReplica(shard: 1, node: NodeID(free))]),
            .placeReplicas(2, [NewReplica(shard: 0, node: NodeID(free))]),
            .placeReplicas(1, [NewReplica(shard: 0, node: NodeID(99))]), .placeReplicas(1, []),
            .placeReplicas(1, [NewReplica(shard: 0, node: NodeID(free)), NewReplica(shard: 0, node: NodeID(free))]),
            .placeReplicas(1, [NewReplica(shard: 0, node: NodeID(free), movesFrom: 999)]),
        ]
        for change in refused { #expect(world.refusal(change) == "MAP_CHANGE_REFUSED", "\(change)") }
        #expect(world.map == before)
        // One lost copy may go, the last never.
        world.apply(.discardReplica(Self.first, live[0]))
        #expect(world.refusal(.discardReplica(Self.first, live[1])) == "MAP_CHANGE_REFUSED")
    }

    /// A replica made again on the same node is another one.
    @Test func incarnationsAreNeverUsedTwice() {
        var world = Self.world()
        let node = world.live(1)[0], old = world.replica(1, on: node)
        world.apply(.discardReplica(Self.first, old))
        world.apply(.placeReplicas(1, [NewReplica(shard: 0, node: NodeID(node))]))
        let new = world.replica(1, on: node)
        #expect(new > old)
        #expect(world.refusal(.promoteReplicas(1, [ReplicaName(shard: 0, incarnation: old)])) == "MAP_CHANGE_REFUSED")
    }

    @Test func nodesAreRemovedEmptyAndForEver() {
        var world = Self.world()
        let node = NodeID(world.live(1)[0])
        #expect(world.refusal(.removeNode(node)) == "MAP_CHANGE_REFUSED")
        #expect(world.refusal(.finishDrain(node)) == "MAP_CHANGE_REFUSED")
        world.apply(.drainNode(node))
        #expect(world.refusal(.finishDrain(node)) == "MAP_CHANGE_REFUSED")
        #expect(world.refusal(.placeReplicas(1, [NewReplica(shard: 0, node: node)])) == "MAP_CHANGE_REFUSED")
        world.settle()
        #expect(world.map.nodes[node]!.state == .drained)
        world.apply(.removeNode(node))
        #expect(world.refusal(.describeNode(NodeRecord(id: node, name: "again"))) == "MAP_CHANGE_REFUSED")
        #expect(world.refusal(.cancelDrain(node)) == "MAP_CHANGE_REFUSED")
    }

    /// A node that comes back with other addresses keeps its state.
    @Test func aNodeIsDescribedAgain() {
        var world = Self.world()
        world.apply(.drainNode(NodeID(1)))
        world.apply(
            .describeNode(NodeRecord(id: NodeID(1), name: "node-1", addresses: ["peer": "b:2"], state: .active)))
        #expect(
            world.map.nodes[NodeID(1)]!.state == .draining && world.map.nodes[NodeID(1)]!.addresses == ["peer": "b:2"])
    }

    @Test func inputIsChecked() {
        var world = Self.world()
        for node in [
            NodeRecord(id: NodeID(0), name: "a"), NodeRecord(id: NodeID(9), name: ""),
            NodeRecord(id: NodeID(9), name: String(repeating: "x", count: 129)),
            NodeRecord(id: NodeID(9), name: "a", roles: []),
            NodeRecord(id: NodeID(9), name: "a", weight: 0),
            NodeRecord(
                id: NodeID(9), name: "a", addresses: Dictionary(uniqueKeysWithValues: (0..<9).map { ("\($0)", "") })),
        ] {
            let before = world.map
            #expect(throws: VecraftError.self) { try before.applying(.describeNode(node), expecting: before.epoch) }
        }
        for change: MapChange in [
            .addCollection(1, shards: 1, replication: 1, partition: .data(0)),
            .addCollection(2, shards: 1, replication: 1, partition: .data(9)),
            .setReplication(1, 2), .setReplication(7, 2), .dropCollection(7), .addPartition(.data(0), wanted: 1),
            .setWantedVoters(.data(0), 3),
        ] { #expect(world.refusal(change) == "MAP_CHANGE_REFUSED", "\(change)") }
        let map = world.map
        for change: MapChange in [
            .addCollection(2, shards: 0, replication: 1, partition: .data(0)),
            .addCollection(2, shards: 1025, replication: 1, partition: .data(0)),
            .addCollection(2, shards: 1, replication: 8, partition: .data(0)), .setReplication(1, 0),
            .addPartition(.data(1), wanted: 2),
        ] { #expect(throws: VecraftError.self, "\(change)") { try map.applying(change, expecting: map.epoch) } }
    }

    @Test func votersAreOddDistinctAndKnown() {
        var world = Self.world()
        let voters = world.map.partitions[.data(0)]!.voters
        let free = NodeID([1, 2, 3, 4].first { id in !voters.contains { $0.node == NodeID(id) } }!)
        let all = voters.map(\.incarnation)
        for change: MapChange in [
            .setVoters(.data(0), all), .setVoters(.data(0), Array(all.prefix(2)) + [999]),
            .removeLearner(.data(0), all[0]),
            .forgetJournalReplica(.data(0), all[0]), .addLearner(.data(0), voters[0].node, replaces: 0),
            .addLearner(.data(0), voters[0].node, replaces: all[1]), .addLearner(.data(0), free, replaces: 999),
            .startPartition(.data(0), [free]),
        ] { #expect(world.refusal(change) == "MAP_CHANGE_REFUSED", "\(change)") }
        let map = world.map
        #expect(throws: VecraftError.self) {
            try map.applying(.setVoters(.data(0), Array(all.prefix(2))), expecting: map.epoch)
        }
        // On its own node a lost voter can be followed, and both never vote at once.
        world.apply(.addLearner(.data(0), voters[0].node, replaces: all[0]))
        let learner = world.map.partitions[.data(0)]!.learners[0].incarnation
        #expect(world.refusal(.setVoters(.data(0), [all[0], all[1], learner])) == "MAP_CHANGE_REFUSED")
        world.apply(.setVoters(.data(0), [learner, all[1], all[2]]))
        #expect(world.map.partitions[.data(0)]!.replica(all[0])!.role == .leaving)
        world.apply(.forgetJournalReplica(.data(0), all[0]))
    }
}
