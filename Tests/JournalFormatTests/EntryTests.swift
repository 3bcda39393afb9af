import JournalFormat
import Primitives
import Testing

@Suite struct EntryTests {
    @Test func aHeaderComesBackAsItWent() throws {
        let header = sampleHeader()
        let entry = encodeUpsert([SamplePoint(id: [65], payload: nil, vectors: [:])], header: header)
        try entry.withView { (view) throws in
            #expect(try view.header() == header)
            #expect(view.isTailIntact)
            #expect(view.operation == .upsert && view.tier == .batch && view.partition == .data(3))
            #expect(view.collection == 0xC0FFEE && view.shard == 5)
            #expect(view.trace == sampleTrace)
            #expect(String(decoding: view.requestID, as: UTF8.self) == "request-ä")
            #expect(UInt(bitPattern: view.body.baseAddress) % 8 == 0)
        }
        #expect(entry.bytes.count % 8 == 0)
        #expect(entry.idempotencyKey == "key-1")
    }

    @Test func theLeaderStampsInPlace() throws {
        var entry = encodeUpsert([SamplePoint(id: [1], payload: [2], vectors: ["": [1, 2, 3]])])
        let before = entry.bytes
        let hlc = HLCTimestamp(milliseconds: 77, counter: 3)
        entry.stamp(offset: 9, term: 2, hlc: hlc, appended: (HLCTimestamp(milliseconds: 70, counter: 0), hlc))
        #expect(entry.bytes.count == before.count)
        #expect(entry.bytes[EntryLayout.fixedBytes...] == before[EntryLayout.fixedBytes...], "the body is not touched")
        try entry.withView { (view) throws in
            #expect(view.offset == 9 && view.term == 2 && view.hlc == hlc)
            let header = try view.header()
            #expect(header.spans.map(\.name) == [.received, .routed, .appended])
            #expect(header.spans.last?.start.milliseconds == 70)
            #expect(view.isTailIntact)
        }
        // A stamped header encodes to the same bytes again.
        let again = try entry.withView { (view) throws in try view.header() }
        let copy = encodeUpsert([SamplePoint(id: [1], payload: [2], vectors: ["": [1, 2, 3]])], header: again)
        #expect(copy.bytes == entry.bytes)
    }

    @Test(arguments: 0..<40) func pointsComeBackAsTheyWent(seed: Int) throws {
        var rng = SeededRNG(seed: UInt64(seed))
        let points = (0..<Int.random(in: 0..<30, using: &rng)).map { _ in SamplePoint.random(using: &rng) }
        let entry = encodeUpsert(points)
        let decoded = try entry.withView { (view) throws in try decodeUpsert(view.body) }
        #expect(decoded == points, "seed \(seed)")
    }

    @Test func oneVectorIsFoundByName() throws {
        let entry = encodeUpsert([SamplePoint(id: [1], payload: nil, vectors: ["a": [1], "bb": [2, 3], "": [4]])])
        try entry.withView { (view) throws in
            var body = try UpsertBody(view.body)
            let point = try #require(try body.next())
            Array("bb".utf8).withUnsafeBytes { #expect(point.vector(named: $0).map(Array.init) == [2, 3]) }
            Array("c".utf8).withUnsafeBytes { #expect(point.vector(named: $0) == nil) }
        }
    }

    @Test func packedVectorsMayLieAnywhere() throws {
        let values: [Float] = [1.5, -2, 3.25]
        let bytes: [UInt8] = [0xEE] + values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian) { [UInt8]($0) } }
        var size = UpsertSizer()
        size.point(idBytes: 1, payloadBytes: nil)
        size.vector(nameBytes: 0, dimension: 3)
        let entry = EncodedEntry.upsert(header: sampleHeader(), size: size) { writer in
            [UInt8(7)].withUnsafeBytes { writer.point(id: $0, payload: nil, vectors: 1) }
            bytes.withUnsafeBytes {
                writer.vector(
                    name: UnsafeRawBufferPointer(start: nil, count: 0), packed: UnsafeRawBufferPointer(rebasing: $0[1...]))
            }
        }
        #expect(try entry.withView { (view) throws in try decodeUpsert(view.body) }[0].vectors == ["": values])
    }

    @Test func otherBodiesComeBackAsTheyWent() throws {
        let delete = EncodedEntry.delete(header: sampleHeader(.delete), ids: ["a", "", "ö-3"])
        try delete.withView { (view) throws in
            var body = try DeleteBody(view.body)
            #expect(body.count == 3)
            var ids: [String] = []
            while let id = try body.next() { ids.append(String(decoding: id, as: UTF8.self)) }
            #expect(ids == ["a", "", "ö-3"])
        }
        let filter: [UInt8] = [1, 2, 3]
        let byFilter = filter.withUnsafeBytes { EncodedEntry.deleteByFilter(header: sampleHeader(.deleteByFilter), filter: $0) }
        #expect(byFilter.withView { Array(DeleteByFilterBody($0.body).filter) } == filter)
        let schema = CollectionSchema(
            id: 4, tenant: "acme", name: "books", vectors: [VectorSchema(dimension: 3, metric: .cosine)],
            payloadIndexes: [PayloadIndexField(path: "a.b", type: .keyword)])
        for change in [
            DDLBody.create(schema), .drop(collection: 4),
            .update(CollectionUpdate(collection: 4, quantisations: [0: .int4, 2: .none])),
        ] {
            let entry = EncodedEntry.ddl(header: sampleHeader(.ddl), change)
            #expect(try entry.withView { (view) throws in try DDLBody(view.body) } == change)
        }
    }

    @Test func theBodyHashTellsRequestsApart() {
        func hash(_ header: EntryHeader, _ id: UInt8, request: UInt64? = nil) -> UInt64 {
            [id].withUnsafeBytes { EncodedEntry.raw(header: header, requestHash: request, body: $0).bodyHash }
        }
        let header = sampleHeader(.barrier)
        #expect(hash(header, 1) == hash(header, 1))
        #expect(hash(header, 1) != hash(header, 2))
        var other = header
        other.requestID = "another try"
        other.trace.spanID = 99
        #expect(hash(other, 1) == hash(header, 1), "a repeated request has another id and trace")
        other.collection += 1
        #expect(hash(other, 1) != hash(header, 1))
        #expect(hash(header, 1, request: 5) == 5)
        #expect(hash(sampleHeader(.barrier, key: ""), 1) == 0, "nothing to compare without a key")
    }

    @Test func aNewerFormatIsRefusedByName() {
        var bytes = encodeUpsert([]).bytes
        bytes[EntryLayout.Field.format] = 2
        #expect(throws: DecodingFault(position: 4, what: "journal entry of format 2; this release reads 1")) {
            try EncodedEntry(validating: bytes)
        }
    }

    /// Bytes from a wire: every cut is refused, every flipped bit too (by the checksum, or as nonsense in the fixed part that only a
    /// frame's checksum covers), and nothing traps.
    @Test func damagedBytesAreRefused() throws {
        var rng = SeededRNG(seed: 8)
        let points = (0..<5).map { _ in SamplePoint.random(using: &rng) }
        let good = encodeUpsert(points).bytes
        #expect(try EncodedEntry(validating: good).bytes == good)
        for count in 0..<good.count { #expect(throws: DecodingFault.self) { try EncodedEntry(validating: Array(good[..<count])) } }
        #expect(throws: DecodingFault.self) { try EncodedEntry(validating: good + [0, 0, 0, 0, 0, 0, 0, 0]) }
        for byte in EntryLayout.fixedBytes..<good.count {
            var bad = good
            bad[byte] ^= 1 << UInt8.random(in: 0..<8, using: &rng)
            #expect(throws: DecodingFault.self) { try EncodedEntry(validating: bad) }
        }
        for byte in 0..<EntryLayout.fixedBytes {
            var bad = good
            bad[byte] = UInt8.random(in: .min ... .max, using: &rng)
            _ = try? EncodedEntry(validating: bad)
        }
    }

    /// Bodies are read behind a checksum, but a bug on the other side must not read beyond the bytes either.
    @Test(arguments: 0..<20) func aWrongBodyIsAnErrorNotATrap(seed: Int) throws {
        var rng = SeededRNG(seed: UInt64(seed))
        let points = (0..<4).map { _ in SamplePoint.random(using: &rng) }
        let body = encodeUpsert(points).withView { Array($0.body) }
        for _ in 0..<300 {
            var bad = body
            for _ in 0..<Int.random(in: 1...3, using: &rng) {
                bad[Int.random(in: 0..<bad.count, using: &rng)] = UInt8.random(in: .min ... .max, using: &rng)
            }
            bad.removeLast(Int.random(in: 0..<min(9, bad.count), using: &rng))
            bad.withUnsafeBytes { raw in
                _ = try? decodeUpsert(raw)
                if var delete = try? DeleteBody(raw) { while (try? delete.next()) != nil {} }
                _ = try? DDLBody(raw)
            }
        }
    }
}

@Suite struct FrameTests {
    private func frame(_ entry: EncodedEntry, offset: JournalOffset = 7, salt: UInt32 = 0x5A17) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Frame.stampedBytes)
        bytes.withUnsafeMutableBytes { raw in
            entry.bytes.withUnsafeBytes {
                Frame.write(
                    into: raw, entry: $0, offset: offset, term: 3, hlc: HLCTimestamp(milliseconds: 50, counter: 1),
                    appendedStart: HLCTimestamp(milliseconds: 49, counter: 0), durableThrough: 5, salt: salt)
            }
        }
        return bytes + entry.bytes[EntryLayout.fixedBytes...]
    }

    @Test func aFrameHoldsTheStampedEntry() throws {
        let entry = encodeUpsert([SamplePoint(id: [1], payload: nil, vectors: ["": [1, 2]])])
        try self.frame(entry).withUnsafeBytes { raw in
            guard case .head(let head) = Frame.inspect(raw, salt: 0x5A17) else {
                Issue.record("no head")
                return
            }
            #expect(head.entryBytes == entry.bytes.count && head.offset == 7 && head.durableThrough == 5)
            let view = try Frame.entry(of: raw, head: head)
            #expect(view.offset == 7 && view.term == 3 && view.hlc.milliseconds == 50)
            #expect(view.appended.start.milliseconds == 49)
            #expect(try decodeUpsert(view.body).count == 1)
        }
    }

    @Test func everyFlippedBitIsNoticed() throws {
        let good = self.frame(encodeUpsert([SamplePoint(id: [1, 2, 3], payload: [9], vectors: ["v": [1, 2]])]))
        for bit in 0..<good.count * 8 {
            var bad = good
            bad[bit / 8] ^= 1 << UInt8(bit % 8)
            bad.withUnsafeBytes { raw in
                guard case .head(let head) = Frame.inspect(raw, salt: 0x5A17) else { return }
                #expect(throws: DecodingFault.self, "bit \(bit)") { try Frame.entry(of: raw, head: head) }
            }
        }
    }

    @Test func aFrameOfAnotherSegmentIsNone() {
        self.frame(encodeUpsert([])).withUnsafeBytes { raw in
            #expect(Frame.inspect(raw, salt: 0x5A18) == .bad("checksum mismatch in the frame's head"))
        }
        [UInt8](repeating: 0, count: Frame.stampedBytes).withUnsafeBytes { #expect(Frame.inspect($0, salt: 1) == .blank) }
    }
}
