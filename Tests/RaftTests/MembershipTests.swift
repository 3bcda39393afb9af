import Raft
import Testing

@Suite struct MembershipTests {
    private func ids(_ numbers: UInt64...) -> [ReplicaID] { numbers.map { ReplicaID($0) } }

    @Test func aJointConfigurationNeedsBothMajorities() {
        let joint = Membership(members: [
            .init(id: ReplicaID(1), isVoter: true, isOutgoing: true),
            .init(id: ReplicaID(2), isVoter: false, isOutgoing: true),
            .init(id: ReplicaID(3), isVoter: false, isOutgoing: true), .init(id: ReplicaID(4), isVoter: true),
            .init(id: ReplicaID(5), isVoter: true), .init(id: ReplicaID(6), isVoter: false),
        ])
        #expect(
            joint.isJoint && joint.voters == self.ids(1, 4, 5) && joint.outgoing == self.ids(1, 2, 3)
                && joint.learners == self.ids(6))
        #expect(!joint.isQuorum(self.ids(1, 4, 5).contains) && !joint.isQuorum(self.ids(1, 2, 3, 6).contains))
        #expect(joint.isQuorum(self.ids(1, 2, 4).contains) && joint.isQuorum(self.ids(2, 3, 4, 5).contains))
        #expect("\(joint)" == "{1 4 5 <- 1 2 3 learning 6}")
        #expect(!Membership.none.isQuorum { _ in true })
    }

    @Test func changesAreRefusedWithTheirReason() throws {
        var settings = RaftSettings()
        settings.maxPromotionLag = 2
        var leader = Lone(settings: settings)
        leader.lead()
        #expect(throws: RaftRefusal.invalid("4 is no learner yet")) {
            try leader.raft.change(.setVoters([1, 2, 4].map { ReplicaID($0) }), now: leader.now)
        }
        #expect(throws: RaftRefusal.invalid("2 is a member already")) {
            try leader.raft.change(.addLearner(ReplicaID(2)), now: leader.now)
        }
        try leader.raft.change(.addLearner(ReplicaID(4)), now: leader.now)
        #expect(throws: RaftRefusal.changePending) {
            try leader.raft.change(.addLearner(ReplicaID(5)), now: leader.now)
        }
        _ = leader.actions()
        leader.acknowledge(from: 2)
        _ = try leader.propose(3, bytes: 300)
        _ = leader.actions()
        leader.acknowledge(from: 2)
        leader.acknowledge(from: 4, through: 0)
        #expect(throws: RaftRefusal.learnerBehind(ReplicaID(4), entries: 5, limit: 2)) {
            try leader.raft.change(.setVoters([1, 2, 4].map { ReplicaID($0) }), now: leader.now)
        }
        leader.acknowledge(from: 4, through: 4)
        #expect(throws: RaftRefusal.invalid("the voters must be some, each once")) {
            try leader.raft.change(.setVoters([]), now: leader.now)
        }
        #expect(throws: RaftRefusal.invalid("these are the voters already")) {
            try leader.raft.change(.setVoters([3, 2, 1].map { ReplicaID($0) }), now: leader.now)
        }
        try leader.raft.change(.setVoters([1, 2, 4].map { ReplicaID($0) }), now: leader.now)
        #expect("\(leader.raft.membership)" == "{1 2 4 <- 1 2 3}")
    }

    @Test func oneIsAddedAndOneRemovedWhoeverElseIsAMember() throws {
        var leader = Lone()
        leader.lead()
        #expect(throws: RaftRefusal.invalid("2 is a member already")) {
            try leader.raft.change(.add(ReplicaID(2)), now: leader.now)
        }
        #expect(throws: RaftRefusal.invalid("4 is no member")) {
            try leader.raft.change(.remove(ReplicaID(4)), now: leader.now)
        }
        for membership in ["{1 2 3 learning 4}", "{1 2 3 4 <- 1 2 3}"] {
            try leader.raft.change(.add(ReplicaID(4)), now: leader.now)
            #expect("\(leader.raft.membership)" == membership)
            leader.settle()
        }
        try leader.raft.change(.remove(ReplicaID(2)), now: leader.now)
        #expect("\(leader.raft.membership)" == "{1 3 4 <- 1 2 3 4}")
        leader.settle()
        try leader.raft.change(.addLearner(ReplicaID(5)), now: leader.now)
        leader.settle()
        try leader.raft.change(.remove(ReplicaID(5)), now: leader.now)
        #expect("\(leader.raft.membership)" == "{1 3 4}")
    }

    @Test func votersThatAreNotHeardAreNotEntered() throws {
        var leader = Lone()
        leader.lead()
        // Only 2 answers for a while: {1 3} would have no majority.
        for round in 2...40 as ClosedRange<UInt64> {
            leader.pass(.milliseconds(10))
            leader.acknowledge(from: 2, round: round)
        }
        #expect(throws: RaftRefusal.wouldLoseQuorum) {
            try leader.raft.change(.setVoters([1, 3].map { ReplicaID($0) }), now: leader.now)
        }
        try leader.raft.change(.setVoters([1, 2].map { ReplicaID($0) }), now: leader.now)
    }

    /// On a short log nobody is far behind, not even one that does not exist.
    @Test func aLearnerVotesOnlyIfItAnswers() throws {
        var leader = Lone()
        leader.lead()
        let wider = MembershipChange.setVoters([1, 2, 3, 4].map { ReplicaID($0) })
        try leader.raft.change(.addLearner(ReplicaID(4)), now: leader.now)
        _ = leader.actions()
        leader.acknowledge(from: 2)
        #expect(throws: RaftRefusal.learnerSilent(ReplicaID(4))) { try leader.raft.change(wider, now: leader.now) }
        // It answers once, then falls silent for longer than an election timeout.
        leader.acknowledge(from: 4)
        for round in 2...40 as ClosedRange<UInt64> {
            leader.pass(.milliseconds(10))
            leader.acknowledge(from: 2, round: round)
            leader.acknowledge(from: 3, round: round)
        }
        #expect(throws: RaftRefusal.learnerSilent(ReplicaID(4))) { try leader.raft.change(wider, now: leader.now) }
        leader.acknowledge(from: 4, round: 40)
        try leader.raft.change(wider, now: leader.now)
        #expect("\(leader.raft.membership)" == "{1 2 3 4 <- 1 2 3}")
    }

    /// The leader tells one that it removes nothing after the joint configuration.
    @Test func aReplicaThatIsBeingRemovedKnowsItIsLeftOut() {
        var follower = Lone()
        let joint = Membership(members: [
            .init(id: ReplicaID(1), isVoter: false, isOutgoing: true),
            .init(id: ReplicaID(2), isVoter: true, isOutgoing: true),
            .init(id: ReplicaID(3), isVoter: true, isOutgoing: true),
        ])
        let entry = EntryRange(first: 1, last: 1, term: 1, bytes: 100, membership: joint)
        follower.hear(.append(.init(previous: .zero, entries: entry, commit: 0, round: 1)), from: 2, term: 1)
        #expect(!follower.raft.isLeftOut)
        _ = follower.actions()
        follower.hear(.commit(1), from: 2, term: 1)
        #expect(follower.raft.isLeftOut && follower.raft.membership.isJoint)
    }

    @Test func aNewLeaderLeavesAJointConfigurationThatItFinds() {
        var log = LogSummary(start: LogStart(membership: Membership(voters: self.ids(1, 2, 3))))
        log.append(
            Membership(members: [
                .init(id: ReplicaID(1), isVoter: true, isOutgoing: true),
                .init(id: ReplicaID(2), isVoter: true, isOutgoing: true),
                .init(id: ReplicaID(3), isVoter: false, isOutgoing: true),
            ]), term: 1)
        var leader = Lone(start: RaftStart(hardState: HardState(term: 1), log: log))
        #expect(leader.raft.membership.isJoint)
        leader.lead()
        #expect("\(leader.raft.membership)" == "{1 2}" && leader.raft.last.index == 3)
    }

    /// Found by simulation: it alone may have the newest configuration, and then nobody else can be elected.
    @Test func aReplicaLeftOutCampaignsUntilThatIsCommitted() {
        var log = LogSummary(start: LogStart(membership: Membership(voters: self.ids(7, 8, 9))))
        log.append(Membership(voters: self.ids(1, 2, 3)), term: 1)
        log.append(
            Membership(members: [
                .init(id: ReplicaID(1), isVoter: false, isOutgoing: true),
                .init(id: ReplicaID(2), isVoter: true, isOutgoing: true),
                .init(id: ReplicaID(3), isVoter: true, isOutgoing: true),
            ]), term: 1)
        log.append(Membership(voters: self.ids(2, 3)), term: 1)
        var leftOut = Lone(start: RaftStart(hardState: HardState(term: 1), log: log))
        leftOut.pass(.milliseconds(310))
        #expect(leftOut.raft.role == .preCandidate)
        // Its own vote does not count.
        leftOut.hear(.preVoteReply(isGranted: true), from: 2, term: 2)
        #expect(leftOut.raft.role == .preCandidate)
        leftOut.hear(.preVoteReply(isGranted: true), from: 3, term: 2)
        #expect(leftOut.raft.role == .candidate)
        // One that is long gone and learns so stays quiet.
        leftOut.hear(.append(.init(previous: LogPosition(index: 3, term: 1), commit: 3, round: 1)), from: 2, term: 2)
        leftOut.pass(.seconds(2))
        #expect(leftOut.raft.role == .follower)
    }

    @Test func aCutOfTheLogTakesAConfigurationBack() {
        var follower = Lone()
        let wider = Membership(voters: self.ids(1, 2, 3), learners: self.ids(4))
        let entry = EntryRange(first: 1, last: 1, term: 1, bytes: 100, membership: wider)
        follower.hear(.append(.init(previous: .zero, entries: entry, commit: 0, round: 1)), from: 2, term: 1)
        #expect(follower.raft.membership == wider)
        let other = EntryRange(first: 1, last: 1, term: 2, bytes: 100)
        follower.hear(.append(.init(previous: .zero, entries: other, commit: 0, round: 1)), from: 3, term: 2)
        #expect(follower.raft.membership == Membership(voters: self.ids(1, 2, 3)))
    }
}
