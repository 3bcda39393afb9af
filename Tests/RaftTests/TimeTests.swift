import Primitives
import Raft
import Testing

/// A wrong clock costs time, never safety.
@Suite struct TimeTests {
    @Test func timeoutsAreWithinTheirRangeAndDiffer() {
        var first: [Int] = []
        for id in 1...40 as ClosedRange<UInt64> {
            var replica = Lone(id, voters: [id, 50, 51])
            var passed = 0
            while replica.raft.role == .follower, passed < 1000 {
                replica.pass(.milliseconds(1), tick: .milliseconds(1))
                passed += 1
            }
            first.append(passed)
        }
        #expect(first.allSatisfy { (150...301).contains($0) } && Set(first).count > 20)
    }

    @Test func aLeapAheadStartsNoElection() {
        var follower = Lone()
        follower.hear(.heartbeat(.init(commit: 0, round: 1)), from: 2, term: 1)
        follower.now = follower.now + Duration.seconds(60).nanoseconds
        follower.raft.tick(now: follower.now)
        #expect(follower.raft.role == .follower && follower.raft.leader == ReplicaID(2))
        // Nor does it end the promise that the leader's lease rests on.
        follower.hear(.vote(last: LogPosition(index: 9, term: 9), isTransfer: false), from: 3, term: 2)
        #expect(follower.raft.term == 1)
        follower.hear(.vote(last: LogPosition(index: 9, term: 9), isTransfer: true), from: 3, term: 2)
        #expect(follower.raft.term == 2)
    }

    @Test func theLeaseEndsBeforeAnyPromise() throws {
        var leader = Lone()
        leader.lead()
        leader.pass(.milliseconds(30))
        let sent = leader.now
        leader.acknowledge(from: 2, round: 2)
        #expect(leader.raft.hasLease)
        // 150 ms on a clock that may be 5 % fast, seen by one that may be 5 % slow.
        let lease = Nanoseconds(150_000_000 * 0.95 / 1.05)
        _ = leader.actions()
        leader.now = sent + (lease - 1_000_000)
        try leader.raft.read(id: 1, now: leader.now)
        #expect(leader.actions().reads == [1])
        leader.now = sent + lease
        try leader.raft.read(id: 2, now: leader.now)
        #expect(leader.actions().reads.isEmpty)
    }

    @Test func aStepBackEndsTheLease() throws {
        var leader = Lone()
        leader.lead()
        leader.pass(.milliseconds(30))
        leader.acknowledge(from: 2, round: 2)
        #expect(leader.raft.hasLease)
        leader.now = MonotonicInstant(nanoseconds: leader.now.nanoseconds - 20_000_000)
        leader.raft.tick(now: leader.now)
        #expect(!leader.raft.hasLease)
        // A round begun after the step is worth something again.
        _ = leader.actions()
        leader.pass(.milliseconds(60))
        leader.acknowledge(from: 2, round: 4)
        #expect(leader.raft.hasLease)
    }

    @Test func noLeaseAfterSomebodyWasToldToCampaign() throws {
        var leader = Lone()
        leader.lead()
        leader.pass(.milliseconds(30))
        leader.acknowledge(from: 2, round: 2)
        try leader.raft.transferLeadership(to: ReplicaID(2), now: leader.now)
        #expect(leader.actions().to(2).contains { $0.body == .timeoutNow })
        #expect(!leader.raft.hasLease)
        // The handover fails; for the rest of the term reads take a round.
        for round in 3...40 as ClosedRange<UInt64> {
            leader.pass(.milliseconds(10))
            leader.acknowledge(from: 2, round: round)
        }
        #expect(leader.raft.role == .leader && !leader.raft.hasLease)
        _ = try leader.propose()
    }

    @Test func readsWaitForARoundBegunAfterThem() throws {
        var settings = RaftSettings()
        settings.readsUnderLease = false
        settings.maxPendingReads = 3
        var leader = Lone(settings: settings)
        leader.lead()
        leader.acknowledge(from: 2, round: 1)
        try leader.raft.read(id: 1, now: leader.now)
        leader.acknowledge(from: 2, round: 1)
        #expect(leader.actions().reads.isEmpty)
        try leader.raft.read(id: 2, now: leader.now)
        try leader.raft.read(id: 3, now: leader.now)
        #expect(throws: RaftRefusal.limit("raft.max_pending_reads", 3)) { try leader.raft.read(id: 4, now: leader.now) }
        leader.acknowledge(from: 2, round: 2)
        #expect(leader.actions().reads == [1])
        leader.acknowledge(from: 2, round: 3)
        #expect(leader.actions().reads == [2, 3])
    }

    /// Disks slower than any election timeout: somebody is elected all the same.
    @Test func slowDisksStillElect() {
        var group = [Lone(1), Lone(2), Lone(3)]
        let sync = Duration.milliseconds(700).nanoseconds
        var disk: [(at: UInt64, replica: Int, action: RaftAction)] = []
        var step = 0
        while !group.contains(where: { $0.raft.role == .leader && $0.raft.commit > 0 }), step < 6_000 {
            step += 1
            for i in group.indices { group[i].pass(.milliseconds(10)) }
            let now = group[0].now.nanoseconds
            for (_, i, action) in disk.filter({ $0.at <= now }) {
                if case .save(_, let ticket) = action { group[i].raft.saved(ticket, now: group[i].now) }
                if case .write(let order) = action { group[i].raft.written(order.ticket, now: group[i].now) }
            }
            disk.removeAll { $0.at <= now }
            for i in group.indices {
                for action in group[i].actions(syncs: false) {
                    switch action {
                    case .save, .write: disk.append((now + sync, i, action))
                    case .send(let message):
                        let to = Int(message.to.rawValue) - 1
                        group[to].raft.receive(message, now: group[to].now)
                    default: break
                    }
                }
            }
        }
        #expect(step < 6_000, "nobody was elected within a minute")
    }

    @Test func settingsAreChecked() {
        func refused(_ change: (inout RaftSettings) -> Void) -> String? {
            var settings = RaftSettings()
            change(&settings)
            do throws(VecraftError) { try settings.validate() } catch { return error.field }
            return nil
        }
        #expect(refused { _ in } == nil)
        #expect(refused { $0.heartbeat = .milliseconds(100) } == "raft.election_timeout_min")
        #expect(refused { $0.electionTimeoutMax = .milliseconds(160) } == "raft.election_timeout_max")
        #expect(refused { $0.clockRateError = 0.5 } == "raft.clock_rate_error")
        #expect(refused { $0.maxInFlightBytes = 1 } == "raft.max_in_flight_bytes")
        #expect(refused { $0.maxUncommittedBytes = 1 } == "raft.max_uncommitted_bytes")
        #expect(refused { $0.maxTimerStep = .seconds(1) } == "raft.max_timer_step")
    }
}
