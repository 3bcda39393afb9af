import Primitives
import Raft
import Testing

@Suite struct LeaderTests {
    @Test func commitsWithAMajorityWhicheverDisksTheyAre() throws {
        var leader = Lone()
        leader.lead()
        let first = try leader.propose(3, bytes: 300)
        #expect(first == EntryRange(first: 2, last: 4, term: 1, bytes: 300))
        // Its own disk has not answered: the two others are enough, one is not.
        var actions = leader.actions(syncs: false)
        leader.acknowledge(from: 2)
        #expect(leader.raft.commit == 1)
        leader.acknowledge(from: 3)
        #expect(leader.raft.commit == 4 && leader.raft.durable == 1)
        actions += leader.actions()
        #expect(actions.commits == [4])
    }

    @Test func sendsOnWithoutWaitingUpToTheLimits() throws {
        var settings = RaftSettings()
        settings.maxBatchBytes = 4096
        settings.maxProbeBytes = 1024
        settings.maxInFlightBytes = 8192
        settings.maxInFlightMessages = 3
        var leader = Lone(settings: settings)
        leader.lead()
        for _ in 0..<6 { _ = try leader.propose(10, bytes: 1000) }
        #expect(leader.actions().appends.filter { $0.entries != nil && $0.previous.index > 0 }.count >= 3)
        let before = leader.raft.last.index
        _ = try leader.propose(10, bytes: 1000)
        // 2 has three messages under way; what comes later waits for an answer, and then goes together.
        #expect(leader.actions().to(2).isEmpty)
        leader.acknowledge(from: 2, through: 31)
        let next = leader.actions().to(2).compactMap {
            if case .append(let append) = $0.body { append.entries } else { nil }
        }
        #expect(next.map(\.first) == [32, 62] && next.allSatisfy { $0.bytes <= 4096 })
        #expect(before < leader.raft.last.index)
    }

    @Test func refusesWithTheLimitsName() throws {
        var settings = RaftSettings()
        settings.maxUncommittedBytes = 2 << 20
        settings.maxUncommittedBatches = 5
        var leader = Lone(settings: settings)
        leader.lead()
        _ = try leader.propose(1, bytes: 3 << 20)  // One larger than the limit goes alone.
        #expect(throws: RaftRefusal.limit("raft.max_uncommitted_bytes", 2 << 20)) {
            _ = try leader.propose(1, bytes: 1)
        }
        leader.acknowledge(from: 2)
        _ = leader.actions()
        leader.acknowledge(from: 2)
        for _ in 0..<5 { _ = try leader.propose() }
        #expect(throws: RaftRefusal.limit("raft.max_uncommitted_batches", 5)) { _ = try leader.propose() }
        var follower = Lone()
        follower.hear(.heartbeat(.init(commit: 0, round: 1)), from: 3, term: 1)
        #expect(throws: RaftRefusal.notLeader(hint: ReplicaID(3))) { _ = try follower.propose() }
    }

    @Test func aPeerFarBehindIsAskedInFewSteps() {
        // Our log: 100 entries in each of ten terms; the peer's: 1,000 of term 1, of which the first 100 are ours.
        var log = LogSummary(start: LogStart(membership: Membership(voters: (1...3).map { ReplicaID($0) })))
        for term in 1...10 as ClosedRange<UInt64> { log.append(through: term * 100, term: term) }
        var leader = Lone(start: RaftStart(hardState: HardState(term: 10), log: log))
        leader.lead()
        var peer = Lone(
            3,
            start: RaftStart(
                hardState: HardState(term: 1),
                log: {
                    var log = LogSummary(start: LogStart(membership: Membership(voters: (1...3).map { ReplicaID($0) })))
                    log.append(through: 1000, term: 1)
                    return log
                }()))
        var questions = 0
        leader.pass(.milliseconds(70))
        while peer.raft.last != leader.raft.last, questions < 40 {
            for message in leader.actions().to(3) {
                if case .append = message.body { questions += 1 }
                peer.raft.receive(message, now: peer.now)
            }
            for message in peer.actions().to(1) { leader.raft.receive(message, now: leader.now) }
        }
        #expect(peer.raft.last == leader.raft.last)
        // One question, one refusal, then a batch a term.
        #expect(questions <= 16)
    }

    @Test func aBrokenLinkIsProbedAtOnce() throws {
        var leader = Lone()
        leader.lead()
        leader.acknowledge(from: 3)
        _ = leader.actions()
        _ = try leader.propose(5, bytes: 500)
        _ = leader.actions()
        leader.raft.linkReset(ReplicaID(3), now: leader.now)
        let again = leader.actions().to(3)
        #expect(again.count == 1)
        if case .append(let append) = again[0].body { #expect(append.previous.index == 1 && append.entries?.last == 6) }
    }

    @Test func answersFromBeforeALossCountForNothing() throws {
        var leader = Lone()
        leader.lead()
        _ = try leader.propose()
        _ = leader.actions()
        leader.acknowledge(from: 2, through: 1, incarnation: 1, isRecovering: true)
        // Late: what the first incarnation had it has no more.
        leader.acknowledge(from: 2, through: 2, incarnation: 0)
        #expect(leader.raft.commit == 1)
        _ = leader.actions()
        leader.pass(.milliseconds(40))
        let beat = leader.actions().to(2).compactMap { if case .heartbeat(let beat) = $0.body { beat } else { nil } }
            .last
        #expect(beat?.recovery == .init(incarnation: 1, through: 2))
        leader.acknowledge(from: 2, through: 2, incarnation: 1)
        #expect(leader.raft.commit == 2)
    }

    @Test func trimsOnlyWhatIsCommittedAndDurable() throws {
        var leader = Lone()
        leader.lead()
        _ = try leader.propose(4, bytes: 400)
        func trims(_ index: LogIndex) -> Bool { leader.raft.trim(through: index, now: leader.now) }
        #expect([trims(2)] == [false])
        leader.acknowledge(from: 2)
        leader.acknowledge(from: 3)
        // Committed by the others, and not yet durable here.
        #expect(leader.raft.commit == 5)
        #expect([trims(2)] == [false])
        _ = leader.actions()
        #expect([trims(2), trims(2), trims(6)] == [true, false, false])
        #expect(leader.raft.logStart == LogPosition(index: 2, term: 1))
        #expect(leader.raft.term(at: 1) == nil && leader.raft.term(at: 2) == 1)
    }

    @Test func oneVoterDecidesAlone() throws {
        var lone = Lone(voters: [1])
        lone.pass(.milliseconds(310))
        _ = lone.actions()
        #expect(lone.raft.role == .leader && lone.raft.commit == 1)
        _ = try lone.propose(2, bytes: 200)
        try lone.raft.read(id: 7, now: lone.now)
        let actions = lone.actions()
        #expect(actions.commits == [3] && actions.reads == [7])
    }
}
