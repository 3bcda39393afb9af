import HLC
import Primitives
import Synchronization
import Testing

/// A physical clock that a test sets.
private final class FakeWall: Sendable {
    private let milliseconds: Atomic<UInt64>
    init(_ start: UInt64) { self.milliseconds = Atomic(start) }
    var now: UInt64 { self.milliseconds.load(ordering: .relaxed) }
    func set(_ value: UInt64) { self.milliseconds.store(value, ordering: .relaxed) }
}

/// Keeps what was persisted, in order.
private final class Bounds: Sendable {
    private let all = Mutex<[UInt64]>([])
    func add(_ bound: UInt64) { self.all.withLock { $0.append(bound) } }
    var list: [UInt64] { self.all.withLock { $0 } }
}

@Suite struct HLCStateTests {
    @Test func followsPhysicalTime() {
        var clock = HLCState()
        #expect(clock.now(physical: 1000) == HLCTimestamp(milliseconds: 1000, counter: 0))
        #expect(clock.now(physical: 1000) == HLCTimestamp(milliseconds: 1000, counter: 1))
        #expect(clock.now(physical: 1001) == HLCTimestamp(milliseconds: 1001, counter: 0))
    }

    @Test func keepsOrderWhenPhysicalTimeStepsBack() {
        var clock = HLCState()
        let before = clock.now(physical: 10_000)
        let after = clock.now(physical: 3_000)
        #expect(after > before)
        #expect(after == HLCTimestamp(milliseconds: 10_000, counter: 1))
        #expect(clock.now(physical: 10_001) == HLCTimestamp(milliseconds: 10_001, counter: 0))
    }

    @Test func aCounterThatOverflowsMovesThePhysicalPartForward() {
        var clock = HLCState()
        var last = clock.now(physical: 500)
        for _ in 0..<65_535 { last = clock.now(physical: 500) }
        #expect(last == HLCTimestamp(milliseconds: 500, counter: 65_535))
        #expect(clock.now(physical: 500) == HLCTimestamp(milliseconds: 501, counter: 0))
        // Physical time that catches up later does not take the clock back.
        #expect(clock.now(physical: 501) == HLCTimestamp(milliseconds: 501, counter: 1))
    }

    @Test func mergesARemoteTimestamp() throws {
        var clock = HLCState()
        _ = clock.now(physical: 1000)
        let merged = try clock.observe(HLCTimestamp(milliseconds: 1400, counter: 7), physical: 1000)
        #expect(merged == HLCTimestamp(milliseconds: 1400, counter: 8))
        #expect(try clock.observe(HLCTimestamp(milliseconds: 3, counter: 9), physical: 1000) > merged)
    }

    /// One wrong clock draws no other with it, not even little by little; and a clock that is ahead itself is not cut off by that.
    @Test func followsOthersAsFarAsTheyCanBeRight() {
        var clock = HLCState(maxOffset: 500)
        func follows(_ milliseconds: UInt64, counter: UInt16 = 0) -> Bool {
            clock.follow(HLCTimestamp(milliseconds: milliseconds, counter: counter), physical: 1_000)
        }
        #expect(follows(1_400, counter: 3))
        #expect(clock.last == HLCTimestamp(milliseconds: 1_400, counter: 3))
        #expect(follows(900), "it is nothing new")
        #expect(clock.last == HLCTimestamp(milliseconds: 1_400, counter: 3))
        #expect(!follows(1_501))
        #expect(clock.last == HLCTimestamp(milliseconds: 1_400, counter: 3), "a refusal leaves no trace")
        for ahead in stride(from: 1_450 as UInt64, to: 3_000, by: 50) {
            _ = follows(ahead)
        }
        #expect(clock.last.milliseconds == 1_500)
        // Physical time was set back by a minute: others go on from where this clock is.
        clock.restore(last: HLCTimestamp(milliseconds: 60_000, counter: 0))
        #expect(follows(60_300))
        #expect(!follows(60_900))
    }

    @Test func refusesARemoteTimestampTooFarAhead() throws {
        var clock = HLCState(maxOffset: 500)
        let before = clock
        #expect(try clock.observe(HLCTimestamp(milliseconds: 1500, counter: 3), physical: 1000) > .zero)
        clock = before
        do {
            _ = try clock.observe(HLCTimestamp(milliseconds: 1501, counter: 0), physical: 1000)
            Issue.record("accepted")
        } catch {
            #expect(error.code == .failedPrecondition)
            #expect(error.reason == "CLOCK_DRIFT")
        }
        #expect(clock == before, "a refusal leaves no trace")
    }

    @Test func restoredBoundIsBelowEveryLaterTimestamp() {
        var clock = HLCState()
        clock.restore(bound: 9_000)
        #expect(clock.now(physical: 5_000) == HLCTimestamp(milliseconds: 9_000, counter: 0))
        clock.restore(bound: 10)
        #expect(clock.now(physical: 5_000) > HLCTimestamp(milliseconds: 9_000, counter: 0))
        clock.restore(last: HLCTimestamp(milliseconds: 12_000, counter: 4))
        #expect(clock.now(physical: 5_000) == HLCTimestamp(milliseconds: 12_000, counter: 5))
    }

    /// Whatever physical time and peers do, no timestamp comes twice and none goes back.
    @Test(arguments: 0..<50) func isMonotonicUnderAnything(seed: Int) {
        var rng = SeededRNG(seed: UInt64(seed))
        var clock = HLCState()
        var physical: UInt64 = 1_000_000
        var last = HLCTimestamp.zero
        for _ in 0..<2_000 {
            switch UInt8.random(in: 0..<8, using: &rng) {
            case 0: physical -= UInt64.random(in: 0...2_000, using: &rng)
            case 1: physical += UInt64.random(in: 0...3_000, using: &rng)
            case 2:
                clock.restore(bound: physical + UInt64.random(in: 0...10, using: &rng))
                continue
            case 3:
                let remote = HLCTimestamp(
                    milliseconds: physical + UInt64.random(in: 0...1_000, using: &rng),
                    counter: UInt16.random(in: .min ... .max, using: &rng))
                guard let next = try? clock.observe(remote, physical: physical) else { continue }
                #expect(next > last && next > remote, "seed \(seed)")
                last = next
                continue
            default: physical += UInt64.random(in: 0...1, using: &rng)
            }
            let next = clock.now(physical: physical)
            #expect(next > last, "seed \(seed)")
            last = next
        }
    }
}

@Suite struct HLCClockTests {
    @Test func persistsABoundBeforeGoingBeyondIt() {
        let wall = FakeWall(10_000)
        let bounds = Bounds()
        let clock = HLCClock(physical: { wall.now }, persistedBound: { bounds.add($0) })
        #expect(bounds.list.isEmpty)
        #expect(clock.now() == HLCTimestamp(milliseconds: 10_000, counter: 0))
        #expect(bounds.list == [11_000])
        wall.set(10_999)
        _ = clock.now()
        #expect(bounds.list == [11_000], "about once a second, not at each call")
        wall.set(11_000)
        _ = clock.now()
        #expect(bounds.list == [11_000, 12_000])
    }

    @Test func aThreadInTheBackgroundSparesTheCallers() {
        let wall = FakeWall(10_000)
        let bounds = Bounds()
        let clock = HLCClock(physical: { wall.now }, persistedBound: { bounds.add($0) })
        clock.extendBound()
        clock.extendBound()
        #expect(bounds.list == [11_000], "enough is left")
        wall.set(10_400)
        clock.extendBound()
        #expect(bounds.list == [11_000, 11_400])
        wall.set(11_200)
        _ = clock.now()
        #expect(bounds.list == [11_000, 11_400])
    }

    /// Processes killed one after the other, each before physical time has passed the bound of the one before.
    @Test func killsInARowDoNotDriveTheClockAhead() {
        let wall = FakeWall(10_000)
        let bounds = Bounds()
        var last = HLCTimestamp.zero
        for _ in 0..<50 {
            let clock = HLCClock(
                bound: bounds.list.last ?? 0, physical: { wall.now }, persistedBound: { bounds.add($0) })
            clock.extendBound()
            let next = clock.now()
            #expect(next > last)
            last = next
            wall.set(wall.now + 200)
        }
        #expect(last.milliseconds <= wall.now + HLCClock.boundAhead + 100, "\(last.milliseconds) at \(wall.now)")
    }

    @Test func startsAboveTheBoundAfterARestartWithTheClockSetBack() {
        let wall = FakeWall(50_000)
        let bounds = Bounds()
        let first = HLCClock(physical: { wall.now }, persistedBound: { bounds.add($0) })
        var last = HLCTimestamp.zero
        for step in 0..<200 {
            wall.set(50_000 + UInt64(step) * 37)
            last = first.now()
        }
        wall.set(20_000)
        let second = HLCClock(bound: bounds.list.last!, physical: { wall.now }, persistedBound: { bounds.add($0) })
        let next = second.now()
        #expect(next > last)
        #expect(bounds.list == bounds.list.sorted())
        #expect(next.milliseconds < bounds.list.last!)
    }

    @Test func aCleanStopSettlesTheBound() {
        let wall = FakeWall(10_000)
        let bounds = Bounds()
        let clock = HLCClock(physical: { wall.now }, persistedBound: { bounds.add($0) })
        let last = clock.now()
        clock.settleBound()
        #expect(bounds.list.last == 10_001)
        let next = HLCClock(bound: bounds.list.last!, physical: { 10_050 })
        #expect(next.now() > last)
        #expect(next.driftMilliseconds == 0)
        _ = clock.now()
        #expect(bounds.list.count == 2, "the millisecond in hand is covered")
        wall.set(10_001)
        _ = clock.now()
        #expect(bounds.list.last == 11_001)
    }

    @Test func saysHowFarItIsAheadOfPhysicalTime() throws {
        let wall = FakeWall(10_000)
        let clock = HLCClock(physical: { wall.now })
        #expect(try clock.observe(HLCTimestamp(milliseconds: 10_300, counter: 0)).milliseconds == 10_300)
        #expect(clock.driftMilliseconds == 300)
        wall.set(11_000)
        #expect(clock.driftMilliseconds == -700)
        #expect(throws: VecraftError.self) { try clock.observe(HLCTimestamp(milliseconds: 11_501, counter: 0)) }
        clock.restore(last: HLCTimestamp(milliseconds: 90_000, counter: 0))
        #expect(clock.last.milliseconds == 90_000, "its own log is never refused")
    }

    @Test func givesEachThreadItsOwnTimestamps() async {
        let clock = HLCClock(physical: { 77 }, persistedBound: { _ in })
        let all = await withTaskGroup(of: [HLCTimestamp].self) { group in
            for _ in 0..<8 { group.addTask { (0..<5_000).map { _ in clock.now() } } }
            var all: [HLCTimestamp] = []
            for await some in group {
                #expect(zip(some, some.dropFirst()).allSatisfy { $0 < $1 })
                all += some
            }
            return all
        }
        #expect(Set(all).count == 40_000)
    }
}
