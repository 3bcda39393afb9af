import FileStore
import HLC
import JournalFormat
import JournalService
import JournalStore
import Primitives
import Raft
import Synchronization
import TestSupport
import Testing

/// Ages and stamps when clocks are wrong.
@Suite struct FreshnessTests {
    /// Of a log that grows by an entry a millisecond and is late by different times: never said to be fresher than it was.
    @Test func whatIsKnownOfAnOffsetIsTrue() {
        let ms: UInt64 = 1_000_000
        var history = FreshnessHistory()
        #expect(history.since(at: 5) == nil)
        var rng = SeededRNG(seed: 7)
        var now = 1_000 * ms
        // Offset n was acknowledged at 1000 + n ms; a sentence says when it was complete, a while late.
        for _ in 0..<60_000 {
            now += UInt64.random(in: 0...3, using: &rng) * ms
            let since = now - UInt64.random(in: 0...20, using: &rng) * ms
            let offset = since / ms - min(since / ms, 1_000) + UInt64.random(in: 0...9, using: &rng)
            history.note(offset, since: since)
        }
        #expect(history.marks.count <= FreshnessHistory.kept)
        #expect(
            zip(history.marks, history.marks.dropFirst()).allSatisfy { $0.offset < $1.offset && $0.since < $1.since })
        let last = now / ms - 1_000
        var asked: UInt64 = 0
        for lag in [0, 3, 40, 500, 2_000, 20_000, 60_000] as [UInt64] where lag < last {
            let offset = last - lag
            guard let since = history.since(at: offset) else { continue }
            asked += 1
            // The entry behind it was acknowledged at 1000 + offset + 1.
            #expect(since <= (1_000 + offset + 1) * ms, "at a lag of \(lag)")
            let (age, truth) = (now - since, now - (1_000 + offset) * ms)
            #expect(age <= truth + truth / 4 + 60 * ms, "\(age / ms) ms for \(truth / ms) ms")
        }
        #expect(asked >= 6)
        let first = history.marks[0].offset
        if first > 0 {
            #expect(history.since(at: first - 1) == nil, "of what is older than all that was heard nothing is known")
        }
    }

    /// Followers know it, as recently as they hear of their leader, and it does not go back when leaders change.
    @Test func everyReplicaKnowsHowFreshItsLogIs() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        for number in 0..<20 {
            let before = SystemClock.boottimeNanoseconds()
            let appended = try await group.append(number)
            let acknowledged = SystemClock.boottimeNanoseconds()
            for replica in group.running {
                // An offset that lacks the entry is complete at most up to when it was acknowledged.
                if let since = replica.freshness(at: appended.offset - 1) { #expect(since <= acknowledged) }
                try await waitUntil("replica \(replica.replica) is as fresh as the write") {
                    replica.freshness(at: replica.committed).map { $0 > before } ?? false
                }
            }
            if number % 10 == 9 {
                let leader = try await group.awaitLeader()
                group.stop(leader.replica, .process)
                _ = try await group.awaitLeader { $0.replica != leader.replica }
                try group.start(leader.replica)
            }
        }
    }

    /// A leader whose clock leaps ahead leads no more, what it stamped is nowhere else, and as a follower it goes on.
    @Test func aClockFarAheadStampsNothing() async throws {
        // With the third replica gone there is no other leader to be had: a busy machine must not ask for one.
        var raft = RaftSettings()
        raft.electionTimeoutMin = .seconds(1)
        raft.electionTimeoutMax = .seconds(2)
        let group = ReplicaGroup(voters: 3, raft: raft)
        try group.startAll()
        for number in 0..<5 { _ = try await group.append(number) }
        var wrong = try await group.awaitLeader().replica
        var leader = group[wrong]
        var number = 5
        // One that led no more when its clock leapt says nothing that could be refused: then another leader's clock leaps.
        try await eventually("a leader's messages are refused and counted", within: .seconds(300)) {
            wrong = try await group.awaitLeader().replica
            let meant = wrong
            group.ahead.withLock { $0 = [meant: 3_600_000] }
            leader = try await group.awaitLeader { $0.replica != meant && $0.status.peers.count == 2 }
            for _ in 0..<5 {
                _ = try await group.append(number)
                number += 1
            }
            try await eventually("they are refused", within: .seconds(60)) {
                group.running.contains { $0.replica != meant && $0.status.refusedClocks > 0 }
            }
            return true
        }
        #expect(group[leader.replica].lastHLC.milliseconds < SystemClock.wallMilliseconds() + 60_000)
        // Its answers count: without the third replica the two of them are a majority.
        let third = group.ids.first { $0 != wrong && $0 != leader.replica }!
        group.stop(third)
        for more in number..<number + 5 { _ = try await group.append(more) }
        try await waitUntil("it has the whole log") { group[wrong].committed == group[leader.replica].committed }
        var last = HLCTimestamp.zero
        for view in try group[wrong].read(from: 1, maxBytes: 1 << 20) { last = max(last, view.hlc) }
        #expect(last.milliseconds < SystemClock.wallMilliseconds() + 60_000)
        #expect(group[wrong].status.role != .leader)
    }
}
