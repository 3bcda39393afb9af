import FileStore
import Foundation
import Primitives
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// A shard on its way in: whole or not there, whatever happens to the process, the disk and the bytes.
@Suite(.ownThreads) struct IncomingTests {
    /// A shard with some segments, and one that is far behind it.
    private struct Place {
        var workload: Workload
        let source: ShardEngine
        let snapshot: ShardSnapshot
        /// `/data/s` as it was before.
        let before: FaultyFileStore
        let old: UInt64
        static let stale = 30

        init(seed: UInt64, hasOld: Bool) throws {
            var workload = Workload(seed: seed, extra: seed % 2 == 0, idPool: 60)
            for _ in 0..<90 { workload.write() }
            var rng = SeededRNG(seed: seed)
            var settings = ShardSettings.plain
            settings.segmentPoints = 60
            // Sealed segments stay as they are.
            settings.mergeFanIn = 64
            settings.deletedRatio = 1
            self.before = FaultyFileStore(seed: seed)
            try self.before.createDirectory("/data")
            let stale = try ShardEngine.open(
                hasOld ? "/data/s" : "/elsewhere/s", workload, settings, files: self.before)
            try stale.replay(workload, through: Self.stale, rng: &rng)
            try stale.close()
            self.old = stale.digest
            self.source = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
            try self.source.replay(workload, rng: &rng)
            self.source.settle()
            self.snapshot = try self.source.openSnapshot()
            self.workload = workload
        }
    }

    /// The power goes, or the process dies, at each call to the disk in turn. What a start finds is the shard that was there, or
    /// the new one; the transfer goes on from what came whole.
    @Test(arguments: [true, false], [FaultyFileStore.Crash.process, .power, .powerTearing])
    func aCrashAnywhereLeavesOneOfTheTwo(hasOld: Bool, crash: FaultyFileStore.Crash) throws {
        let place = try Place(seed: hasOld ? 2 : 3, hasOld: hasOld)
        defer { place.source.abandon() }
        var calls = 0
        var resumed = 0
        while true {
            let disk = place.before.copy(seed: UInt64(calls))
            disk.powerOff(afterCalls: calls)
            let isThrough = (try? receive(place.snapshot, place.workload.schema, on: disk)) != nil
            let wasOff = disk.isPowerOff
            disk.restart(crash)
            try ShardIncoming.mend("/data", disk)
            if disk.exists("/data/s") {
                let engine = try ShardEngine.open("/data/s", place.workload, .plain, files: disk)
                #expect(engine.opening.restarted == nil, "call \(calls)")
                let isOld = engine.digest == place.old && engine.applied == Place.stale
                let isNew = engine.digest == place.snapshot.digest && engine.applied == place.snapshot.applied
                #expect(hasOld && isOld || isNew, "call \(calls): \(engine.applied)")
                #expect(isNew || !isThrough, "call \(calls)")
                #expect(try engine.recomputedState().digest == engine.digest, "call \(calls)")
                engine.abandon()
            } else {
                #expect(!hasOld && !isThrough, "call \(calls): nothing is left")
            }
            // Whatever is there, the next attempt ends well, and sends no file twice that had come whole.
            let sent = try receive(place.snapshot, place.workload.schema, on: disk)
            if sent < place.snapshot.files.count { resumed += 1 }
            let engine = try ShardEngine.open("/data/s", place.workload, .plain, files: disk)
            #expect(engine.digest == place.snapshot.digest, "call \(calls)")
            engine.abandon()
            #expect(try disk.list("/data").filter(ShardIncoming.isAside) == [], "call \(calls)")
            if !wasOff { break }
            calls += 1
        }
        #expect(calls > 20, "\(calls) calls")
        #expect(resumed > 0)
    }

    /// Each call fails once, with a full disk or a broken one, and the process goes on: the attempt fails, the next does not.
    @Test(arguments: [28 /* ENOSPC */, 5 /* EIO */] as [Int32]) func aFaultAnywhereFailsTheAttemptAlone(
        errno: Int32
    ) throws {
        let place = try Place(seed: 4, hasOld: true)
        defer { place.source.abandon() }
        for operation in [FileFault.Operation.create, .write, .sync, .rename, .truncate, .list, .open] {
            var after = 0
            while true {
                let disk = place.before.copy()
                disk.inject(FaultyFileStore.Fault([operation], errno: errno, after: after))
                let first = Result { try receive(place.snapshot, place.workload.schema, on: disk) }
                disk.clearFaults()
                try ShardIncoming.mend("/data", disk)
                if case .failure(let error) = first {
                    #expect(
                        ["DISK_FULL", "DISK_FAULT"].contains((error as? VecraftError)?.reason),
                        "\(operation) \(after): \(error)")
                    let engine = try ShardEngine.open("/data/s", place.workload, .plain, files: disk)
                    #expect(
                        engine.digest == place.old || engine.digest == place.snapshot.digest, "\(operation) \(after)")
                    engine.abandon()
                }
                try receive(place.snapshot, place.workload.schema, on: disk)
                disk.restart(.power)
                let engine = try ShardEngine.open("/data/s", place.workload, .plain, files: disk)
                #expect(engine.digest == place.snapshot.digest, "\(operation) \(after)")
                engine.abandon()
                if case .success = first { break }
                after += 1
            }
        }
    }

    @Test func whatCameWholeIsNotSentAgain() throws {
        let place = try Place(seed: 5, hasOld: false)
        defer { place.source.abandon() }
        let disk = FaultyFileStore()
        let files = place.snapshot.files
        #expect(files.count > 6)
        // Half of the chunks, in one life and then another.
        let chunks = files.map { (Int($0.bytes) + 2_999) / 3_000 }.reduce(0, +)
        let first = try receive(place.snapshot, place.workload.schema, on: disk, atMost: chunks / 2)
        #expect(first > 0 && first < files.count)
        // One of those that came whole is damaged meanwhile: it is seen, and sent again.
        let held = try ShardIncoming(
            directory: "/data/s", schema: place.workload.schema, shard: place.snapshot.shard, files: disk
        ).held().filter { files.contains($0) }
        #expect(held.count == first)
        disk.flip("/data/s.incoming/" + held[0].name, byte: 70)
        let second = try receive(place.snapshot, place.workload.schema, on: disk)
        #expect(second == files.count - first + 1)
        let engine = try ShardEngine.open("/data/s", place.workload, .plain, files: disk)
        #expect(engine.digest == place.snapshot.digest)
        engine.abandon()
    }

    /// Files of an older attempt that the shard has no more are removed; those it still has serve on.
    @Test func anotherManifestKeepsWhatItStillLists() throws {
        var place = try Place(seed: 6, hasOld: false)
        defer { place.source.abandon() }
        let disk = FaultyFileStore()
        try receive(place.snapshot, place.workload.schema, on: disk, finishing: false)
        place.snapshot.release()
        for _ in 0..<30 { place.workload.write() }
        try place.source.replay(place.workload)
        place.source.settle()
        let newer = try place.source.openSnapshot()
        let common = Set(newer.files).intersection(place.snapshot.files).count
        #expect(common > 0 && common < newer.files.count)
        #expect(try receive(newer, place.workload.schema, on: disk) == newer.files.count - common)
        #expect(Set(try disk.list("/data/s")) == Set(newer.files.map(\.name) + ["MANIFEST"]))
        let engine = try ShardEngine.open("/data/s", place.workload, .plain, files: disk)
        #expect(engine.opening.orphansRemoved == 0)
        #expect(engine.digest == newer.digest)
        engine.abandon()
    }

    @Test func whatDoesNotHoldIsRefused() throws {
        let place = try Place(seed: 7, hasOld: false)
        defer { place.source.abandon() }
        let snapshot = place.snapshot
        let schema = place.workload.schema
        func incoming(_ schema: CollectionSchema, _ disk: FaultyFileStore = FaultyFileStore()) throws -> ShardIncoming {
            try ShardIncoming(directory: "/data/s", schema: schema, shard: snapshot.shard, files: disk)
        }
        func begin(_ incoming: ShardIncoming, _ manifest: [UInt8]) throws {
            _ = try manifest.withBytes { (raw) throws(VecraftError) in try incoming.begin(manifest: raw, held: []) }
        }
        func bytes(_ index: Int, _ position: Int, _ count: Int) throws -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: count)
            try bytes.withUnsafeMutableBytes { try snapshot.read(file: index, at: position, into: $0) }
            return bytes
        }
        func write(
            _ incoming: ShardIncoming, _ index: Int, _ position: Int, _ bytes: [UInt8], crc: UInt32? = nil
        ) throws -> Bool {
            try bytes.withBytes { (raw) throws(VecraftError) in
                try incoming.write(file: index, at: UInt64(position), checksum: crc ?? shardChecksum(raw), raw)
            }
        }
        func reason(_ body: () throws -> Void) -> String? {
            do { try body() } catch { return (error as? VecraftError)?.reason }
            return nil
        }
        // Every byte of the manifest counts.
        for byte in stride(from: 0, to: snapshot.manifest.count, by: 7) {
            var manifest = snapshot.manifest
            manifest[byte] ^= 4
            let one = try incoming(schema)
            #expect(reason { try begin(one, manifest) } == "PROTOCOL_BROKEN", "byte \(byte)")
        }
        var other = schema
        other.id += 1
        let stranger = try incoming(other)
        #expect(reason { try begin(stranger, snapshot.manifest) } == "OTHER_SHARD")

        let disk = FaultyFileStore()
        let one = try incoming(schema, disk)
        #expect(reason { _ = try write(one, 0, 0, [1]) } == "PROTOCOL_BROKEN", "before the manifest")
        try begin(one, snapshot.manifest)
        #expect(reason { try begin(one, snapshot.manifest) } == "PROTOCOL_BROKEN", "twice")
        let size = Int(snapshot.files[0].bytes)
        let start = try bytes(0, 0, min(100, size))
        #expect(reason { _ = try write(one, 1, 0, start) } == "PROTOCOL_BROKEN", "not due")
        #expect(reason { _ = try write(one, 0, 1, start) } == "PROTOCOL_BROKEN", "a gap")
        #expect(reason { _ = try write(one, 0, 0, []) } == "PROTOCOL_BROKEN", "nothing")
        #expect(
            reason { _ = try write(one, 0, 0, [UInt8](repeating: 0, count: ShardIncoming.chunkBytes + 1)) }
                == "PROTOCOL_BROKEN")
        var damaged = start
        damaged[40] ^= 1
        #expect(reason { _ = try write(one, 0, 0, damaged, crc: start.withBytes { shardChecksum($0) }) } == "CHECKSUM")
        #expect(reason { try one.finish() } == "PROTOCOL_BROKEN", "the end before the last file")
        // A chunk that holds, of a file that does not: the file is not kept.
        #expect(try !write(one, 0, 0, damaged))
        #expect(
            reason { _ = try write(one, 0, start.count, try bytes(0, start.count, size - start.count)) } == "CHECKSUM")
        #expect(try disk.list("/data/s.incoming") == [])
        // And may come again.
        #expect(try write(one, 0, 0, try bytes(0, 0, size)))
        #expect(try disk.list("/data/s.incoming") == [snapshot.files[0].name])
        try one.abandon()
        #expect(!disk.exists("/data/s.incoming"))

        let small = FaultyFileStore(capacity: 1_000)
        let full = try incoming(schema, small)
        #expect(reason { try begin(full, snapshot.manifest) } == "DISK_FULL")
    }

    @Test func transfersThatNobodyWaitsForAreRemoved() throws {
        let disk = FaultyFileStore()
        for name in ["1-0", "1-0.incoming", "2-0.incoming", "3-7.incoming"] {
            try disk.createDirectory("/shards/" + name)
        }
        try ShardIncoming.removeAll(in: "/shards", except: ["2-0"], disk)
        #expect(try disk.list("/shards") == ["1-0", "2-0.incoming"])
    }

    /// On a real disk folders are renamed by the system.
    @Test func aRealFolderTakesTheOthersPlace() throws {
        let place = try Place(seed: 8, hasOld: false)
        defer { place.source.abandon() }
        let scratch = Scratch()
        let files = PosixFileStore()
        let old = try ShardEngine.open(scratch.folder("s"), place.workload)
        try old.close()
        try receive(place.snapshot, place.workload.schema, on: files, directory: scratch.folder("s"))
        #expect(try files.list(scratch.path) == ["s"])
        let engine = try ShardEngine.open(scratch.folder("s"), place.workload)
        #expect(engine.digest == place.snapshot.digest)
        // Its files may go while they are read.
        let snapshot = try engine.openSnapshot()
        engine.abandon()
        try files.removeTree(scratch.folder("s"))
        try receive(snapshot, place.workload.schema, on: files, directory: scratch.folder("again"))
        let again = try ShardEngine.open(scratch.folder("again"), place.workload)
        #expect(again.digest == place.snapshot.digest)
        again.abandon()
    }
}
