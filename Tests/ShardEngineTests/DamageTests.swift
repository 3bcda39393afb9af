import FileStore
import Filter
import JournalFormat
import Primitives
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// Files that are not what they were: derived ones are made again, primary ones make the shard begin again, a newer
/// release's are refused. Never a wrong answer, never a crash.
@Suite(.ownThreads) struct DamageTests {
    enum Damage: CaseIterable, Sendable { case flip, truncate, remove, header }

    /// A disk with one shard of several sealed segments and a growing one, closed in order.
    static func disk(_ workload: inout Workload, settings: ShardSettings) throws -> FaultyFileStore {
        let disk = FaultyFileStore(seed: 9)
        var rng = SeededRNG(seed: 9)
        let engine = try ShardEngine.open("/data/s", workload, settings, files: disk)
        for _ in 0..<60 { workload.write() }
        try engine.replay(workload, rng: &rng)
        engine.settle()
        workload.append(.delete(["id-2", "id-3", "id-4", "id-5"]))
        for _ in 0..<3 { workload.write() }
        try engine.replay(workload, rng: &rng)
        try engine.close()
        return disk
    }

    static var settings: ShardSettings {
        var settings = ShardSettings()
        settings.segmentPoints = 60
        settings.graphFrom = 20
        settings.mergeFanIn = 16
        settings.indexThreads = 1
        return settings
    }

    static func damage(_ disk: FaultyFileStore, _ path: String, _ damage: Damage) {
        let size = disk.contents(path)!.count
        switch damage {
        case .flip: disk.flip(path, byte: size * 2 / 3, mask: 0x10)
        case .truncate: disk.edit(path) { $0.removeLast(min($0.count, 5)) }
        case .remove: try! disk.remove(path)
        case .header: disk.flip(path, byte: 9, mask: 0x80)
        }
    }

    @Test(arguments: Damage.allCases) func everyFileMayBeDamaged(damage: Damage) throws {
        var workload = Workload(seed: 9)
        let sound = try Self.disk(&workload, settings: Self.settings)
        let model = Model(workload, through: JournalOffset(workload.entries.count))
        let paths = sound.paths.filter { $0.hasPrefix("/data/s/") }
        for kind in ShardFile.Kind.allCases {
            #expect(paths.contains { $0.contains(".\(kind.suffix)") }, "no \(kind) to damage")
        }
        for path in paths {
            let disk = sound.copy()
            Self.damage(disk, path, damage)
            let events = Events()
            let engine = try ShardEngine.open("/data/s", workload, Self.settings, files: disk, observer: events)
            let name = Paths.name(path)
            let isDerived = ShardFile.Kind.allCases.contains { $0.isDerived && name.contains(".\($0.suffix)") }
            #expect(engine.opening.quarantined.contains { $0.hasPrefix("\(name): ") }, "\(name)")
            #expect(engine.statistics.quarantinedFiles > 0, "\(name)")
            if isDerived {
                #expect(engine.opening.restarted == nil, "\(name)")
                #expect(engine.applied == model.applied, "\(name)")
                #expect(!engine.opening.rebuilding.isEmpty, "\(name)")
                // Right at once, though slower.
                var judge = Judge(engine: engine, model: model, workload: workload, seed: 9)
                try judge.check(rounds: 1)
                engine.settle()
                #expect(engine.statistics.rebuiltFiles > 0, "\(name)")
            } else {
                #expect(engine.opening.restarted?.hasPrefix(name) == true, "\(name)")
                #expect(engine.applied == 0 && engine.state.points == 0, "\(name)")
                try engine.replay(workload)
            }
            var judge = Judge(engine: engine, model: model, workload: workload, seed: 9)
            try judge.check(rounds: 1)
            try engine.close()
            // And it is whole again.
            let again = try ShardEngine.open("/data/s", workload, Self.settings, files: disk)
            #expect(again.opening.restarted == nil, "\(name)")
            #expect(again.opening.quarantined == [] && again.opening.rebuilding == [], "\(name)")
            #expect(again.applied == model.applied, "\(name)")
            judge = Judge(engine: again, model: model, workload: workload, seed: 9)
            try judge.check(rounds: 1)
            again.abandon()
        }
    }

    @Test func aRestartThatIsInterruptedIsStillARestart() throws {
        var workload = Workload(seed: 9)
        let sound = try Self.disk(&workload, settings: Self.settings)
        let rows = sound.paths.first { $0.hasSuffix(".rows") }!
        for calls in 0..<60 {
            let disk = sound.copy()
            Self.damage(disk, rows, .flip)
            disk.powerOff(afterCalls: calls)
            let first = try? ShardEngine.open("/data/s", workload, Self.settings, files: disk)
            first?.abandon()
            let wasOff = disk.isPowerOff
            disk.restart(.power)
            let engine = try ShardEngine.open("/data/s", workload, Self.settings, files: disk)
            #expect(engine.applied == 0, "\(calls) calls")
            #expect(engine.opening.restarted != nil, "\(calls) calls")
            // What was sound is kept until the journal has made it again.
            #expect(disk.paths.contains { $0.hasPrefix("/data/s/quarantine/salvage/") }, "\(calls) calls")
            try engine.replay(workload)
            try engine.close()
            #expect(!disk.paths.contains { $0.hasPrefix("/data/s/quarantine/salvage/") }, "\(calls) calls")
            let again = try ShardEngine.open("/data/s", workload, Self.settings, files: disk)
            #expect(again.opening.restarted == nil && again.opening.orphansRemoved == 0, "\(calls) calls")
            #expect(again.applied == JournalOffset(workload.entries.count), "\(calls) calls")
            again.abandon()
            if !wasOff { break }
        }
    }

    @Test func newerFormatsAreRefusedByName() throws {
        var workload = Workload(seed: 9)
        let sound = try Self.disk(&workload, settings: Self.settings)
        // An intact manifest of version 9.
        var disk = sound.copy()
        disk.edit("/data/s/MANIFEST") { bytes in
            bytes[4] = 9
            Self.reseal(&bytes, bytes.count - 4)
        }
        Self.expectRefusal(workload, disk, "manifest format 9; this release reads 1", "NEWER_FORMAT")
        // A segment file of version 7, sealed and listed as such.
        let path = sound.paths.first { $0.hasSuffix(".heap") }!
        disk = sound.copy()
        disk.edit(path) { bytes in
            bytes[4] = 7
            var header = Array(bytes[..<64])
            Self.reseal(&header, 60)
            bytes.replaceSubrange(..<64, with: header)
        }
        Self.expectRefusal(workload, disk, "\(Paths.name(path)) has format 7; this release reads 1", "NEWER_FORMAT")
        // Another collection's files.
        var other = workload.schema
        other.id = 78
        do {
            _ = try ShardEngine(
                directory: "/data/s", schema: other, shard: 0, settings: .plain, files: sound.copy(), observer: nil)
            Issue.record("another collection's shard was opened")
        } catch {
            #expect(error.code == .failedPrecondition && error.reason == "OTHER_SHARD")
        }
    }

    static func reseal(_ bytes: inout [UInt8], _ at: Int) {
        let crc = bytes[..<at].withUnsafeBytes { SegmentFiles.checksum($0) }
        withUnsafeBytes(of: crc.littleEndian) { bytes.replaceSubrange(at..<at + 4, with: $0) }
    }

    static func expectRefusal(_ workload: Workload, _ disk: FaultyFileStore, _ text: String, _ reason: String) {
        let before = disk.paths
        do {
            try ShardEngine.open("/data/s", workload, Self.settings, files: disk).abandon()
            Issue.record("opened: \(text)")
        } catch let error as VecraftError {
            #expect(error.code == .failedPrecondition && error.reason == reason, "\(error)")
            #expect(error.message.contains(text), "\(error)")
        } catch {
            Issue.record("\(error)")
        }
        #expect(disk.paths == before, "a refusal changed the folder")
    }

    @Test func anIndexAddedLaterIsMadeFromThePayloads() throws {
        var workload = Workload(seed: 10)
        let disk = try Self.disk(&workload, settings: Self.settings)
        var schema = workload.schema
        schema.payloadIndexes.append(PayloadIndexField(path: "free", type: .integer))
        let engine = try ShardEngine(
            directory: "/data/s", schema: schema, shard: 0, settings: Self.settings, files: disk, observer: nil)
        #expect(engine.opening.restarted == nil)
        var judge = Judge(
            engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: 10)
        try judge.check()
        #expect(try engine.count(.init(must: [.match("free", .integer(3))])).unindexed == [])
        engine.abandon()
    }
}
