import FileStore
import HLC
import JournalFormat
import Primitives
import Synchronization
import TestSupport
import Testing

@testable import JournalStore

/// An entry that writes or deletes points.
private func upsert(_ ids: [String], request: String, trace: UInt64 = 0) -> EncodedEntry {
    let header = EntryHeader(
        partition: .data(0), tier: .batch, operation: .upsert, tenant: "acme", collection: 7, requestID: request,
        principal: "p",
        trace: TraceContext(traceHigh: trace, traceLow: trace, spanID: 3, sampled: true))
    var size = UpsertSizer()
    for id in ids {
        size.point(idBytes: id.utf8.count, payloadBytes: nil)
        size.vector(nameBytes: 0, dimension: 4)
    }
    return EncodedEntry.upsert(header: header, size: size) { writer in
        for id in ids {
            var id = id
            id.withUTF8 { writer.point(id: UnsafeRawBufferPointer($0), payload: nil, vectors: 1) }
            [Float(1), 2, 3, 4].withUnsafeBufferPointer {
                writer.vector(name: UnsafeRawBufferPointer(start: nil, count: 0), values: $0)
            }
        }
    }
}

/// A journal with entries of random points, requests and traces, and who has what, kept beside.
private struct Written {
    var keys: [LineageKey: [JournalOffset]] = [:]

    mutating func note(_ key: LineageKey, _ offset: JournalOffset) {
        if self.keys[key]?.last != offset { self.keys[key, default: []].append(offset) }
    }

    static func fill(_ partition: JournalPartition, entries: Int, seed: UInt64, from: Int = 0) async throws -> Written {
        var rng = SeededRNG(seed: seed)
        var written = Written()
        for i in from..<from + entries {
            let ids = (0..<Int.random(in: 1...20, using: &rng)).map { _ in
                "point-\(Int.random(in: 0..<500, using: &rng))"
            }
            let trace = UInt64.random(in: 0...40, using: &rng)
            let offset = try await partition.append(upsert(ids, request: "request-\(i / 3)", trace: trace)).offset
            for id in ids { written.note(.point(collection: 7, id: id), offset) }
            written.note(.request("request-\(i / 3)"), offset)
            if trace != 0 { written.note(.trace(high: trace, low: trace), offset) }
        }
        return written
    }

    /// Every key is found where it is, alone and in company; what is found beside is little.
    func check(
        _ partition: JournalPartition, _ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        var candidates = 0
        var real = 0
        for (key, offsets) in self.keys {
            let hits = try partition.find([key], below: .max, atLeast: .max)
            #expect(hits.from == partition.firstOffset, comment, sourceLocation: sourceLocation)
            #expect(hits.offsets == hits.offsets.sorted() && Set(hits.offsets).count == hits.offsets.count, comment)
            #expect(
                Set(offsets.filter { $0 >= partition.firstOffset }).isSubset(of: hits.offsets), comment,
                sourceLocation: sourceLocation)
            candidates += hits.offsets.count
            real += offsets.count
        }
        #expect(candidates <= real + real / 50 + 2, comment, sourceLocation: sourceLocation)
    }
}

@Suite("The lineage index") struct LineageIndexTests {
    private func lineageFiles(_ files: FaultyFileStore) -> [String] {
        files.paths.filter { $0.hasSuffix(".lineage") }.sorted()
    }

    /// Sealing is behind the writer: waits until each sealed segment has its index.
    private func awaitIndexes(_ partition: JournalPartition, _ files: FaultyFileStore) {
        while self.lineageFiles(files).count < partition.segmentCount - 1 { pauseBriefly() }
    }

    @Test(arguments: [UInt64(1), 2, 3]) func everyKeyIsFoundWhereItIs(seed: UInt64) async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let written = try await Written.fill(partition, entries: 900, seed: seed)
        #expect(partition.segmentCount > 8)
        try written.check(partition, "while segments are being sealed")
        self.awaitIndexes(partition, files)
        try written.check(partition, "sealed")
        let nobody = try partition.find(
            [.point(collection: 8, id: "point-1"), .request("nobody")], below: .max, atLeast: 1)
        #expect(nobody.offsets.count < 5 && nobody.segments == partition.segmentCount)
        // The tail is looked into always, of the others what a filter lets through by mistake.
        #expect(nobody.segmentsRead <= 4)
        partition.close()
        let again = try open(files)
        try written.check(again, "opened again")
        again.close()
    }

    /// A question that needs few goes no further back than they are.
    @Test func theNewestComeFirstAndTheRestFromThere() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let written = try await Written.fill(partition, entries: 900, seed: 9)
        self.awaitIndexes(partition, files)
        let key = LineageKey.point(collection: 7, id: "point-17")
        let all = try #require(written.keys[key])
        #expect(all.count > 10)
        var found: [JournalOffset] = []
        var below = JournalOffset.max
        var steps = 0
        while true {
            let hits = try partition.find([key], below: below, atLeast: 1)
            #expect(hits.offsets.allSatisfy { $0 < below && $0 >= hits.from })
            found = hits.offsets + found
            steps += 1
            if hits.from <= partition.firstOffset { break }
            #expect(hits.segments < partition.segmentCount)
            below = hits.from
        }
        #expect(steps > 3)
        #expect(Set(all).isSubset(of: found) && found == found.sorted())
        partition.close()
    }

    /// What stands in a file beside a segment is never trusted: damaged anywhere, cut anywhere, of another segment, or gone.
    @Test func aDamagedIndexIsMadeAgain() async throws {
        let files = FaultyFileStore()
        var partition = try open(files)
        let written = try await Written.fill(partition, entries: 600, seed: 4)
        self.awaitIndexes(partition, files)
        partition.close()
        let paths = self.lineageFiles(files)
        #expect(paths.count > 4)
        let size = try #require(files.contents(paths[1])).count
        for byte in [0, 5, 9, 20, 41, 50, 57, 70, size / 2, size - 1] {
            files.flip(paths[1], byte: byte)
            partition = try open(files)
            try written.check(partition, "byte \(byte)")
            partition.close()
        }
        files.edit(paths[0]) { $0.removeLast($0.count / 2) }
        let other = try #require(files.contents(paths[3]))
        files.edit(paths[2]) { $0 = other }
        try files.remove(paths[3])
        partition = try open(files)
        try written.check(partition, "cut, changed and removed")
        while self.lineageFiles(files).count < paths.count { pauseBriefly() }
        partition.close()
        // Mended for good: nothing has to be read again.
        partition = try open(files)
        let hits = try partition.find([.request("nobody")], below: .max, atLeast: 1)
        #expect(hits.segmentsRead <= 3)
        try written.check(partition, "mended")
        partition.close()
    }

    /// A crash at any moment leaves no index that hides an entry.
    @Test(arguments: [FaultyFileStore.Crash.process, .power]) func aCrashHidesNothing(
        crash: FaultyFileStore.Crash
    ) async throws {
        let files = FaultyFileStore()
        var partition = try open(files)
        var written = try await Written.fill(partition, entries: 400, seed: 5)
        for round in 0..<4 {
            files.restart(crash)
            partition.close()
            partition = try open(files)
            #expect(partition.committed == UInt64(400 + 100 * round))
            try written.check(partition, "round \(round)")
            let more = try await Written.fill(
                partition, entries: 100, seed: UInt64(10 + round), from: 400 + 100 * round)
            for (key, offsets) in more.keys { for offset in offsets { written.note(key, offset) } }
        }
        try written.check(partition)
        partition.close()
    }

    @Test func timesAreFound() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        for i in 0..<700 { _ = try await partition.append(entry(numbered(UInt64(i), bytes: 300))) }
        let all = try readAll(partition)
        #expect(partition.segmentCount > 3)
        for i in stride(from: 0, to: 700, by: 23) {
            #expect(try partition.offset(atOrAfter: all[i].hlc) == all[i].offset)
            #expect(
                try partition.offset(atOrAfter: HLCTimestamp(rawValue: all[i].hlc.rawValue + 1)) == all[i].offset + 1)
        }
        #expect(try partition.offset(atOrAfter: .zero) == 1)
        #expect(try partition.offset(atOrAfter: HLCTimestamp(rawValue: .max)) == 701)
        partition.close()
    }

    /// A replica's segments are there before they are committed: no file is made of what is not, for it would hide the rest for good.
    @Test func nothingIsHiddenThatWasNotCommittedYet() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let written = try await Written.fill(partition, entries: 600, seed: 6)
        self.awaitIndexes(partition, files)
        partition.close()
        for path in self.lineageFiles(files) { try files.remove(path) }
        let segments = partition.log.segments.withLock { $0 }
        let middle = segments[segments.count / 2].firstOffset + 3
        let log = PartitionLog(
            partition: .data(0), directory: directory, files: files, segments: segments, term: 1, committed: middle,
            indexesLineage: true)
        func all(_ key: LineageKey) throws -> Set<JournalOffset> {
            Set(try log.lineage.find([key], in: log, below: .max, atLeast: .max, deadline: .max).offsets)
        }
        for segment in segments.dropLast() { log.lineage.makeIfMissing(segment, log) }
        #expect(self.lineageFiles(files).count == segments.count / 2)
        for (key, offsets) in written.keys {
            let found = try all(key)
            #expect(found.isSuperset(of: offsets.filter { $0 <= middle }) && found.allSatisfy { $0 <= middle })
        }
        log.commit(through: segments.last!.lastOffset, hlc: segments.last!.lastHLC)
        for (key, offsets) in written.keys { #expect(try all(key).isSuperset(of: offsets)) }
        #expect(self.lineageFiles(files).count == segments.count - 1)
    }

    /// Trimming removes whole segments: of the first one kept a part may be gone, and the other must be found, with a file or without.
    @Test(arguments: [true, false]) func theRestOfAHalfTrimmedSegmentIsFound(isKept: Bool) async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let written = try await Written.fill(partition, entries: 600, seed: 7)
        self.awaitIndexes(partition, files)
        partition.close()
        let segments = Array(partition.log.segments.withLock { $0 }.dropFirst())
        let start = segments[0].firstOffset + 5
        for path in self.lineageFiles(files) { try files.remove(path) }
        let log = PartitionLog(
            partition: .data(0), directory: directory, files: files, segments: segments, term: 1, start: start,
            indexesLineage: isKept)
        for round in 0..<2 {
            for (key, offsets) in written.keys {
                let hits = try log.lineage.find([key], in: log, below: .max, atLeast: .max, deadline: .max)
                #expect(hits.from == start + 1)
                let wanted = offsets.filter { $0 > start }
                #expect(Set(hits.offsets).isSuperset(of: wanted) && hits.offsets.allSatisfy { $0 > start }, "round \(round)")
            }
        }
        // A file of half of a segment would be wrong for ever.
        #expect(self.lineageFiles(files).count == (isKept ? segments.count - 2 : 0))
        // A question has its time.
        #expect(
            errorOf { () throws(VecraftError) in
                _ = try log.lineage.find([.request("x")], in: log, below: .max, atLeast: .max, deadline: 1)
            }?.reason == "SCAN_UNFINISHED")
    }

    /// The size that the README states, on entries of the demo's shape: one point of 384 components each.
    @Test func theFileIsSmall() {
        var keys = LineageKeys(from: 1)
        let count = 40_000
        for i in 1...count {
            var entry = upsert(["package-\(i)"], request: "request-\(i)", trace: UInt64(i))
            entry.stamp(offset: UInt64(i), term: 1, hlc: HLCTimestamp(rawValue: UInt64(i)), appended: (.zero, .zero))
            entry.withView { keys.add($0) }
        }
        var segment = Segment(sequence: 1, path: "/s", salt: 5, firstOffset: 1, fileBytes: 0)
        segment.lastOffset = UInt64(count)
        let bytes = LineageIndexFile.encode(keys, of: segment).count
        #expect(bytes < 3 * count * 7, "\(Double(bytes) / Double(3 * count)) bytes a key")
    }
}
