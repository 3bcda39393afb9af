import FileStore
import Foundation
import Primitives
import Synchronization
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// Files of a shard at one offset, held while it goes on; and a shard made from them elsewhere.
@Suite(.ownThreads) struct SnapshotTests {
    /// Writes, deletions, seals, merges and checkpoints all the while, the shard's folder removed at the end; each snapshot is read
    /// slowly, and what comes of it is the shard as it was.
    @Test(arguments: (1...12).map { UInt64($0) }) func whatIsReadIsTheShardAtThatOffset(seed: UInt64) throws {
        let disk = FaultyFileStore(seed: seed)
        var rng = SeededRNG(seed: seed &* 31)
        var workload = Workload(seed: seed, extra: seed % 2 == 0)
        for _ in 0..<400 { workload.write() }
        var settings = ShardSettings.tiny(&rng)
        settings.checkpointJournalBytes = Int.random(in: 1_000...20_000, using: &rng)
        let engine = try ShardEngine.open("/data/s", workload, settings, files: disk)
        let written = workload
        let done = Atomic(false)
        let writer = DispatchGroup()
        Thread.detach(in: writer) {
            var rng = SeededRNG(seed: seed)
            do { try engine.replay(written, rng: &rng) } catch { Issue.record("\(error), seed \(seed)") }
            done.store(true, ordering: .releasing)
        }
        var copies: [(snapshot: ShardSnapshot, disk: FaultyFileStore)] = []
        while copies.count < 6 {
            let isLast = done.load(ordering: .acquiring)
            let snapshot = try engine.openSnapshot()
            let copy = FaultyFileStore(seed: seed)
            _ = try receive(snapshot, workload.schema, on: copy, pause: isLast ? 0 : 200)
            snapshot.release()
            copies.append((snapshot, copy))
        }
        writer.wait()
        engine.settle()
        // The one that is held over a merge and the end of the shard.
        let last = try engine.openSnapshot()
        #expect(last.applied == JournalOffset(written.entries.count), "seed \(seed)")
        for _ in 0..<60 { workload.write() }
        try engine.replay(workload, rng: &rng)
        engine.settle()
        engine.abandon()
        try disk.removeTree("/data/s")
        let copy = FaultyFileStore(seed: seed)
        _ = try receive(last, workload.schema, on: copy)
        copies.append((last, copy))
        for (snapshot, disk) in copies {
            disk.restart(.power)
            let again = try ShardEngine.open("/data/s", workload, settings, files: disk)
            #expect(again.opening.restarted == nil, "seed \(seed)")
            #expect(again.opening.quarantined == [], "seed \(seed)")
            #expect(again.applied == snapshot.applied, "seed \(seed)")
            #expect(again.digest == snapshot.digest, "seed \(seed)")
            let found = try again.recomputedState()
            #expect(found.digest == snapshot.digest && found.applied == snapshot.applied, "seed \(seed)")
            #expect(found.points == Int(snapshot.points), "seed \(seed)")
            var judge = Judge(
                engine: again, model: Model(workload, through: again.applied), workload: workload, seed: seed)
            try judge.check(rounds: 1)
            // It goes on from there like any other.
            try again.replay(workload, rng: &rng)
            judge = Judge(engine: again, model: Model(workload, through: again.applied), workload: workload, seed: seed)
            try judge.check(rounds: 1)
            again.abandon()
        }
    }

    /// Two replicas whose segments look nothing alike.
    @Test func digestsAgreeWhateverTheLayout() throws {
        var workload = Workload(seed: 5, extra: true)
        for _ in 0..<200 { workload.write() }
        var rng = SeededRNG(seed: 5)
        var small = ShardSettings.tiny(&rng)
        small.segmentPoints = 25
        let one = try ShardEngine.open("/s", workload, small, files: FaultyFileStore())
        let other = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        try one.replay(workload, rng: &rng)
        try other.replay(workload, rng: &rng)
        one.settle()
        #expect(one.statistics.segments != other.statistics.segments)
        #expect(one.state == other.state)
        #expect(try one.recomputedState() == one.state)
        #expect(try other.recomputedState() == one.state)
        // One entry more, and they differ.
        workload.upsert([workload.point(id: "new")])
        try one.replay(workload, rng: &rng)
        #expect(one.digest != other.digest)
        do {
            _ = try one.recomputedState { true }
            Issue.record("not cancelled")
        } catch {
            #expect(error.code == .cancelled)
        }
        one.abandon()
        other.abandon()
    }

    /// What is wrong in memory or a mapped file is seen by computing the digest anew, and by nothing that is kept.
    @Test func aPointThatChangedIsFoundByItsDigest() throws {
        var workload = Workload(seed: 6, extra: false)
        for _ in 0..<20 { workload.write() }
        let engine = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        try engine.replay(workload)
        #expect(try engine.recomputedState().digest == engine.digest)
        let segment = engine.segments[0]
        let row = (0..<segment.rowCount).first { !segment.deleted[$0] }!
        segment.storage.vector(0, row, stride: segment.shape.columns[0].stride)[0] += 1
        #expect(try engine.recomputedState().digest != engine.digest)
        engine.abandon()
    }

    @Test func aLimitedNumberAndNoneThatNobodyReads() throws {
        var workload = Workload(seed: 7, extra: false)
        for _ in 0..<20 { workload.write() }
        var settings = ShardSettings.plain
        settings.snapshots = 2
        settings.snapshotPatience = .milliseconds(200)
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try engine.replay(workload)
        let first = try engine.openSnapshot()
        var settled = try engine.openSnapshot()
        do {
            // Both may have been left alone for too long on a slow machine: then there is room.
            settled = try engine.openSnapshot()
            #expect(first.isReleased)
        } catch {
            #expect(error.reason == "TOO_MANY_SNAPSHOTS")
            #expect(error.retryAfter != nil)
        }
        // Nobody asks for another: the background releases them.
        let end = ContinuousClock.now + .seconds(120)
        while !(first.isReleased && settled.isReleased), .now < end { usleep(1_000) }
        #expect(first.isReleased && settled.isReleased)
        #expect(engine.openSnapshots == 0)
        do {
            try withUnsafeTemporaryAllocation(byteCount: 4, alignment: 1) { (buffer) throws(VecraftError) in
                try first.read(file: 0, at: 0, into: buffer)
            }
            Issue.record("read after its release")
        } catch {
            #expect(error.reason == "SNAPSHOT_RELEASED")
        }
        _ = try engine.openSnapshot()
        engine.abandon()
    }

    /// Files that were removed give their room back only when no snapshot holds them.
    @Test func aFullDiskKeepsNoSnapshotThatNobodyReads() throws {
        let disk = FaultyFileStore(seed: 9)
        var workload = Workload(seed: 9, extra: false)
        for _ in 0..<40 { workload.write() }
        var settings = ShardSettings.plain
        settings.checkpointJournalBytes = 2_000
        // Longer than it takes to fail for the first time.
        settings.snapshotPatience = .seconds(2)
        let engine = try ShardEngine.open("/s", workload, settings, files: disk)
        var rng = SeededRNG(seed: 9)
        try engine.replay(workload, through: 20, rng: &rng)
        let snapshot = try engine.openSnapshot()
        disk.setCapacity(disk.usedBytes)
        // From now on every piece of background work fails.
        try engine.replay(workload)
        let end = ContinuousClock.now + .seconds(300)
        while engine.statistics.backgroundFailures == 0, .now < end { usleep(1_000) }
        while !snapshot.isReleased, .now < end { usleep(1_000) }
        #expect(snapshot.isReleased)
        #expect(engine.statistics.backgroundFailures > 0)
        disk.setCapacity(1 << 30)
        engine.abandon()
    }

    /// A disk that takes no more still gives what it has.
    @Test func aFullDiskGivesTheLastCheckpoint() throws {
        let disk = FaultyFileStore(seed: 8)
        var workload = Workload(seed: 8, extra: false)
        for _ in 0..<20 { workload.write() }
        let engine = try ShardEngine.open("/s", workload, .plain, files: disk)
        try engine.replay(workload)
        try engine.checkpoint()
        for _ in 0..<20 { workload.write() }
        try engine.replay(workload)
        disk.setCapacity(disk.usedBytes)
        let snapshot = try engine.openSnapshot()
        #expect(snapshot.applied == 20)
        #expect(snapshot.digest != engine.digest)
        disk.setCapacity(1 << 30)
        #expect(try engine.openSnapshot().applied == 40)
        engine.abandon()
    }
}

/// Sends a snapshot's files into the folder aside of a shard on another disk, as the wire does.
/// - Parameters:
///   - pause: Microseconds between two chunks.
///   - chunkBytes: Small, so that there are several.
/// - Returns: Files that had to be sent.
@discardableResult
func receive(
    _ snapshot: ShardSnapshot, _ schema: CollectionSchema, on disk: any FileStore, directory: String = "/data/s",
    chunkBytes: Int = 3_000, pause: UInt32 = 0, finishing: Bool = true, atMost chunks: Int = .max
) throws -> Int {
    let incoming = try ShardIncoming(directory: directory, schema: schema, shard: snapshot.shard, files: disk)
    let held = try incoming.held()
    _ = try snapshot.manifest.withBytes { (raw) throws(VecraftError) in try incoming.begin(manifest: raw, held: held) }
    var sent = 0
    var left = chunks
    for (index, file) in snapshot.files.enumerated() where !held.contains(file) {
        var position = 0
        while position < Int(file.bytes) {
            if left == 0 { return sent }
            left -= 1
            let count = min(chunkBytes, Int(file.bytes) - position)
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
            defer { buffer.deallocate() }
            try snapshot.read(file: index, at: position, into: buffer)
            let raw = UnsafeRawBufferPointer(buffer)
            let isWhole = try incoming.write(file: index, at: UInt64(position), checksum: shardChecksum(raw), raw)
            position += count
            #expect(isWhole == (position == Int(file.bytes)))
            if pause > 0 { usleep(pause) }
        }
        sent += 1
    }
    if finishing { try incoming.finish() }
    return sent
}
