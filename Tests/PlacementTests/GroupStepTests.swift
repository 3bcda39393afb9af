import Placement
import Primitives
import Testing

@Suite struct GroupStepTests {
    private static func world() -> World {
        var world = World(nodes: 5)
        world.apply(.addPartition(.data(0), wanted: 3))
        world.plan()
        return world
    }
    private func record(_ world: World) -> JournalRecord { world.map.partitions[.data(0)]! }

    @Test func learnersComeFirstThenOneJointChangeThenTheRest() {
        var world = Self.world()
        var group = GroupObservation(
            leader: 1, voters: [1, 2, 3], caughtUp: [1, 2, 3], changed: self.record(world).changed)
        #expect(GroupStep.next(self.record(world), group) == nil)
        world.apply(.addLearner(.data(0), NodeID(4), replaces: 0))
        #expect(GroupStep.next(self.record(world), group) == .addLearner(4))
        group.learners = [4]
        #expect(GroupStep.next(self.record(world), group) == nil)
        world.apply(.setVoters(.data(0), [1, 2, 4]))
        #expect(GroupStep.next(self.record(world), group) == nil, "it has not caught up")
        group.caughtUp = [1, 2, 4]
        #expect(GroupStep.next(self.record(world), group) == .setVoters([1, 2, 4]))
        group.isJoint = true
        #expect(GroupStep.next(self.record(world), group) == nil, "one change at a time")
        group.isJoint = false
        (group.voters, group.learners) = ([1, 2, 4], [7])
        #expect(GroupStep.next(self.record(world), group) == .removeLearner(7))
    }

    /// A leader that has seen less of the map than its log does not undo what a newer map asked for.
    @Test func anOlderMapIsNotActedOn() {
        let world = Self.world()
        let group = GroupObservation(
            leader: 1, voters: [1, 2, 9], caughtUp: [1, 2, 3, 9], changed: self.record(world).changed + 1)
        #expect(GroupStep.next(self.record(world), group) == nil)
    }

    /// Voters of whom no majority is there are not entered: the group would wait in the joint configuration.
    @Test func noStepIntoTheDark() {
        var world = Self.world()
        world.apply(.setVoters(.data(0), [3]))
        let group = GroupObservation(leader: 1, voters: [1, 2, 3], caughtUp: [1, 2], changed: 1)
        #expect(GroupStep.next(self.record(world), group) == nil)
    }
}
