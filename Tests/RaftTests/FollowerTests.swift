import Primitives
import Raft
import Testing

@Suite struct FollowerTests {
    private func append(
        _ first: LogIndex, _ last: LogIndex, term: Term, after: Term, commit: LogIndex = 0
    ) -> RaftMessage.Body {
        .append(
            .init(
                previous: LogPosition(index: first - 1, term: after),
                entries: EntryRange(first: first, last: last, term: term, bytes: 100), commit: commit, round: 1))
    }

    @Test func acknowledgesWhatIsDurableAndInATermThatIs() {
        var follower = Lone()
        follower.hear(self.append(1, 3, term: 1, after: 0, commit: 3), from: 2, term: 1)
        // Neither the term nor the entries are durable: nothing is said, though the entries are known to be committed.
        let decided = follower.actions(syncs: false)
        #expect(decided.messages.isEmpty && decided.commits == [3])
        follower.raft.written(1, now: follower.now)
        #expect(follower.actions(syncs: false).messages.isEmpty)
        follower.raft.saved(1, now: follower.now)
        let answer = RaftMessage.Acknowledge(matched: 3, durable: 3, round: 1, incarnation: 0, isRecovering: false)
        #expect(follower.actions().messages.map(\.body) == [.acknowledge(answer)])
    }

    @Test func aWriteThatWasCutIsNotDurable() {
        var follower = Lone()
        follower.hear(self.append(1, 4, term: 1, after: 0), from: 2, term: 1)
        _ = follower.actions(syncs: false)
        follower.raft.saved(1, now: follower.now)
        // Another leader replaces entries 3 and 4, which are still on their way to the disk.
        follower.hear(self.append(3, 3, term: 2, after: 1), from: 3, term: 2)
        let orders = follower.actions(syncs: false).compactMap { if case .write(let order) = $0 { order } else { nil } }
        #expect(orders.map(\.truncateFrom) == [3])
        follower.raft.saved(2, now: follower.now)
        follower.raft.written(1, now: follower.now)
        #expect(follower.raft.durable == 2 && follower.raft.last == LogPosition(index: 3, term: 2))
        follower.raft.written(2, now: follower.now)
        #expect(follower.raft.durable == 3)
    }

    @Test func doubledAndOvertakenAppendsChangeNothing() {
        var follower = Lone()
        follower.hear(self.append(1, 2, term: 1, after: 0), from: 2, term: 1)
        follower.hear(self.append(3, 5, term: 1, after: 1), from: 2, term: 1)
        _ = follower.actions()
        follower.hear(self.append(1, 2, term: 1, after: 0), from: 2, term: 1)
        follower.hear(self.append(2, 4, term: 1, after: 1), from: 2, term: 1)
        let again = follower.actions()
        #expect(again.allSatisfy { if case .write = $0 { false } else { true } })
        #expect(follower.raft.last.index == 5 && follower.raft.durable == 5)
    }

    @Test func whatTheLeaderContradictsThoughCommittedEndsTheReplica() {
        var follower = Lone()
        follower.hear(self.append(1, 2, term: 1, after: 0, commit: 2), from: 2, term: 1)
        _ = follower.actions()
        #expect(follower.raft.commit == 2)
        follower.hear(self.append(3, 3, term: 1, after: 1), from: 2, term: 1)
        // The same leader, in the same term, sends another entry 3.
        follower.hear(self.append(3, 3, term: 0, after: 1), from: 2, term: 1)
        #expect(follower.raft.failure != nil)
        follower.hear(self.append(4, 4, term: 1, after: 1), from: 2, term: 1)
        #expect(follower.raft.last.index == 3)
    }

    @Test func twoLeadersOfATermEndTheReplica() {
        var follower = Lone()
        follower.hear(.heartbeat(.init(commit: 0, round: 1)), from: 2, term: 4)
        follower.hear(.heartbeat(.init(commit: 0, round: 1)), from: 3, term: 4)
        #expect(follower.raft.failure == "2 and 3 both lead term 4")
    }

    @Test func aLeaderOfAnOlderTermIsToldSo() {
        var follower = Lone()
        follower.hear(.heartbeat(.init(commit: 0, round: 1)), from: 2, term: 4)
        _ = follower.actions()
        follower.hear(.heartbeat(.init(commit: 0, round: 9)), from: 3, term: 3)
        #expect(
            follower.actions().messages == [RaftMessage(from: ReplicaID(1), to: ReplicaID(3), term: 4, body: .outdated)]
        )
    }

    @Test func comesBackWithItsTermAndVote() {
        var log = LogSummary(start: LogStart(membership: Membership(voters: (1...3).map { ReplicaID($0) })))
        log.append(through: 5, term: 3)
        var voter = Lone(start: RaftStart(hardState: HardState(term: 4, votedFor: ReplicaID(2)), log: log))
        voter.pass(.milliseconds(150))
        let last = LogPosition(index: 9, term: 4)
        voter.hear(.vote(last: last, isTransfer: false), from: 3, term: 4)
        voter.hear(.vote(last: last, isTransfer: false), from: 2, term: 4)
        let replies = voter.actions().messages.filter { if case .voteReply = $0.body { true } else { false } }
        #expect(replies.map(\.body) == [.voteReply(isGranted: false), .voteReply(isGranted: true)])
    }

    @Test func aLogNewerThanTheStateRaisesTheTerm() {
        var log = LogSummary(start: LogStart(membership: Membership(voters: (1...3).map { ReplicaID($0) })))
        log.append(through: 5, term: 7)
        var late = Lone(start: RaftStart(hardState: HardState(term: 4, votedFor: ReplicaID(2)), log: log))
        #expect(late.raft.state == HardState(term: 7))
        #expect(late.actions().contains(.save(HardState(term: 7), 1)))
    }

    @Test func aLearnerNeitherCampaignsNorMatters() {
        let membership = Membership(voters: [ReplicaID(2), ReplicaID(3)], learners: [ReplicaID(1)])
        var learner = Lone(start: RaftStart(log: LogSummary(start: LogStart(membership: membership))))
        learner.pass(.seconds(3))
        #expect(learner.raft.role == .follower && learner.raft.term == 0)
        #expect(!membership.isQuorum { $0 != ReplicaID(2) } && membership.isQuorum { $0 != ReplicaID(1) })
    }
}
