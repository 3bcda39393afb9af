import Placement
import Primitives
import Testing

/// Journal partitions: learner, voter, leaving, one change at a time.
@Suite struct PartitionPlanTests {
    static func trio(nodes: Int = 4) -> World {
        var world = World(nodes: nodes)
        world.apply(.addPartition(.data(0), wanted: 3))
        world.settle()
        #expect(world.voters(.data(0)) == [1, 2, 3])
        return world
    }

    @Test func aDeadVoterIsReplacedInThreeSteps() {
        var world = Self.trio()
        world.health[2] = .suspected
        #expect(world.plan() == [])
        world.health[2] = .down
        #expect(world.plan() == ["add a learner of data-0 on n4: n2 is down"])
        world.behind = [4]
        #expect(world.plan() == [])
        world.behind = []
        #expect(world.plan() == ["voters of data-0: #1 #3 #4: n2 is down; #4 on n4 has caught up"])
        #expect(world.plan() == ["forget data-0#2: the group goes on without it"])
        #expect(world.plan() == [] && world.voters(.data(0)) == [1, 3, 4])
    }

    @Test func whoReturnsBeforeItsSuccessorVotesStays() {
        var world = Self.trio()
        world.health[2] = .down
        world.plan()
        world.behind = [4]
        world.health[2] = .flapping
        #expect(world.plan() == [], "it may be gone again in a moment")
        world.health[2] = .up
        #expect(world.plan() == ["remove learner data-0#4: all voters are there again"])
        #expect(world.plan() == [] && world.voters(.data(0)) == [1, 2, 3])
    }

    @Test func withoutAMajorityNothingIsTouched() {
        var world = Self.trio()
        world.health = [2: .down, 3: .down]
        #expect(world.plan() == [])
        #expect(world.blocked == ["data-0: no majority of its voters is alive; not there: n2, n3"])
    }

    @Test func oneChangeAtATime() {
        var world = Self.trio(nodes: 5)
        world.health[2] = .down
        world.plan()
        // The group has not taken the learner in yet.
        let record = world.map.partitions[.data(0)]!
        world.groups[.data(0)] = GroupObservation(
            leader: 1, voters: [1, 2, 3], caughtUp: [1, 3], changed: record.changed)
        #expect(world.plan() == [])
        world.groups[.data(0)] = GroupObservation(
            leader: 1, voters: [1, 2, 3], learners: [4], isJoint: true, caughtUp: [1, 3, 4], changed: record.changed)
        #expect(world.plan() == [])
        world.groups = [:]
        #expect(world.plan().count == 1)
        world.leaderless = [.data(0)]
        #expect(world.plan() == [] && world.blocked == ["data-0: no leader is known"])
    }

    /// The new voter dies before the group took the change: it never can, so the map goes back to what the group is.
    @Test func aChangeThatCannotBeMadeIsTakenBack() {
        var world = Self.trio(nodes: 5)
        world.health[2] = .down
        world.plan()
        world.plan()
        #expect(world.voters(.data(0)) == [1, 3, 4])
        let record = world.map.partitions[.data(0)]!
        world.groups[.data(0)] = GroupObservation(
            leader: 1, voters: [1, 2, 3], learners: [4], caughtUp: [1, 3], changed: record.changed)
        #expect(world.plan() == [])
        world.health[4] = .down
        #expect(world.plan() == ["voters of data-0: #1 #2 #3: n4 is down before it voted; the group stays as it is"])
        world.groups = [:]
        world.settle()
        #expect(world.voters(.data(0)) == [1, 3, 5])
    }

    /// With no node to spare, one that lost its log follows itself under another incarnation; Raft's vote is bound to that.
    @Test func whoLostItsLogComesBackAsAnother() {
        var world = Self.trio(nodes: 3)
        world.lostJournals = [2]
        #expect(
            world.plan() == [
                "add a learner of data-0 on n2 for #2: n2 lost its log, and no other node can take its place"
            ])
        #expect(world.plan() == ["voters of data-0: #1 #3 #4: n2 lost its log; #4 on n2 has caught up"])
        world.settle()
        #expect(world.voters(.data(0)) == [1, 2, 3] && world.map.partitions[.data(0)]!.replicas.count == 3)
    }

    @Test func groupsGrowAndShrinkByTwo() {
        var world = World(nodes: 1)
        world.apply(.addPartition(.data(0), wanted: 3))
        world.settle()
        #expect(world.voters(.data(0)) == [1])
        world.addNode(2)
        #expect(world.settle() == [], "two voters survive no more than one")
        world.addNode(3)
        let lines = world.settle()
        #expect(lines.last == "voters of data-0: #1 #2 #3: 1 of 3 voters, and two learners have caught up", "\(lines)")
        world.apply(.setWantedVoters(.data(0), 1))
        world.settle()
        #expect(world.voters(.data(0)).count == 1 && world.map.partitions[.data(0)]!.replicas.count == 1)
    }

    @Test func whoShrinksKeepsTheLiving() {
        var world = World(nodes: 5)
        world.apply(.addPartition(.data(0), wanted: 5))
        world.settle()
        world.health = [1: .down, 2: .down]
        world.apply(.setWantedVoters(.data(0), 3))
        world.settle()
        #expect(world.voters(.data(0)) == [3, 4, 5])
    }

    @Test func votersAreSpreadOverNodesOneMoveAtATime() {
        var world = World(nodes: 3)
        for i in UInt16(0)..<4 { world.apply(.addPartition(.data(i), wanted: 1)) }
        world.settle()
        #expect(world.map.partitions.values.map { $0.voters.count } == [1, 1, 1, 1])
        for node in UInt64(4)...6 { world.addNode(node) }
        for i in UInt16(4)..<7 { world.apply(.addPartition(.data(i), wanted: 1)) }
        world.settle()
        let counts = (1...6).map { node in
            world.map.partitions.values.filter { $0.voters[0].node == NodeID(node) }.count
        }
        #expect(counts.max()! - counts.min()! <= 1, "\(counts)")
    }

    /// A learner that was to move a voter for balance takes a dead one's place instead of none.
    @Test func aMoveServesWhereAVoterIsMissing() {
        var world = World(nodes: 3)
        for i in UInt16(0)..<2 { world.apply(.addPartition(.data(i), wanted: 3)) }
        world.settle()
        world.addNode(4)
        let decided = world.plan()
        #expect(decided.count == 1 && decided[0].contains("on n4 for #"), "\(decided)")
        let moved = world.map.partitions.values.first { !$0.learners.isEmpty }!
        let goer = moved.replica(moved.learners[0].replaces)!.node
        let other = moved.voters.first { $0.node != goer }!.node.rawValue
        world.health[other] = .down
        world.settle()
        #expect(!world.voters(moved.id).contains(other) && world.voters(moved.id).contains(4))
    }
}
