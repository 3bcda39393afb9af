import Placement
import Primitives
import Testing

/// Journal replicas that are there and do nothing more.
@Suite struct HaltedJournalTests {
    /// It is no live voter, its node is given time to be started anew, then another takes its place, and it is not given the partition again.
    @Test func oneThatStaysHaltedIsReplaced() {
        var world = PartitionPlanTests.trio()
        world.journals[2] = .halted
        #expect(world.plan() == [], "a restart may mend it")
        #expect(world.blocked == ["data-0: the replica on n2 has halted; a restart may mend it"])
        world.journals[2] = .stuck
        world.halted = [2: [.data(0)]]
        #expect(world.plan() == ["add a learner of data-0 on n4: n2 cannot go on with its log"])
        #expect(world.plan() == ["voters of data-0: #1 #3 #4: n2 cannot go on with its log; #4 on n4 has caught up"])
        #expect(world.plan() == ["forget data-0#2: the group goes on without it"])
        #expect(world.settle() == [] && world.blocked == [] && world.voters(.data(0)) == [1, 3, 4])
        // Another voter dies: the node whose replica has halted is no help.
        world.health[4] = .down
        #expect(world.plan() == [])
        #expect(world.blocked == ["data-0: n4 is down, and no node can take a replica"])
        world.halted = [:]
        world.settle()
        #expect(world.voters(.data(0)) == [1, 2, 3], "it was started anew")
    }

    @Test func aHaltedVoterIsNotCountedAsAlive() {
        var world = PartitionPlanTests.trio()
        world.journals = [2: .halted]
        world.health[3] = .down
        #expect(world.plan() == [])
        #expect(world.blocked == ["data-0: no majority of its voters is alive; not there: n2, n3"])
    }

    @Test func withNoNodeToSpareItIsLeftAndSaid() {
        var world = PartitionPlanTests.trio(nodes: 3)
        world.journals[2] = .stuck
        world.halted = [2: [.data(0)]]
        #expect(world.plan() == [])
        #expect(world.blocked == ["data-0: n2 cannot go on with its log, and no node can take a replica"])
        world.journals = [:]
        world.halted = [:]
        #expect(world.plan() == [] && world.blocked == [])
    }

    @Test func whoIsStartedAnewInTimeStays() {
        var world = PartitionPlanTests.trio()
        world.journals[2] = .stuck
        world.plan()
        world.behind = [4]
        world.journals = [:]
        #expect(world.plan() == ["remove learner data-0#4: all voters are there again"])
        #expect(world.plan() == [] && world.voters(.data(0)) == [1, 2, 3])
    }

    @Test func patienceIsCountedFromWhenItHalted() {
        var patience = HaltPatience(patience: .seconds(15))
        func heard(
            _ states: [Incarnation: NodeObservation.JournalState], at seconds: Int
        ) -> [Incarnation: NodeObservation.JournalState] {
            patience.heard(NodeID(1), NodeObservation(epoch: 9, journals: states), now: .seconds(seconds)).journals
        }
        #expect(heard([1: .running, 2: .halted, 3: .lost], at: 100) == [1: .running, 2: .halted, 3: .lost])
        #expect(heard([2: .halted], at: 114) == [2: .halted])
        #expect(heard([2: .halted, 4: .halted], at: 115) == [2: .stuck, 4: .halted])
        #expect(heard([2: .running, 4: .halted], at: 120) == [2: .running, 4: .halted])
        #expect(heard([2: .halted, 4: .halted], at: 130) == [2: .halted, 4: .stuck], "it was mended in between")
        // Of another node, under the same number or not, nothing is known yet.
        let other = patience.heard(NodeID(2), NodeObservation(epoch: 9, journals: [2: .halted]), now: .seconds(150))
        #expect(other.journals == [2: .halted])
    }
}
