import FileStore
import HLC
import JournalFormat
import Primitives
import TestSupport
import Testing

@testable import JournalStore

/// A log on a faulty disk with what is in it.
struct SampleLog {
    let files: FaultyFileStore
    let entries: [StoredEntry]

    /// - Parameter crash: How it ended; nil for a clean close.
    init(count: Int, bytes: Int = 300, crash: FaultyFileStore.Crash? = nil) async throws {
        self.files = FaultyFileStore()
        let partition = try open(self.files)
        for i in 1...UInt64(count) { _ = try await partition.append(entry(numbered(i, bytes: bytes))) }
        self.entries = try readAll(partition)
        if let crash { self.files.restart(crash) }
        partition.close()
    }

    func segment(_ sequence: Int) -> String {
        directory + "/" + String(repeating: "0", count: 10 - String(sequence).count) + "\(sequence).segment"
    }
    func sidecar(_ sequence: Int) -> String { String(self.segment(sequence).dropLast(8)) + ".sidecar" }
    var mark: String { directory + "/durable-mark" }

    /// Where the frames of a segment begin, and where the last ends.
    func frames(_ sequence: Int) -> [Int] {
        let bytes = self.files.contents(self.segment(sequence))!
        return bytes.withUnsafeBytes { raw in
            let salt = raw.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
            var positions = [64]
            while positions.last! + Frame.stampedBytes <= raw.count,
                case .head(let head) = Frame.inspect(UnsafeRawBufferPointer(rebasing: raw[positions.last!...]), salt: salt)
            {
                positions.append(positions.last! + head.frameBytes)
            }
            return positions
        }
    }
}

@Suite struct RecoveryTests {
    @Test func aCleanLogComesBackWhole() async throws {
        for crash in [nil, FaultyFileStore.Crash.process, .power] {
            let log = try await SampleLog(count: 600, crash: crash)
            let partition = try open(log.files)
            #expect(try readAll(partition) == log.entries)
            #expect(partition.recoveredCuts.isEmpty)
            #expect(partition.term == 2)
            #expect(try await partition.append(entry([1])).offset == 601)
            partition.close()
        }
    }

    @Test func timeGoesOnAboveTheLogEvenIfTheClockWasSetBack() async throws {
        let log = try await SampleLog(count: 3)
        let partition = try open(log.files, wall: FakeWall(milliseconds: 1_000))
        let appended = try await partition.append(entry([1]))
        #expect(appended.hlc > log.entries[2].hlc)
        partition.close()
    }

    /// Sealed segments are not read again: damage in one does not stop the start, and is told when it is read.
    @Test func openingReadsTheLastSegmentOnly() async throws {
        let log = try await SampleLog(count: 600)
        #expect(log.files.exists(log.sidecar(1)) && log.files.exists(log.sidecar(2)))
        let frame = log.frames(1)[20]
        log.files.flip(log.segment(1), byte: frame + 200)
        let partition = try open(log.files)
        #expect(partition.committed == 600)
        let error = errorOf { () throws(VecraftError) in try readAll(partition) }
        #expect(error?.code == .dataLoss)
        #expect(error?.message.contains(log.segment(1)) == true && error?.message.contains("byte \(frame + 160)") == true)
        #expect(try readAll(partition, from: 22).count == 579, "what is whole is read")
        partition.close()
    }

    @Test func aMissingOrDamagedSidecarIsMadeAgain() async throws {
        let log = try await SampleLog(count: 600)
        try log.files.remove(log.sidecar(1))
        log.files.flip(log.sidecar(2), byte: 40)
        log.files.edit(log.sidecar(3)) { $0.removeLast(10) }
        let partition = try open(log.files)
        #expect(try readAll(partition) == log.entries)
        partition.close()
        #expect(log.files.exists(log.sidecar(1)))
        // Without a sidecar the segment is read, so damage in it is found at the start.
        log.files.flip(log.segment(1), byte: log.frames(1)[20] + 200)
        let again = try open(log.files)
        #expect(again.committed == 600)
        again.close()
        try log.files.remove(log.sidecar(1))
        let error = errorOf { () throws(VecraftError) in try open(log.files) }
        #expect(error?.code == .dataLoss && error?.message.contains(log.segment(1)) == true)
    }

    @Test func aSidecarOfAnotherSegmentIsNotBelieved() async throws {
        let log = try await SampleLog(count: 600)
        let other = try #require(log.files.contents(log.sidecar(2)))
        log.files.edit(log.sidecar(1)) { $0 = other }
        let partition = try open(log.files)
        #expect(try readAll(partition) == log.entries)
        partition.close()
    }

    /// Wherever the file ends: with the durable mark, a missing entry is damage; without it (the power took it), the tail is cut.
    @Test func everyCutOfTheTail() async throws {
        let log = try await SampleLog(count: 6, bytes: 24)
        let frames = log.frames(1)
        #expect(frames.count == 7)
        for cut in frames[3]..<frames[6] {
            let marked = log.files.copy()
            marked.edit(log.segment(1)) { $0.removeLast($0.count - cut) }
            let error = errorOf { () throws(VecraftError) in try open(marked) }
            #expect(error?.code == .dataLoss && error?.message.contains(log.segment(1)) == true, "cut at \(cut)")

            let unmarked = log.files.copy()
            try unmarked.remove(log.mark)
            unmarked.edit(log.segment(1)) { $0.removeLast($0.count - cut) }
            let partition = try open(unmarked)
            let whole = frames.lastIndex { $0 <= cut }!
            #expect(try readAll(partition) == Array(log.entries[..<whole]), "cut at \(cut)")
            #expect(partition.recoveredCuts.isEmpty == frames.contains(cut))
            #expect(try await partition.append(entry([9])).offset == UInt64(whole + 1))
            partition.close()
            let again = try open(unmarked)
            #expect(again.committed == UInt64(whole + 1) && again.recoveredCuts.isEmpty)
            again.close()
        }
    }

    /// Every byte of a closed log: a flipped bit is an error that names the file, or it is where nothing is; never another answer.
    @Test func everyFlippedByteIsTold() async throws {
        let log = try await SampleLog(count: 8, bytes: 60)
        let frames = log.frames(1)
        var rng = SeededRNG(seed: 99)
        for byte in 0..<frames.last! + 200 {
            let files = log.files.copy()
            files.flip(log.segment(1), byte: byte, mask: 1 << UInt8.random(in: 0..<8, using: &rng))
            let error = errorOf { () throws(VecraftError) in
                let partition = try open(files)
                defer { partition.close() }
                let all = try readAll(partition)
                #expect(all == log.entries, "byte \(byte)")
            }
            if byte < frames.last! {
                #expect(error?.code == .dataLoss && error?.message.contains(log.segment(1)) == true, "byte \(byte): \(String(describing: error))")
            } else {
                #expect(error == nil, "byte \(byte) is behind the end")
            }
        }
    }

    /// The same where the log was not closed and the mark is old: only the last entry, which nothing vouches for, is cut.
    @Test func everyFlippedByteAfterPowerLoss() async throws {
        let log = try await SampleLog(count: 8, bytes: 60)
        let frames = log.frames(1)
        var rng = SeededRNG(seed: 98)
        for byte in 64..<frames.last! {
            let files = log.files.copy()
            try files.remove(log.mark)
            files.flip(log.segment(1), byte: byte, mask: 1 << UInt8.random(in: 0..<8, using: &rng))
            let error = errorOf { () throws(VecraftError) in
                let partition = try open(files)
                defer { partition.close() }
                #expect(try readAll(partition) == Array(log.entries.dropLast()), "byte \(byte)")
                #expect(partition.recoveredCuts.count == 1)
            }
            if byte >= frames[7] { #expect(error == nil) } else { #expect(error?.code == .dataLoss, "byte \(byte)") }
        }
    }

    @Test func damageNamesTheByte() async throws {
        let log = try await SampleLog(count: 8, bytes: 60)
        let frame = log.frames(1)[3]
        log.files.flip(log.segment(1), byte: frame + 40)
        let error = errorOf { () throws(VecraftError) in try open(log.files) }
        #expect(
            error?.message
                == "\(log.segment(1)), byte \(frame): checksum mismatch in the frame's head; entry 4 was acknowledged, for 8 was durable")
        #expect(error?.reason == "JOURNAL_DAMAGED")
    }

    @Test func damageAtTheSeamOfSegments() async throws {
        let log = try await SampleLog(count: 600)
        for path in log.files.paths where path.hasSuffix(".sidecar") { try log.files.remove(path) }
        // The last frame of a sealed segment.
        let last = log.frames(2).dropLast().last!
        let files = log.files.copy()
        files.flip(log.segment(2), byte: last + 170)
        #expect(errorOf { () throws(VecraftError) in try open(files) }?.message.contains("\(log.segment(2)), byte \(last + 160)") == true)
        // The first frame of a later one.
        let first = log.files.copy()
        first.flip(log.segment(3), byte: 64 + 33)
        #expect(errorOf { () throws(VecraftError) in try open(first) }?.message.contains("\(log.segment(3)), byte 64") == true)
        // Its header.
        let header = log.files.copy()
        header.flip(log.segment(3), byte: 9)
        #expect(errorOf { () throws(VecraftError) in try open(header) }?.message.contains("\(log.segment(3)), byte 0") == true)
        // All of it gone.
        let missing = log.files.copy()
        try missing.remove(log.segment(3))
        #expect(errorOf { () throws(VecraftError) in try open(missing) }?.message.contains("0000000003.segment is missing") == true)
        // The first one gone.
        let beheaded = log.files.copy()
        try beheaded.remove(log.segment(1))
        #expect(errorOf { () throws(VecraftError) in try open(beheaded) }?.code == .dataLoss)
        // The last one gone: only the mark knows.
        let short = log.files.copy()
        let count = log.files.paths.count { $0.hasSuffix(".segment") }
        let lastUsed = (1...count).last { log.frames($0).count > 1 }!
        for sequence in lastUsed...count { try short.remove(log.segment(sequence)) }
        #expect(errorOf { () throws(VecraftError) in try open(short) }?.message.contains("600 was durable") == true)
    }

    @Test func aShortenedSealedSegmentIsTold() async throws {
        let log = try await SampleLog(count: 600)
        log.files.edit(log.segment(1)) { $0.removeLast(100) }
        let error = errorOf { () throws(VecraftError) in try open(log.files) }
        #expect(error?.code == .dataLoss && error?.message.contains(log.segment(1)) == true)
    }

    /// A later format is refused by name, before anything is touched; with a good checksum, or it would be damage.
    @Test func newerFormatsAreRefusedByName() async throws {
        func renumbered(_ bytes: [UInt8], crc range: Range<Int>) -> [UInt8] {
            var bytes = bytes
            bytes[8] += 1
            let crc = bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[range])) }
            withUnsafeBytes(of: crc.littleEndian) { for i in 0..<4 { bytes[4 + i] = $0[i] } }
            return bytes
        }
        let log = try await SampleLog(count: 600)
        let segment = log.files.copy()
        segment.edit(log.segment(2)) { $0 = renumbered($0, crc: 8..<64) }
        let sidecar = log.files.copy()
        sidecar.edit(log.sidecar(2)) { $0 = renumbered($0, crc: 8..<$0.count) }
        let mark = log.files.copy()
        mark.edit(log.mark) { bytes in
            for slot in [0, 512] {
                let changed = renumbered(Array(bytes[slot..<slot + 32]), crc: 8..<32)
                bytes.replaceSubrange(slot..<slot + 32, with: changed)
            }
        }
        for (files, what, reads) in [(segment, "journal segment", 1), (sidecar, "segment sidecar", 2), (mark, "durable mark", 1)] {
            let before = files.paths.map { files.contents($0) }
            let error = errorOf { () throws(VecraftError) in try open(files) }
            #expect(error?.code == .failedPrecondition && error?.reason == "FORMAT_TOO_NEW")
            #expect(error?.message.contains("\(what) of format \(reads + 1); this release reads \(reads)") == true)
            #expect(files.paths.map { files.contents($0) } == before)
        }
    }

    @Test func aSegmentOfAnotherPartitionIsRefused() async throws {
        let log = try await SampleLog(count: 3)
        let error = errorOf { () throws(VecraftError) in
            try JournalPartition(
                id: .data(1), directory: directory, settings: smallSettings(), files: log.files,
                clock: .init(physical: { 1 }))
        }
        #expect(error?.code == .dataLoss && error?.message.contains("data-0") == true)
    }

    @Test func aSegmentInTheMakingIsForgotten() async throws {
        for leftover in [[], [UInt8](repeating: 0, count: 5_000), [1, 2, 3] + [UInt8](repeating: 0, count: 61)] {
            let log = try await SampleLog(count: 600, crash: .process)
            let count = log.files.paths.count { $0.hasSuffix(".segment") }
            let path = log.segment(count + 1)
            try log.files.open(path, .createNew).write(leftover, at: 0)
            let partition = try open(log.files)
            #expect(try readAll(partition) == log.entries)
            for i in 0..<300 { _ = try await partition.append(entry(numbered(UInt64(i), bytes: 400))) }
            partition.close()
        }
    }

    /// A tail that was cut never comes back, whatever is written over its place.
    @Test func aCutTailStaysCut() async throws {
        let log = try await SampleLog(count: 8, bytes: 400)
        let frames = log.frames(1)
        try log.files.remove(log.mark)
        // Entry 6 is torn; 7 and 8 are whole behind it, but nothing says that 6 was durable before... so make them say so no more.
        log.files.edit(log.segment(1)) { bytes in
            bytes.withUnsafeMutableBytes { raw in
                let salt = raw.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
                for frame in frames[6..<8] {
                    raw.storeBytes(of: UInt64(5).littleEndian, toByteOffset: frame + 24, as: UInt64.self)
                    let covered = UnsafeRawBufferPointer(rebasing: raw[frame + 8..<frame + Frame.stampedBytes])
                    raw.storeBytes(of: CRC32C.of(covered, continuing: salt), toByteOffset: frame + 4, as: UInt32.self)
                }
                raw[frames[5] + 300] ^= 1
            }
        }
        let partition = try open(log.files)
        #expect(partition.committed == 5 && partition.recoveredCuts.count == 1)
        // Of the same size as what was there, so that old frames would stand at the right places.
        for i in 0..<2 { _ = try await partition.append(entry(numbered(100 + UInt64(i), bytes: 400))) }
        log.files.restart(.process)
        partition.close()
        let again = try open(log.files)
        #expect(try readAll(again).map { $0.body.withUnsafeBytes { numberOf($0) } } == [1, 2, 3, 4, 5, 100, 101])
        again.close()
    }

    @Test func verifyTellsEveryFault() async throws {
        let log = try await SampleLog(count: 600)
        let partition = try open(log.files)
        let clean = partition.verify()
        #expect(clean.isOK && clean.entries == 600 && clean.firstOffset == 1 && clean.lastOffset == 600)
        #expect(clean.segments == partition.segmentCount && clean.bytes > 600 * 300)
        let (a, b) = (log.frames(1)[10], log.frames(2)[5])
        log.files.flip(log.segment(1), byte: a + 100)
        log.files.flip(log.segment(2), byte: b + 250)
        log.files.flip(log.segment(2), byte: 30)
        var lines: [String] = []
        let report = partition.verify { lines.append($0) }
        #expect(report.faults == lines && lines.count == 3)
        #expect(lines[0] == "\(log.segment(1)), byte \(a): checksum mismatch in the frame's head, entry 11")
        #expect(lines[1] == "\(log.segment(2)), byte 0: checksum mismatch in the segment's header")
        #expect(lines[2].hasPrefix("\(log.segment(2)), byte \(b + 160): checksum mismatch in the entry"))
        #expect(report.entries == 598)
        partition.close()
    }
}
