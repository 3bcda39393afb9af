import FileStore
import Foundation
import HNSW
import Primitives
import Synchronization
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

extension ShardEngine {
    /// Returns when no background work is in hand, and none will be.
    fileprivate func stopMaintenance() { self.workers.remove(self) }
}

/// The codes of a collection change while it serves.
@Suite(.ownThreads) struct RecodeTests {
    private static func workload(_ seed: UInt64) -> Workload {
        var workload = Workload(seed: seed, dimension: 32, extra: false, quantisation: .int8)
        for batch in 0..<12 {
            workload.upsert(
                (0..<100).map { i in
                    Point(
                        id: "p\(batch * 100 + i)", vectors: ["": (0..<32).map { _ in workload.float() }], payload: nil)
                })
        }
        return workload
    }

    private static var settings: ShardSettings {
        var settings = ShardSettings()
        settings.segmentPoints = 400
        settings.graphFrom = 100
        settings.mergeFanIn = 64
        return settings
    }

    private func kinds(_ engine: ShardEngine) -> Set<CodeKind> {
        engine.lock.reading { Set(engine.segments.filter { $0.state == .sealed }.map { $0.graphs[0]!.kind }) }
    }

    private func waitForCodes(_ engine: ShardEngine) {
        let end = ContinuousClock.now + .seconds(600)
        while ContinuousClock.now < end {
            if engine.statistics.recodingSegments == 0 { return }
            usleep(100)
        }
        Issue.record("graphs were not written again")
    }

    @Test func sealedGraphsFollowWhileSearchesGoOn() throws {
        let workload = Self.workload(51)
        let files = FaultyFileStore()
        let events = Events()
        let engine = try ShardEngine.open("/s", workload, Self.settings, files: files, observer: events)
        try engine.replay(workload)
        engine.settle()
        #expect(engine.statistics.sealedSegments == 3 && self.kinds(engine) == [.int8])
        let names = try files.list("/s")

        let done = Atomic<Bool>(false)
        let wrong = Mutex<[String]>([])
        let group = DispatchGroup()
        let model = Model(workload, through: engine.applied)
        Thread.detach(in: group) {
            var judge = Judge(engine: engine, model: model, workload: workload, seed: 51)
            repeat {
                do { try judge.check(rounds: 1) } catch { wrong.withLock { $0.append("\(error)") } }
            } while !done.load(ordering: .relaxed)
        }
        for (asked, kind) in [(Quantisation.int4, CodeKind.int4), (.none, .none), (.int8, .int8)] {
            engine.requantise([asked])
            self.waitForCodes(engine)
            #expect(self.kinds(engine) == [kind])
        }
        #expect(engine.statistics.recodings == 9)
        // Measured anew: whatever holds is taken, and then nothing is left to do.
        engine.requantise([.auto])
        self.waitForCodes(engine)
        #expect(engine.statistics.recodings == 12)
        done.store(true, ordering: .relaxed)
        group.wait()
        #expect(wrong.withLock { $0 } == [])
        // Told of, and made durable, after it is in place.
        engine.stopMaintenance()
        #expect(events.all.filter { if case .recoded = $0 { true } else { false } }.count == 12)
        try engine.checkpoint()
        #expect(try files.list("/s").count == names.count, "files of old graphs are gone")
        #expect(engine.statistics.backgroundFailures == 0)
        try engine.close()
    }

    /// What a start finds in files is held against the schema it is opened with.
    @Test func aChangeIsFinishedAfterARestart() throws {
        let workload = Self.workload(52)
        let files = FaultyFileStore()
        let before = try ShardEngine.open("/s", workload, Self.settings, files: files)
        try before.replay(workload)
        before.settle()
        try before.close()
        var schema = workload.schema
        schema.vectors[0].quantisation = .none
        let engine = try ShardEngine(
            directory: "/s", schema: schema, shard: 0, settings: Self.settings, files: files, observer: nil)
        self.waitForCodes(engine)
        #expect(engine.opening.quarantined == [] && self.kinds(engine) == [.none])
        try engine.close()
        let again = try ShardEngine(
            directory: "/s", schema: schema, shard: 0, settings: Self.settings, files: files, observer: nil)
        #expect(again.statistics.recodingSegments == 0 && self.kinds(again) == [.none])
        var judge = Judge(engine: again, model: Model(workload, through: again.applied), workload: workload, seed: 52)
        try judge.check(rounds: 2)
        again.abandon()
        // Another metric or dimension is another collection, as before.
        schema.vectors[0].metric = .dot
        #expect(throws: VecraftError.self) {
            try ShardEngine(
                directory: "/s", schema: schema, shard: 0, settings: Self.settings, files: files, observer: nil)
        }
    }

    /// The old graph serves on, and the work is done when there is room again.
    @Test func aFullDiskPutsItOff() throws {
        let workload = Self.workload(53)
        let files = FaultyFileStore()
        let engine = try ShardEngine.open("/s", workload, Self.settings, files: files)
        try engine.replay(workload)
        engine.settle()
        try engine.checkpoint()
        files.setCapacity(files.usedBytes + 2_000)
        engine.requantise([.none])
        let end = ContinuousClock.now + .seconds(600)
        while engine.statistics.backgroundFailures == 0, ContinuousClock.now < end { usleep(100) }
        #expect(self.kinds(engine) == [.int8] && engine.statistics.recodingSegments == 3)
        var judge = Judge(engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: 53)
        try judge.check(rounds: 1)
        files.setCapacity(1 << 30)
        self.waitForCodes(engine)
        #expect(self.kinds(engine) == [.none])
        try engine.close()
    }
}
