import Filter
import Foundation
import Primitives
import Synchronization
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// Searchers, one applier, merges, seals and checkpoints at once.
@Suite(.ownThreads) struct ConcurrencyTests {
    /// Every entry rewrites one whole family of points with one number; a reader that ever sees two numbers in a family has
    /// seen half an entry.
    @Test func readersSeeWholeEntriesOnly() throws {
        let families = 6
        let members = 15
        var workload = Workload(seed: 31, dimension: 8, metric: .l2, extra: false)
        var rng = SeededRNG(seed: 31)
        for round in 0..<400 {
            let family = round % families
            workload.upsert(
                (0..<members).map { member in
                    Point(
                        id: "f\(family)-\(member)", vectors: ["": (0..<8).map { _ in workload.float() }],
                        payload: Array("{\"city\":\"f\(family)\",\"n\":\(round)}".utf8))
                })
        }
        var settings = ShardSettings.tiny(&rng)
        settings.segmentPoints = 100
        settings.graphFrom = 20
        settings.checkpointJournalBytes = 20_000
        settings.indexThreads = 2
        settings.filterGraphAfter = 0
        settings.filterGraphShare = 8
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        let wrong = Mutex<[String]>([])
        let done = Atomic<Bool>(false)
        let group = DispatchGroup()
        for reader in 0..<3 {
            Thread.detach(in: group) {
                var rng = SeededRNG(seed: UInt64(reader))
                while !done.load(ordering: .relaxed) {
                    do {
                        let family = Int.random(in: 0..<families, using: &rng)
                        let filter = Filter(must: [.match("city", .string("f\(family)"))])
                        let query = (0..<8).map { _ in Float.random(in: -1...1, using: &rng) }
                        let batches = [
                            try engine.search(query, limit: 50, filter: filter).points,
                            try engine.search(query, limit: 50, filter: filter, exact: true).points,
                            try engine.scroll(after: nil, filter: filter, limit: 100).points,
                            try engine.get(
                                ids: (0..<members).map { "f\(family)-\($0)" }, withVectors: false, withPayload: true
                            ).points,
                        ]
                        for (kind, batch) in batches.enumerated() {
                            let payloads = Set(
                                (0..<batch.count).map { String(decoding: batch.payload($0)!, as: UTF8.self) })
                            if payloads.count > 1 || batch.count != (payloads.isEmpty ? 0 : members) {
                                wrong.withLock { $0.append("kind \(kind): \(batch.count) points of \(payloads)") }
                            }
                        }
                        let count = try engine.count(filter).count
                        if count != 0, count != members { wrong.withLock { $0.append("count \(count)") } }
                    } catch {
                        wrong.withLock { $0.append("\(error)") }
                    }
                }
            }
        }
        try engine.replay(workload, rng: &rng)
        engine.settle()
        done.store(true, ordering: .relaxed)
        group.wait()
        #expect(wrong.withLock { Array($0.prefix(5)) } == [])
        #expect(engine.statistics.merges + engine.statistics.seals > 0)
        #expect(engine.statistics.backgroundFailures == 0)
        var judge = Judge(
            engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: 31)
        try judge.check(rounds: 2)
        try engine.close()
    }

    /// A point that is never touched is met exactly once by every scroll, whatever goes on around it.
    @Test func scrollsAreCompleteUnderChurn() throws {
        var workload = Workload(seed: 32, dimension: 8, extra: false, idPool: 300)
        let steady = (0..<200).map { "steady-\($0)" }
        for id in steady { workload.upsert([workload.point(id: id)]) }
        let churnFrom = workload.entries.count
        for _ in 0..<1_500 { workload.write() }
        // Whatever a filter deletes is not steady.
        let model = Model(workload, through: JournalOffset(workload.entries.count))
        let survivors = steady.filter { model.points[$0]?.version.milliseconds ?? 0 > 0 }
        #expect(survivors.count > 20)
        var rng = SeededRNG(seed: 32)
        var settings = ShardSettings.tiny(&rng)
        settings.segmentPoints = 120
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try engine.replay(workload, through: churnFrom, rng: &rng)
        let wrong = Mutex<[String]>([])
        let scrolls = Atomic<Int>(0)
        let done = Atomic<Bool>(false)
        let group = DispatchGroup()
        Thread.detach(in: group) {
            repeat {
                do {
                    let ids = try engine.scrollAll(nil, page: 23)
                    for (a, b) in zip(ids, ids.dropFirst()) where !a.utf8.lexicographicallyPrecedes(b.utf8) {
                        wrong.withLock { $0.append("\(a) before \(b)") }
                    }
                    let missing = Set(survivors).subtracting(ids)
                    if !missing.isEmpty { wrong.withLock { $0.append("missed \(missing.prefix(3))") } }
                    scrolls.wrappingAdd(1, ordering: .relaxed)
                } catch {
                    wrong.withLock { $0.append("\(error)") }
                }
            } while !done.load(ordering: .relaxed)
        }
        try engine.replay(workload, rng: &rng)
        done.store(true, ordering: .relaxed)
        group.wait()
        #expect(wrong.withLock { Array($0.prefix(5)) } == [])
        #expect(scrolls.load(ordering: .relaxed) > 0)
        try engine.close()
    }

    /// Many shards on one set of threads, opened and closed while they work.
    @Test func shardsShareWorkers() throws {
        let workers = ShardWorkers(threads: 2)
        var rng = SeededRNG(seed: 33)
        for round in 0..<4 {
            var engines: [(ShardEngine, Workload)] = []
            for i in 0..<5 {
                var workload = Workload(seed: UInt64(round * 10 + i))
                for _ in 0..<60 { workload.write() }
                let engine = try ShardEngine.open(
                    "/s\(i)", workload, ShardSettings.tiny(&rng), files: FaultyFileStore(), workers: workers)
                try engine.replay(workload, rng: &rng)
                engines.append((engine, workload))
            }
            for (i, (engine, workload)) in engines.enumerated() {
                if i % 2 == 0 { engine.settle() }
                var judge = Judge(
                    engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: 33)
                try judge.check(rounds: 1)
                if i % 2 == 0 { try engine.close() } else { engine.abandon() }
            }
        }
        workers.stop()
    }
}

extension Thread {
    static func detach(in group: DispatchGroup, _ body: @escaping @Sendable () -> Void) {
        group.enter()
        Thread.detachNewThread {
            body()
            group.leave()
        }
    }
}
