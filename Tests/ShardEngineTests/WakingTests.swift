import Dispatch
import Filter
import Glibc
import HNSW
import JournalFormat
import Primitives
import Synchronization
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// Says what a test tells it to, step by step.
private final class Puppet: BackgroundWork {
    private let entered = DispatchSemaphore(value: 0)
    private let answers = Mutex<[(gate: DispatchSemaphore, outcome: StepOutcome)]>([])
    private let otherwise: StepOutcome
    let steps = Atomic<Int>(0)

    init(otherwise: StepOutcome) { self.otherwise = otherwise }

    /// The next step not spoken for comes to this once `gate` is open.
    func next(_ gate: DispatchSemaphore, _ outcome: StepOutcome) {
        self.answers.withLock { $0.append((gate, outcome)) }
    }

    func step(_ scratch: SearchScratch) -> StepOutcome {
        let answer = self.answers.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        self.steps.wrappingAdd(1, ordering: .relaxed)
        guard let answer else { return self.otherwise }
        self.entered.signal()
        answer.gate.wait()
        return answer.outcome
    }

    func waitUntilStepped() -> Bool { self.entered.wait(timeout: .now() + 300) == .success }
}

/// Whatever leaves work for the background wakes it: nothing waits for a later entry that may never come.
@Suite(.ownThreads) struct WakingTests {
    private static var settings: ShardSettings {
        var settings = ShardSettings()
        settings.segmentPoints = 64
        settings.graphFrom = 16
        settings.mergeFanIn = 2
        settings.deletedRatio = 0.9
        settings.unlinkedPoints = 0
        settings.indexThreads = 1
        return settings
    }

    private static func points(_ workload: inout Workload, _ ids: Range<Int>) -> [Point] {
        ids.map { id in
            Point(id: "p\(id)", vectors: ["": (0..<workload.dimension).map { _ in workload.float() }], payload: nil)
        }
    }

    /// Entries without points are journal, too: a restart reads all since the last checkpoint.
    @Test func entriesWithoutPointsMakeACheckpointDue() throws {
        var workload = Workload(seed: 51, extra: false)
        for _ in 0..<40 { workload.append(.barrier) }
        var settings = Self.settings
        settings.checkpointJournalBytes = workload.entries.reduce(0) { $0 + $1.bytes.count }
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        for entry in workload.entries.dropLast() { try engine.apply([entry]) }
        // So that the background has seen that there is nothing to do, and sleeps.
        usleep(50_000)
        #expect(engine.statistics.checkpoints == 0)
        try engine.apply([workload.entries.last!])
        let end = ContinuousClock.now + .seconds(300)
        while engine.statistics.checkpoints == 0, .now < end { usleep(100) }
        #expect(engine.statistics.checkpoints == 1)
        #expect(engine.statistics.checkpointed == 40)
        try engine.close()
    }

    /// Far from being worn, a segment is of another size than before, and there is one of that size.
    @Test(arguments: [false, true]) func aDeletionThatMakesSegmentsEqualMergesThem(byFilter: Bool) throws {
        var workload = Workload(seed: 52, dimension: 8, metric: .l2, extra: false)
        workload.upsert(Self.points(&workload, 0..<64))
        workload.append(.delete((0..<24).map { "p\($0)" }))
        workload.upsert(Self.points(&workload, 64..<128))
        let last = (64..<88).map { "p\($0)" }
        workload.append(byFilter ? .deleteByFilter(Filter(must: [.hasID(last)])) : .delete(last))
        let engine = try ShardEngine.open("/s", workload, Self.settings, files: FaultyFileStore())
        for entry in workload.entries.dropLast() {
            try engine.apply([entry])
            engine.settle()
        }
        #expect(engine.statistics.merges == 0)
        #expect(engine.statistics.sealedSegments == 2)
        try engine.apply([workload.entries.last!])
        engine.settle()
        #expect(engine.statistics.merges == 1)
        #expect(engine.statistics.sealedSegments == 1)
        #expect(engine.statistics.points == 80)
        try engine.close()
    }

    /// The applying thread may link a segment's last rows when the background has looked in vain and gone to sleep.
    @Test func whatIsLinkedByTheApplyingThreadIsSealed() throws {
        var settings = Self.settings
        settings.mergeFanIn = 64
        var workload = Workload(seed: 53, dimension: 8, metric: .l2, extra: false)
        for segment in 0..<60 { workload.upsert(Self.points(&workload, segment * 64..<segment * 64 + 64)) }
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        for (i, entry) in workload.entries.enumerated() {
            try engine.apply([entry])
            engine.settle()
            #expect(engine.statistics.sealedSegments == i + 1)
        }
        try engine.close()
    }

    /// A thread looks in vain because another is just finishing what it looks for, is late to say so, and the other has gone on
    /// to other work: it must look again.
    @Test func whoFinishesIsNotForgottenForWhoFoundNothing() {
        let workers = ShardWorkers(threads: 2)
        let (finishes, finds, other) = (
            DispatchSemaphore(value: 0), DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)
        )
        // Always has something to do, so that both threads have a choice.
        let busy = Puppet(otherwise: .worked)
        workers.add(busy)
        let work = Puppet(otherwise: .idle)
        work.next(finishes, .worked)
        work.next(finds, .idle)
        workers.add(work)
        #expect(work.waitUntilStepped())
        #expect(work.waitUntilStepped())
        // Both are in, so the other source is next for whoever comes out.
        busy.next(other, .worked)
        finishes.signal()
        #expect(busy.waitUntilStepped())
        finds.signal()
        let end = ContinuousClock.now + .seconds(300)
        while work.steps.load(ordering: .relaxed) < 3, .now < end { usleep(100) }
        #expect(work.steps.load(ordering: .relaxed) >= 3)
        other.signal()
        workers.remove(work)
        workers.remove(busy)
        workers.stop()
    }

    /// A dropped collection waits for no graph that is being written, and giving it up is no failure.
    @Test func whatIsAbandonedIsGivenUpWithoutAFailure() throws {
        var settings = Self.settings
        settings.segmentPoints = 600
        settings.unlinkedPoints = 600
        var workload = Workload(seed: 54, dimension: 32, metric: .l2, extra: false)
        for batch in 0..<4 { workload.upsert(Self.points(&workload, batch * 300..<batch * 300 + 300)) }
        var rng = SeededRNG(seed: 54)
        for _ in 0..<40 {
            let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
            try engine.replay(workload, rng: &rng)
            usleep(UInt32.random(in: 0...20_000, using: &rng))
            engine.abandon()
            #expect(engine.counters.backgroundFailures.load(ordering: .relaxed) == 0)
        }
    }
}
