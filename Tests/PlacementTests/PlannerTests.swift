import Placement
import Primitives
import Simulation
import Testing

@Suite struct PlannerTests {
    static let first = ShardID(collection: 1, shard: 0)

    /// One shard of two copies on n1 and n2, with something in it; partitions' voters are elsewhere in these tests.
    static func pair(nodes: Int = 4, zones: [String] = [""]) -> World {
        var world = World(nodes: nodes, zones: zones)
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 1, replication: 2, partition: .data(0)))
        world.settle()
        #expect(world.live(1) == [1, 2])
        return world
    }

    // MARK: New

    @Test func nodesAreActivatedOnceHeardOf() {
        var world = World(nodes: 1)
        world.apply(.describeNode(NodeRecord(id: NodeID(2), name: "node-2")))
        world.health[2] = .suspected
        #expect(world.plan() == [])
        world.health[2] = .up
        #expect(world.plan() == ["activate n2: n2 is heard of"])
    }

    @Test func aNewCollectionIsSpread() {
        var world = World(nodes: 4)
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 4, replication: 2, partition: .data(0)))
        #expect(
            world.plan() == [
                "start data-0 on n1: a new partition, spread over nodes and zones",
                "place 1/0 on n1, 1/0 on n2, 1/1 on n3, 1/1 on n4, 1/2 on n1, 1/2 on n2, 1/3 on n3, 1/3 on n4: a new collection, spread over nodes and zones",
            ])
        #expect(
            world.plan() == [
                "promote 1/0#2, 1/0#3, 1/1#4, 1/1#5, 1/2#6, 1/2#7, 1/3#8, 1/3#9: complete, and within 1000 entries"
            ])
        #expect(world.plan() == [])
    }

    @Test func copiesAreInDifferentZonesAsFarAsThereAreAny() {
        var world = World(nodes: 6, zones: ["a", "a", "a", "a", "b", "b"])
        world.apply(.addPartition(.data(0), wanted: 3))
        world.apply(.addCollection(1, shards: 8, replication: 2, partition: .data(0)))
        world.apply(.addCollection(2, shards: 2, replication: 3, partition: .data(0)))
        world.settle()
        for shard in UInt32(0)..<8 {
            let nodes = world.live(1, shard)
            #expect(nodes.count == 2 && nodes.filter { $0 >= 5 }.count == 1)
        }
        for shard in UInt32(0)..<2 { #expect((1...2).contains(world.live(2, shard).filter { $0 >= 5 }.count)) }
        #expect((1...2).contains(world.voters(.data(0)).filter { $0 >= 5 }.count))
    }

    @Test func largerNodesCarryMore() {
        var world = World(nodes: 3, weights: [100, 100, 200])
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 40, replication: 1, partition: .data(0)))
        world.settle()
        #expect((1...3).map { world.count(on: $0) } == [10, 10, 20])
    }

    @Test func whatCannotBePlacedIsSaid() {
        var world = World(nodes: 2)
        world.apply(.addPartition(.data(0), wanted: 5))
        world.apply(.addCollection(1, shards: 1, replication: 3, partition: .data(0)))
        world.settle()
        #expect(world.live(1) == [1, 2] && world.voters(.data(0)).count == 1)
        #expect(
            world.blocked == [
                "data-0: 1 of 5 voters, and no two nodes more can take its journal",
                "1/0: no node without a copy can take one",
            ])
    }

    // MARK: Repair

    @Test func aDeadNodesCopyIsMadeAgainAndOnlyThenForgotten() {
        var world = Self.pair()
        world.health[2] = .suspected
        #expect(world.plan() == [], "within the grace nothing happens")
        world.health[2] = .down
        #expect(world.plan() == ["place 1/0 on n3: n2 is down; n3 holds least"])
        world.states[4] = .building
        #expect(world.plan() == [] && world.live(1) == [1, 2], "nothing is trimmed while it is copied")
        world.states[4] = .ready
        #expect(
            world.plan() == [
                "promote 1/0#4: complete, and within 1000 entries",
                "retire 1/0#3: on n2, down; 2 of 2 copies are live without it",
            ])
        #expect(world.plan() == ["forget 1/0#3: 2 copies are live without it"])
        #expect(world.plan() == [] && world.live(1) == [1, 3])
    }

    @Test func whoReturnsInTimeLosesNothing() {
        var world = Self.pair()
        world.health[2] = .down
        world.plan()
        world.states[4] = .building
        // Back, but it may be gone again in a moment: both are kept.
        world.health[2] = .flapping
        #expect(world.plan() == [])
        world.health[2] = .up
        #expect(world.plan() == ["cancel 1/0#4: 2 of 2 copies are live without it"])
        #expect(world.plan() == [] && world.live(1) == [1, 2])
    }

    @Test func whoReturnsLaterIsOneMoreAndTheSurplusGoes() {
        var world = Self.pair()
        world.health[2] = .down
        world.plan()
        world.apply(.promoteReplicas(1, [ReplicaName(shard: 0, incarnation: 4)]))
        world.health[2] = .up
        world.settle()
        #expect(world.live(1).count == 2 && world.map.shard(Self.first)!.replicas.count == 2)
    }

    @Test func aCopyThatIsLostIsDiscardedWhileAnotherIsThere() {
        var world = Self.pair()
        world.states[3] = .lost
        #expect(
            world.plan() == ["discard 1/0#3: n2 lost its copy", "place 1/0 on n2: 1 of 2 copies; n2 holds least"])
        // The last one is not given up: it may be found again, on the disk that was not mounted.
        world.states[2] = .lost
        world.states[4] = .building
        #expect(world.plan() == [])
        #expect(world.blocked == ["1/0: n1 lost its copy, and no other is there to copy from"])
    }

    @Test func withoutAnyCopyInReachOneWaits() {
        var world = Self.pair()
        world.health[1] = .down
        world.health[2] = .down
        world.health[4] = .up
        #expect(!world.plan().contains { $0.contains("1/0") })
        #expect(world.blocked.contains("1/0: no live copy can be reached; waiting for n1, n2"))
        world.health[2] = .up
        #expect(world.plan().contains("place 1/0 on n3: n1 is down; n3 holds least"))
    }

    @Test func whatHasNotCaughtUpIsNotMadeLive() {
        var world = Self.pair()
        world.health[2] = .down
        world.plan()
        world.applied = [2: 50_000, 4: 48_999]
        #expect(world.plan() == [])
        world.applied[4] = 49_000
        #expect(world.plan().first == "promote 1/0#4: complete, and within 1000 entries")
    }

    @Test func aFailedCopyIsBegunAnewElsewhere() {
        var world = Self.pair()
        world.health[2] = .down
        world.plan()
        world.states[4] = .failed
        world.failures[3] = 1
        #expect(world.plan() == ["cancel 1/0#4: copying to n3 failed", "place 1/0 on n4: n2 is down; n4 holds least"])
    }

    /// A node that is heard but does not hear of the map would never begin.
    @Test func aTargetThatDoesNotHearOfTheMapIsGivenUp() {
        var world = Self.pair()
        world.health[2] = .down
        world.deafSince[4] = world.map.epoch
        #expect(world.plan() == ["place 1/0 on n3: n2 is down; n3 holds least"])
        world.states[4] = .building
        world.deafSince = [3: world.map.epoch - 1]
        #expect(
            world.plan() == [
                "cancel 1/0#4: n3 does not hear of the map", "place 1/0 on n4: n2 is down; n4 holds least",
            ])
    }

    /// Most are silent, so nobody is called down; whom a person sends away is replaced all the same.
    @Test func aSilentNodeCanBeDrained() {
        var world = Self.pair(nodes: 3)
        world.health[2] = .suspected
        world.apply(.drainNode(NodeID(2)))
        world.settle()
        #expect(world.live(1) == [1, 3] && world.map.nodes[NodeID(2)]!.state == .drained)
    }

    @Test func aTargetThatDiesIsGivenUp() {
        var world = Self.pair()
        world.health[2] = .down
        world.plan()
        world.states[4] = .building
        world.health[3] = .suspected
        #expect(world.plan() == [])
        world.health[3] = .down
        #expect(world.plan() == ["cancel 1/0#4: n3 is down", "place 1/0 on n4: n2 is down; n4 holds least"])
    }

    /// Between retiring and forgetting the good copies die: the one that was to leave is taken back.
    @Test func aLeavingCopyIsTakenBack() {
        var world = Self.pair()
        world.health[2] = .down
        world.plan()
        world.plan()
        #expect(world.map.shard(Self.first)!.replica(3)!.state == .leaving)
        world.health = [2: .up, 3: .down]
        #expect(world.plan().first == "reinstate 1/0#3: only 1 of 2 copies stay without it")
        world.settle()
        #expect(world.live(1) == [1, 2])
    }

    @Test func aCopyThatIsReadIsNotForgotten() {
        var world = Self.pair()
        world.apply(.setReplication(1, 1))
        world.plan()
        let leaving = world.map.shard(Self.first)!.replicas.first { $0.state == .leaving }!.incarnation
        world.reads[leaving] = 3
        #expect(world.plan() == [])
        world.reads[leaving] = 0
        #expect(world.plan() == ["forget 1/0#\(leaving): 1 copies are live without it"])
    }

    @Test func shardsWithTheFewestCopiesComeFirstAndBuildsAreLimited() {
        var world = World(nodes: 4)
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 12, replication: 2, partition: .data(0)))
        world.settle()
        let lone = ShardID(collection: 1, shard: 9)
        for replica in world.map.shard(lone)!.replicas.dropFirst() {
            world.apply(.discardReplica(lone, replica.incarnation))
        }
        world.apply(.setReplication(1, 3))
        for which in world.map.nextIncarnation..<world.map.nextIncarnation + 50 { world.states[which] = .building }
        let decided = world.plan()
        #expect(decided.first?.hasPrefix("place \(lone) ") == true, "\(decided)")
        #expect(decided.count == 8, "two a node, four nodes")
        #expect(world.plan() == [] && world.blocked.contains { $0.contains("copying already") })
    }

    @Test func aDiskNearFullGetsNothing() {
        var world = Self.pair()
        world.bytes[Self.first] = 10 << 30
        world.disks = [3: (free: 20 << 30, total: 100 << 30), 4: (free: 30 << 30, total: 100 << 30)]
        world.health[2] = .down
        #expect(world.plan() == ["place 1/0 on n4: n2 is down; n4 holds least"])
    }

    // MARK: Drain

    @Test func adrainMovesEverythingOffFirst() {
        var world = Self.pair()
        world.apply(.drainNode(NodeID(1)))
        let lines = world.settle()
        #expect(
            lines == [
                "add a learner of data-0 on n2: n1 is being drained",
                "place 1/0 on n3: n1 is being drained; n3 holds least",
                "voters of data-0: #4: n1 is being drained; #4 on n2 has caught up",
                "promote 1/0#5: complete, and within 1000 entries",
                "retire 1/0#2: on n1, being drained; 2 of 2 copies are live without it",
                "forget data-0#1: the group goes on without it",
                "forget 1/0#2: 2 copies are live without it",
                "n1 is drained: n1 holds nothing any more",
            ], "\(lines)")
    }

    /// A copy on a dead node is none when another is to leave.
    @Test func aDrainDoesNotCountTheDead() {
        var world = Self.pair(nodes: 3)
        world.apply(.setReplication(1, 3))
        world.settle()
        world.apply(.setReplication(1, 2))
        world.health[2] = .down
        world.apply(.drainNode(NodeID(1)))
        world.settle()
        #expect(world.live(1).contains(1) && world.map.nodes[NodeID(1)]!.state == .draining)
        #expect(world.blocked.contains("1/0: no node without a copy can take one"))
    }

    @Test func aCancelledDrainLeavesAllAsItWas() {
        var world = Self.pair()
        world.apply(.drainNode(NodeID(1)))
        world.plan()
        world.states[5] = .building
        world.apply(.cancelDrain(NodeID(1)))
        world.settle()
        #expect(world.live(1) == [1, 2])
    }

    // MARK: Balance

    @Test func aNewNodeGetsItsShareAFewAtATime() {
        var world = World(nodes: 3)
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 30, replication: 1, partition: .data(0)))
        world.settle()
        world.addNode(4)
        for which in world.map.nextIncarnation..<world.map.nextIncarnation + 2 { world.states[which] = .building }
        #expect(world.plan().count == 2, "two builds a node")
        #expect(world.plan() == [])
        world.states = [:]
        world.settle()
        // Loads that differ by less than a tenth are alike.
        #expect((7...8).contains(world.count(on: 4)) && (1...3).allSatisfy { (7...8).contains(world.count(on: $0)) })
    }

    @Test func smallDifferencesAreNotWorthACopy() {
        var world = World(nodes: 2)
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 41, replication: 1, partition: .data(0)))
        world.settle()
        let counts = [world.count(on: 1), world.count(on: 2)]
        #expect(counts.max()! - counts.min()! == 1)
        // Sizes change the loads by less than a tenth: nothing moves.
        for shard in UInt32(0)..<2 { world.bytes[ShardID(collection: 1, shard: shard)] = 1 << 30 }
        #expect(world.plan() == [])
    }

    @Test func nothingIsMovedWhileAnythingIsMissingOrUneasy() {
        var world = World(nodes: 3)
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 12, replication: 1, partition: .data(0)))
        world.settle()
        world.addNode(4)
        world.health[3] = .suspected
        #expect(world.plan() == [])
        world.health[3] = .up
        #expect(!world.plan().isEmpty)
    }

    /// More copies are asked for while one is being moved: the old one stays, and the move is no reason to trim it.
    @Test func aMoveOvertakenByAHigherReplication() {
        var world = World(nodes: 2)
        world.apply(.addPartition(.data(0), wanted: 1))
        world.apply(.addCollection(1, shards: 4, replication: 1, partition: .data(0)))
        world.settle()
        world.addNode(3)
        let decided = world.plan()
        #expect(decided.count == 1 && decided[0].contains(" from #"), "\(decided)")
        world.apply(.setReplication(1, 2))
        world.settle()
        #expect((0..<4).allSatisfy { world.live(1, UInt32($0)).count == 2 } && world.blocked.isEmpty)
    }

    @Test func aSecondZoneIsUsedOnceItIsThere() {
        var world = Self.pair(nodes: 2, zones: ["a"])
        world.addNode(3, zone: "b")
        let lines = world.settle()
        #expect(world.live(1).contains(3) && world.live(1).count == 2)
        #expect(lines.contains { $0.contains("is in a zone with 2 copies, n3 in one with 0") })
    }

    // MARK: Cost and determinism

    @Test func theSameInputGivesTheSamePlan() {
        var scale = PlanScale(nodes: 12, shards: 200)
        scale.down = [NodeID(3)]
        let observations = scale.observations
        let plans = (0..<3).map { _ in scale.plan(observations) }
        #expect(plans[0] == plans[1] && plans[1] == plans[2] && !plans[0].decisions.isEmpty)
    }

    /// A node of a hundred dies: all it had is made again, spread over the others, and the cluster comes to rest.
    @Test func aLargeClusterComesToRest() {
        var scale = PlanScale(nodes: 100, shards: 2_000)
        #expect(scale.settle() != nil)
        scale.down = [NodeID(42)]
        #expect(scale.settle() != nil)
        #expect(scale.map.brokenInvariant() == nil)
        var counts: [NodeID: Int] = [:]
        for replica in scale.map.collections.values.flatMap(\.shards).flatMap(\.replicas) {
            counts[replica.node, default: 0] += 1
        }
        #expect(counts[NodeID(42)] == nil && counts.count == 99 && counts.values.max()! - counts.values.min()! <= 4)
    }
}
