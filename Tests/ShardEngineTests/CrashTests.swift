import FileStore
import Foundation
import JournalFormat
import Primitives
import Synchronization
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// The process dies, or the power goes, at any call to the disk: what a start finds is a state the shard once had, and the
/// journal brings it on from there.
@Suite(.ownThreads) struct CrashTests {
    @Test(arguments: (1...24).map { UInt64($0) }) func aCrashAnywhereLosesNothingTheJournalHas(seed: UInt64) throws {
        let crash = [FaultyFileStore.Crash.process, .power, .powerTearing][Int(seed % 3)]
        let disk = FaultyFileStore(seed: seed)
        var rng = SeededRNG(seed: seed &* 977)
        var workload = Workload(seed: seed, extra: seed % 2 == 0)
        var settings = ShardSettings.tiny(&rng)
        settings.checkpointJournalBytes = Int.random(in: 500...8_000, using: &rng)
        for life in 0..<8 {
            disk.powerOff(afterCalls: Int.random(in: 0...120, using: &rng))
            if let engine = try? ShardEngine.open("/data/s", workload, settings, files: disk) {
                #expect(engine.opening.restarted == nil, "life \(life), seed \(seed)")
                for _ in 0..<Int.random(in: 5...40, using: &rng) { workload.write() }
                // Without a disk the shard goes on in memory.
                try engine.replay(workload, rng: &rng)
                // Also while sealed graphs are written again.
                engine.requantise(
                    workload.schema.vectors.map { _ in Quantisation.allCases.randomElement(using: &rng)! })
                if Bool.random(using: &rng) { engine.settleOrFail() }
                var judge = Judge(
                    engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: seed)
                try judge.check(rounds: 1)
                workload.rng = judge.workload.rng
                if Bool.random(using: &rng) { try? engine.close() } else { engine.abandon() }
            }
            disk.restart(crash)
            let engine = try ShardEngine.open("/data/s", workload, settings, files: disk)
            #expect(engine.opening.restarted == nil, "life \(life), seed \(seed)")
            #expect(engine.opening.quarantined == [], "life \(life), seed \(seed)")
            #expect(Int(engine.applied) <= workload.entries.count, "life \(life), seed \(seed)")
            var judge = Judge(
                engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: seed)
            try judge.check(rounds: 1)
            workload.rng = judge.workload.rng
            try engine.replay(workload, rng: &rng)
            judge = Judge(
                engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: seed)
            try judge.check(rounds: 1)
            workload.rng = judge.workload.rng
            engine.abandon()
            disk.restart(crash)
        }
    }

    @Test func nothingIsLeftBehind() throws {
        // Every file on the disk is listed in the manifest, after any number of merges and checkpoints.
        let disk = FaultyFileStore(seed: 3)
        var rng = SeededRNG(seed: 3)
        var workload = Workload(seed: 3)
        var settings = ShardSettings.tiny(&rng)
        settings.segmentPoints = 30
        let engine = try ShardEngine.open("/data/s", workload, settings, files: disk)
        for _ in 0..<300 { workload.write() }
        try engine.replay(workload, rng: &rng)
        engine.settle()
        try engine.close()
        #expect(engine.statistics.merges > 0)
        let again = try ShardEngine.open("/data/s", workload, settings, files: disk)
        #expect(again.opening.orphansRemoved == 0)
        again.abandon()
    }

    @Test func aFullDiskIsCountedAndPasses() throws {
        let disk = FaultyFileStore(seed: 4)
        var rng = SeededRNG(seed: 4)
        var workload = Workload(seed: 4)
        let events = Events()
        let engine = try ShardEngine.open("/data/s", workload, .plain, files: disk, observer: events)
        for _ in 0..<30 { workload.write() }
        try engine.replay(workload, rng: &rng)
        try engine.checkpoint()
        let checkpointed = engine.statistics.checkpointed
        for _ in 0..<60 { workload.write() }
        try engine.replay(workload, rng: &rng)
        disk.setCapacity(disk.usedBytes + 300)
        #expect(throws: VecraftError.self) { try engine.checkpoint() }
        do {
            try engine.checkpoint()
        } catch {
            #expect(error.code == .resourceExhausted)
            #expect(error.reason == "DISK_FULL")
        }
        #expect(engine.statistics.checkpointFailures == 2)
        #expect(engine.statistics.checkpointed == checkpointed)
        #expect(events.all.contains { if case .checkpointFailed = $0 { true } else { false } })
        // The shard goes on.
        for _ in 0..<10 { workload.write() }
        try engine.replay(workload, rng: &rng)
        disk.setCapacity(1 << 30)
        try engine.checkpoint()
        #expect(engine.statistics.checkpointed == JournalOffset(workload.entries.count))
        engine.abandon()
        disk.restart(.power)
        let again = try ShardEngine.open("/data/s", workload, .plain, files: disk)
        #expect(again.applied == JournalOffset(workload.entries.count))
        var judge = Judge(engine: again, model: Model(workload, through: again.applied), workload: workload, seed: 4)
        try judge.check()
        again.abandon()
    }

    @Test func aFailedSyncIsNotTakenForSuccess() throws {
        let disk = FaultyFileStore(seed: 5)
        var rng = SeededRNG(seed: 5)
        var workload = Workload(seed: 5)
        let engine = try ShardEngine.open("/data/s", workload, .plain, files: disk)
        for round in 0..<12 {
            for _ in 0..<15 { workload.write() }
            try engine.replay(workload, rng: &rng)
            disk.inject(.ioError(.sync, after: round % 7))
            #expect(throws: VecraftError.self) { try engine.checkpoint() }
            disk.clearFaults()
            try engine.checkpoint()
            let copy = disk.copy()
            copy.restart(.power)
            let again = try ShardEngine.open("/data/s", workload, .plain, files: copy)
            #expect(again.applied == engine.applied, "round \(round)")
            #expect(again.digest == engine.digest, "round \(round)")
            again.abandon()
        }
        engine.abandon()
    }
}

extension ShardEngine {
    /// As ``settle()``, but a disk that is off ends the wait.
    func settleOrFail() {
        for _ in 0..<2_000 {
            if self.counters.backgroundFailures.load(ordering: .relaxed) > 0 { return }
            let busy = self.lock.reading { self.segments.contains { $0.state == .closed || $0.isMerging } }
            if !busy, !self.isCheckpointDue { return }
            usleep(200)
        }
    }
}
