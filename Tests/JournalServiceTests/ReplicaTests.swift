import FileStore
import HLC
import JournalFormat
import JournalService
import Primitives
import Raft
import Synchronization
import TestSupport
import Testing

@testable import JournalStore

@Suite struct ReplicaTests {
    @Test func threeReplicasHaveTheSameLog() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        var offsets: [JournalOffset] = []
        for number in 0..<200 { offsets.append(try await group.append(number).offset) }
        #expect(offsets == offsets.sorted() && Set(offsets).count == 200)
        let last = offsets.last!
        try await waitUntil("all to show \(last)") { group.running.allSatisfy { $0.committed >= last } }
        let expected = zip(offsets, 0..<200).map { "\($0) \($1)" }
        for replica in group.running {
            #expect(try ReplicaGroup.numbers(replica).map { "\($0.offset) \($0.number)" } == expected)
            #expect(replica.verify().faults == [])
        }
    }

    /// What is committed after the last write is noted, too: a node that starts again alone shows all that was acknowledged.
    @Test func theLastCommitmentBeforeAPauseIsNoted() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        for number in 0..<10 { _ = try await group.append(number) }
        let last = try await group.awaitLeader().committed
        for id in group.ids {
            try await waitUntil("\(id) to note \(last)") {
                let mark = try? DurableMark(
                    directory: "/journal/data-0", name: SegmentName.commitMark, files: group.disks[id]!)
                return mark.map { $0.durable >= last } ?? false
            }
        }
        for id in group.ids { group.stop(id, .process) }
        #expect(try group.start(group.ids[0]).committed >= last)
    }

    @Test func aKeyIsAppendedOnceWhoeverLeads() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        let first = try await group.append(7, key: "same")
        let leader = try await group.awaitLeader()
        group.stop(leader.replica, .process)
        _ = try await group.awaitLeader { $0.replica != leader.replica }
        let second = try await group.append(7, key: "same")
        #expect(second.offset == first.offset && second.hlc == first.hlc && second.replayed)
        await #expect(throws: VecraftError.self) { try await group.append(8, key: "same") }
    }

    /// A leader whose node should not lead hands over, and never to another that should not.
    @Test func theUnfitDoNotLead() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        _ = try await group.append(0)
        let first = try await group.awaitLeader().replica
        let second = group.ids.first { $0 != first }!
        let fit = group.ids.last { $0 != first && $0 != second }!
        group.unfit.withLock { $0[second] = "test" }
        try await waitUntil("the second to say that it is unfit") { group[second].status.whyUnfit == "test" }
        group.unfit.withLock { $0[first] = "test" }
        try await waitUntil("the fit one to lead") { group[fit].status.role == .leader }
        // Nobody gives it up to the unfit.
        for number in 1...20 { _ = try await group.append(number) }
        try await waitUntil("the fit one to lead") { group.leader?.replica == fit }
        group.unfit.withLock { $0 = [first: "test", second: "test", fit: "test"] }
        // With nobody better it is kept, and works.
        try await waitUntil("all to be unfit") { group.running.allSatisfy { $0.status.whyUnfit != nil } }
        _ = try await group.append(21)
    }

    @Test func aLeaderSaysHowFarOthersAreBehind() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        _ = try await group.append(0)
        let leader = try await group.awaitLeader()
        let away = group.ids.first { $0 != leader.replica }!
        group.stop(away)
        for number in 1...100 { _ = try await group.append(number, bytes: 1000) }
        try await waitUntil("the lag to be seen") {
            guard let lag = group.leader?.status.lags.first(where: { $0.id == away }) else { return false }
            return lag.entries >= 100 && lag.bytes > 100_000 && lag.bytes < 300_000 && lag.nanoseconds > 50_000_000
        }
        try group.start(away)
        try await waitUntil("it to catch up") {
            group.leader?.status.lags.first { $0.id == away }.map { $0.entries + $0.bytes + $0.nanoseconds } == 0
        }
    }

    @Test func historyOfAppendsIsThinnedAndStillTrue() {
        var history = AppendHistory()
        var random = SeededRNG(seed: 3)
        var index: UInt64 = 0
        var now: UInt64 = 1_000_000_000
        var truth: [(index: UInt64, bytes: UInt64, at: UInt64)] = []
        for _ in 0..<20_000 {
            now += UInt64.random(in: 0..<20_000_000, using: &random)
            let count = UInt64.random(in: 1...10, using: &random)
            for step in 1...count { truth.append((index + step, 100, now)) }
            index += count
            history.add(through: index, count: Int(count), bytes: Int(count) * 100, at: now)
        }
        for probe in stride(from: 0, to: truth.count - 1, by: 97) {
            guard let found = history.after(truth[probe].index) else {
                Issue.record("\(probe) is not known")
                continue
            }
            let bytes = UInt64(truth.count - probe - 1) * 100
            let age = now - truth[probe + 1].at
            #expect(found.bytes.absoluteDifference(bytes) <= bytes / 7 + 3000, "\(probe): \(found.bytes) of \(bytes)")
            let since = found.since
            #expect((now - since).absoluteDifference(age) <= age / 7 + 40_000_000, "\(probe): \(now - since) of \(age)")
        }
        #expect(history.after(index) == nil)
        // Another leader came in between: what it wrote is not known here.
        history.add(through: index - 500, count: 1, bytes: 100, at: now)
        #expect(history.after(index - 500) == nil)
        #expect(history.after(index - 520)?.bytes ?? 0 > 100)
    }

    @Test func theMiddleClockIsBelieved() {
        let ms: Int64 = 1_000_000
        #expect(ClockJudgement.middle([]) == 0)
        #expect(ClockJudgement.middle([900 * ms]) == 0)
        #expect(ClockJudgement.middle([900 * ms, 910 * ms]) == 900 * ms)
        #expect(ClockJudgement.middle([-900 * ms, 3 * ms]) == 0)
        #expect(ClockJudgement.middle([5 * ms, 7 * ms, -4 * ms, 9_000 * ms]) == 5 * ms)
        #expect(ClockJudgement.middle([600 * ms, 610 * ms, 620 * ms]) == 600 * ms)
        #expect(
            ClockJudgement.whyUnfit([600 * ms, 610 * ms], limitMilliseconds: 500)?.contains("600 ms behind") == true)
        #expect(ClockJudgement.whyUnfit([-600 * ms, -610 * ms], limitMilliseconds: 500)?.contains("ahead of") == true)
        #expect(ClockJudgement.whyUnfit([400 * ms, 410 * ms], limitMilliseconds: 500) == nil)
        #expect(ClockJudgement.whyUnfit([4 * ms], lead: 501, limitMilliseconds: 500)?.contains("501 ms ahead") == true)
    }

    @Test func manyLeadersFallAndNothingAcknowledgedIsLost() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        let acknowledged = try await withThrowingTaskGroup(of: [(Int, JournalOffset)].self) { tasks in
            for writer in 0..<4 {
                tasks.addTask {
                    var done: [(Int, JournalOffset)] = []
                    for i in 0..<60 {
                        let number = writer * 1000 + i
                        done.append((number, try await group.append(number).offset))
                    }
                    return done
                }
            }
            tasks.addTask {
                for round in 0..<6 {
                    try await Task.sleep(for: .milliseconds(60))
                    let leader = try await group.awaitLeader()
                    group.stop(leader.replica, round % 2 == 0 ? .process : .power)
                    _ = try await group.awaitLeader()
                    try group.start(leader.replica)
                }
                return []
            }
            return try await tasks.reduce(into: []) { $0 += $1 }
        }
        let last = acknowledged.map(\.1).max()!
        try await waitUntil("all to show \(last)") {
            group.running.count == 3 && group.running.allSatisfy { $0.committed >= last }
        }
        for replica in group.running {
            let found = try ReplicaGroup.numbers(replica)
            #expect(Set(found.map(\.number)).count == found.count, "an entry is doubled")
            let places = Dictionary(found.map { ($0.number, $0.offset) }) { a, _ in a }
            for (number, offset) in acknowledged {
                #expect(places[number] == offset, "\(number) on \(replica.replica)")
            }
            #expect(replica.verify().faults == [])
        }
    }

    @Test func anIsolatedLeadersEntriesAreCutAndItFollows() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        for number in 0..<10 { _ = try await group.append(number) }
        let old = try await group.awaitLeader()
        group.network.isolate(old.replica, from: group.ids)
        // It takes appends for a moment more; nobody else gets them.
        for number in 100..<105 {
            old.append(ReplicaGroup.entry(number, key: "lost-\(number)")) { result in
                #expect((try? result.get()) == nil)
            }
        }
        _ = try await group.awaitLeader { $0.replica != old.replica }
        var last: JournalOffset = 0
        for number in 10..<30 { last = try await group.append(number).offset }
        group.network.heal()
        try await waitUntil("the old leader to follow") { old.status.role == .follower && old.committed >= last }
        #expect(try ReplicaGroup.numbers(old).map(\.number) == Array(0..<30))
        // A key of a lost entry is free again.
        let again = try await group.append(100, key: "lost-100")
        #expect(!again.replayed)
        #expect(old.verify().faults == [])
    }

    @Test func aReplicaBehindTheTrimmedStartGetsTheWholeLog() async throws {
        let group = ReplicaGroup(voters: 3, segmentBytes: 64 << 10)
        try group.startAll()
        _ = try await group.append(0, key: "kept")
        let away = try await group.awaitLeader().replica == ReplicaID(3) ? ReplicaID(2) : ReplicaID(3)
        group.stop(away)
        var last: JournalOffset = 0
        for number in 1..<200 { last = try await group.append(number, bytes: 2000).offset }
        for replica in group.running {
            let result = await withCheckedContinuation { c in
                replica.trim(through: last - 20) { c.resume(returning: $0) }
            }
            #expect(throws: Never.self) { try result.get() }
        }
        try await waitUntil("segments to go") { group.running.allSatisfy { $0.firstOffset == last - 19 } }
        let back = try group.start(away)
        try await waitUntil("the replica to catch up") { back.committed >= last }
        #expect(back.firstOffset > 1)
        #expect(back.verify().faults == [])
        last = try await group.append(500).offset
        try await waitUntil("the replica to follow on") { back.committed >= last }
        // The key of a trimmed entry travelled with the log.
        try await retrying {
            let leader = try await group.awaitLeader()
            guard leader.replica != away else { return }
            let result = await withCheckedContinuation { c in
                leader.transferLeadership(to: away) { c.resume(returning: $0) }
            }
            try result.get()
            // What is handed over need not be taken, on a busy machine; then it is handed over again.
            for _ in 0..<200 where group.leader?.replica != away { try await Task.sleep(for: .milliseconds(10)) }
            guard group.leader?.replica == away else { throw VecraftError(.unavailable, "another leads") }
        }
        _ = try await group.awaitLeader { $0.replica == away }
        let again = try await group.append(0, key: "kept")
        #expect(again.replayed)
        // And it starts again from what it has.
        group.stop(away, .power)
        let once = try group.start(away)
        try await waitUntil("it to follow") { once.committed >= last }
        #expect(once.verify().faults == [])
    }

    @Test func damageIsFetchedFromTheOthers() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        var last: JournalOffset = 0
        for number in 0..<50 { last = try await group.append(number, bytes: 500).offset }
        try await waitUntil("all to have it") { group.running.allSatisfy { $0.committed >= last } }
        let victim = try await group.awaitLeader().replica
        group.stop(victim)
        let disk = group.disks[victim]!
        let segment = disk.paths.first { $0.hasSuffix(".segment") }!
        disk.flip(segment, byte: 64 + 20 * 700, mask: 4)
        let back = try group.start(victim)
        #expect(back.lossFound != nil)
        try await waitUntil("it to catch up") { back.committed >= last && !back.status.isRecovering }
        #expect(try ReplicaGroup.numbers(back).map(\.number) == Array(0..<50))
        #expect(back.verify().faults == [])
    }

    @Test func membersAreAddedAndRemoved() async throws {
        let group = ReplicaGroup(voters: 3, spares: 1)
        try group.startAll()
        for number in 0..<20 { _ = try await group.append(number) }
        let leader = try await group.awaitLeader()
        func change(_ change: MembershipChange) async throws {
            try await retrying {
                let leader = try await group.awaitLeader()
                let result = await withCheckedContinuation { c in leader.change(change) { c.resume(returning: $0) } }
                _ = try result.get()
            }
        }
        try await change(.addLearner(ReplicaID(4)))
        try await change(.setVoters([1, 2, 3, 4].map { ReplicaID($0) }))
        let removed = leader.replica
        try await change(.setVoters([1, 2, 3, 4].map { ReplicaID($0) }.filter { $0 != removed }))
        let next = try await group.awaitLeader { $0.replica != removed && $0.status.membership.voters.count == 3 }
        #expect(!next.status.membership.voters.contains(removed))
        group.stop(removed)
        let last = try await group.append(99).offset
        try await waitUntil("the new one to have all") { group[ReplicaID(4)].committed >= last }
        #expect(try ReplicaGroup.numbers(group[ReplicaID(4)]).map(\.number) == Array(0..<20) + [99])
        // The configuration is found again in the log.
        group.stop(ReplicaID(4))
        let again = try group.start(ReplicaID(4))
        try await waitUntil("it to know its group") { again.status.membership.voters.contains(ReplicaID(4)) }
    }

    @Test func aFullDiskStopsNobodyElse() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        for number in 0..<10 { _ = try await group.append(number) }
        let full = try await group.awaitLeader().replica
        group.disks[full]!.setCapacity(1)
        var last: JournalOffset = 0
        for number in 10..<60 { last = try await group.append(number, bytes: 40_000).offset }
        let leader = try await group.awaitLeader()
        try await waitUntil("the leader to show it") { leader.committed >= last }
        group.disks[full]!.setCapacity(1 << 40)
        try await waitUntil("the full one to go on") { group[full].committed >= last }
        #expect(try ReplicaGroup.numbers(group[full]).map(\.number) == Array(0..<60))
    }

    @Test func aStrongReadSeesWhatWasAcknowledged() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        for number in 0..<30 {
            let appended = try await group.append(number)
            try await retrying {
                let leader = try await group.awaitLeader()
                let index = try await withCheckedContinuation { c in leader.readIndex { c.resume(returning: $0) } }
                    .get()
                #expect(index >= appended.offset)
            }
        }
        for replica in group.running where replica.status.role != .leader {
            let result = await withCheckedContinuation { c in replica.readIndex { c.resume(returning: $0) } }
            // One that leads by now may answer.
            if replica.status.role != .leader { #expect(throws: VecraftError.self) { try result.get() } }
        }
    }

    @Test func closedTimestampsHoldWhileLeadersChange() async throws {
        let group = ReplicaGroup(voters: 3)
        try group.startAll()
        var promises: [(committed: JournalOffset, closed: HLCTimestamp)] = []
        for number in 0..<40 {
            _ = try await group.append(number)
            for replica in group.running { promises.append(replica.position) }
            if number % 10 == 9 {
                let leader = try await group.awaitLeader()
                group.stop(leader.replica, .process)
                _ = try await group.awaitLeader { $0.replica != leader.replica }
                try group.start(leader.replica)
            }
        }
        let replica = try await group.awaitLeader()
        var next: JournalOffset = 1
        var stamps: [(JournalOffset, HLCTimestamp)] = []
        while next <= replica.committed {
            let batch = try replica.read(from: next, maxBytes: 1 << 20)
            for view in batch { stamps.append((view.offset, view.hlc)) }
            next = batch.nextOffset
        }
        #expect(zip(stamps, stamps.dropFirst()).allSatisfy { $0.1 < $1.1 })
        for promise in promises {
            #expect(stamps.allSatisfy { $0.0 <= promise.committed || $0.1 >= promise.closed }, "\(promise)")
        }
        #expect(promises.contains { $0.closed > .zero })
    }

    @Test func aSingleNodesJournalIsNotMadeAGroupOfMany() throws {
        let group = ReplicaGroup(voters: 3)
        let disk = group.disks[ReplicaID(1)]!
        let clock = HLCClock(physical: { SystemClock.wallMilliseconds() })
        let alone = try JournalPartition(
            id: ReplicaGroup.partition, directory: "/journal/data-0", settings: group.settings, files: disk,
            clock: clock)
        alone.close()
        #expect { try group.start(ReplicaID(1)) } throws: {
            ($0 as? VecraftError)?.reason == "JOURNAL_OF_A_SINGLE_NODE"
        }
    }
}

/// Tries again while the group says that it cannot just now.
private func retrying(_ act: () async throws -> Void) async throws {
    let end = ContinuousClock.now + .seconds(300)
    while .now < end {
        do { return try await act() } catch let error as VecraftError {
            guard error.code == .unavailable || error.code == .failedPrecondition else { throw error }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
    throw VecraftError(.deadlineExceeded, "tried in vain")
}

extension UInt64 {
    fileprivate func absoluteDifference(_ other: UInt64) -> UInt64 { self > other ? self - other : other - self }
}
