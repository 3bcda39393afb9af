import Dispatch
import HNSW
import Primitives
import Synchronization
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// Keeps the one thread of its workers for itself until it is told to go on.
private final class Hog: BackgroundWork {
    private let entered = DispatchSemaphore(value: 0)
    private let end = DispatchSemaphore(value: 0)
    private let isDone = Atomic<Bool>(false)

    func step(_ scratch: SearchScratch) -> StepOutcome {
        if self.isDone.load(ordering: .relaxed) { return .idle }
        self.entered.signal()
        self.end.wait()
        self.isDone.store(true, ordering: .relaxed)
        return .idle
    }
    func waitUntilBusy() { self.entered.wait() }
    func release() { self.end.signal() }
}

/// How many applied rows wait for their links.
@Suite(.ownThreads) struct LinkingTests {
    private static func workload(_ seed: UInt64, batches: Int, of rows: Int) -> Workload {
        var workload = Workload(seed: seed, dimension: 16, metric: .l2, extra: false)
        for batch in 0..<batches {
            workload.upsert(
                (0..<rows).map { i in
                    Point(
                        id: "p\(batch * rows + i)", vectors: ["": (0..<16).map { _ in workload.float() }], payload: nil)
                })
        }
        return workload
    }

    private static var settings: ShardSettings {
        var settings = ShardSettings()
        settings.segmentPoints = 700
        settings.graphFrom = 100
        settings.mergeFanIn = 64
        settings.unlinkedPoints = 150
        settings.publishRows = 1
        return settings
    }

    /// No background thread is free: who applies links what is too much, and searches find all the same.
    @Test func applyingKeepsTheRowsThatWaitFew() throws {
        let workload = Self.workload(41, batches: 60, of: 40)
        let workers = ShardWorkers(threads: 1)
        let hog = Hog()
        workers.add(hog)
        hog.waitUntilBusy()
        let engine = try ShardEngine.open("/s", workload, Self.settings, files: FaultyFileStore(), workers: workers)
        var most = 0
        for end in 1...workload.entries.count {
            try engine.apply([workload.entries[end - 1]])
            most = max(most, engine.lock.reading { engine.segments.reduce(0) { $0 + $1.waitingRows } })
            if end % 15 == 0 {
                let model = Model(workload, through: engine.applied)
                var judge = Judge(engine: engine, model: model, workload: workload, seed: 41)
                try judge.check(rounds: 2)
            }
        }
        #expect(most > 100 && most <= 150, "\(most) rows waited")
        // Every segment that wants a graph has one, without any help from the background.
        #expect(engine.lock.reading { engine.segments.allSatisfy { $0.rowCount < 100 || $0.graphs[0] != nil } })
        hog.release()
        engine.settle()
        #expect(engine.statistics.indexedVectors == engine.statistics.totalVectors)
        engine.abandon()
        workers.remove(hog)
        workers.stop()
    }

    /// A merge of whole segments begins with the links of the first; one of worn segments links all anew.
    @Test func mergesTakeOverTheLargestGraph() throws {
        var workload = Self.workload(43, batches: 20, of: 40)
        var settings = Self.settings
        settings.segmentPoints = 200
        settings.mergeFanIn = 4
        settings.unlinkedPoints = 1_000
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try engine.replay(workload)
        engine.settle()
        #expect(engine.statistics.merges == 1 && engine.statistics.adoptedVectors == 200)
        var judge = Judge(engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: 43)
        try judge.check(rounds: 3)
        // Recall of the merged graph: nearly all of the ten nearest, with many candidates.
        var found = 0
        for _ in 0..<20 {
            let query = (0..<16).map { _ in workload.float() }
            let exact = try engine.search(query, limit: 10, exact: true).points.ids
            found += Set(exact).intersection(try engine.search(query, limit: 10, ef: 200).points.ids).count
        }
        #expect(found >= 195, "\(found) of 200")
        workload.append(.delete((0..<800).filter { $0 % 3 == 0 }.map { "p\($0)" }))
        try engine.replay(workload)
        engine.settle()
        #expect(engine.statistics.merges == 2)
        #expect(engine.statistics.adoptedVectors == 200)
        judge = Judge(engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: 43)
        try judge.check(rounds: 3)
        try engine.close()
    }

    /// What a restart finds unlinked is linked a little with each entry, and does not hold the first one up.
    @Test func aBacklogDoesNotStopReplay() throws {
        let workload = Self.workload(42, batches: 40, of: 16)
        let files = FaultyFileStore()
        var settings = Self.settings
        settings.graphFrom = 1_000
        let before = try ShardEngine.open("/s", workload, settings, files: files)
        for entry in workload.entries.dropLast(4) { try before.apply([entry]) }
        try before.close()
        settings.graphFrom = 100
        settings.unlinkedPoints = 0
        let workers = ShardWorkers(threads: 1)
        let hog = Hog()
        workers.add(hog)
        hog.waitUntilBusy()
        let engine = try ShardEngine.open("/s", workload, settings, files: files, workers: workers)
        for (i, entry) in workload.entries.suffix(4).enumerated() {
            try engine.apply([entry])
            let linked = engine.lock.reading { engine.segments[0].linkedRows(0) }
            // 16 rows a time: at most twice as many are linked, in steps of 32.
            #expect(linked == 32 * (i + 1))
        }
        hog.release()
        engine.settle()
        engine.abandon()
        workers.remove(hog)
        workers.stop()
    }
}
